"""Which files are read, and that nothing is left out without a word."""

import os
import subprocess

import pytest

from phoenix_forge.core.config import CorpusConfig
from phoenix_forge.corpus import exclusions
from phoenix_forge.corpus.walk import ignored, survey, walk
from phoenix_forge.errors import UsageError


def put(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def names(walked):
    return [file.relative for file in walked.files]


@pytest.fixture
def tree(tmp_path):
    put(
        tmp_path,
        **{
            "b.md": "b",
            "a.md": "a",
            "sub__c.txt": "c",
            "sub__skip.log": "l",
            ".gitignore": "*.log\nbuild/\n",
            "build__x.md": "x",
            "models__m.md": "m",
            "logs__l.md": "l",
            "dataset_package__d.jsonl": "{}",
            ".venv__lib__v.py": "v",
            "pic.psd": b"8BPS\0\0",
            "big.md": "x" * 3000,
            "empty.md": " \n",
        },
    )
    (tmp_path / "gone.md").symlink_to("nowhere.md")
    return tmp_path


@pytest.mark.parametrize("git", [False, True])
def test_walk(tree, git):
    if git:
        subprocess.run(["git", "init", "-q", str(tree)], check=True)
    walked = walk(CorpusConfig(roots=["."], max_bytes=2000), tree)
    expected = [".gitignore", "a.md", "b.md", "sub/c.txt"] + ([".venv/lib/v.py"] if git else [])
    assert names(walked) == sorted(expected)
    reasons = {s.path: s.reason for s in walked.skipped}
    assert reasons["gone.md"] == "dangling symlink"
    assert reasons["pic.psd"].startswith("a picture: ")
    assert reasons["empty.md"] == "empty"
    assert "3.0 kB" in reasons["big.md"]


def test_patterns_and_roots_outside_the_workspace(tree, tmp_path_factory):
    workspace = tmp_path_factory.mktemp("workspace")
    outside = os.path.relpath(tree, workspace)
    walked = walk(CorpusConfig(roots=[outside], include=["*.md"], exclude=["b.*"]), workspace)
    assert f"{outside}/a.md" in names(walked)
    assert f"{outside}/b.md" not in names(walked)
    assert f"{outside}/sub/c.txt" not in names(walked)
    assert next(f for f in walked.files if f.relative.endswith("/a.md")).name == "a.md"


def test_overlapping_roots_read_a_file_once(tree):
    assert names(walk(CorpusConfig(roots=[".", "sub/c.txt"], include=["*.txt"]), tree)) == [
        "sub/c.txt"
    ]


def test_ignored_folder_named_as_root_is_read(tree):
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    assert names(walk(CorpusConfig(roots=["build"]), tree)) == ["build/x.md"]


def test_own_artifacts_elsewhere(tree):
    assert "a.md" not in names(walk(CorpusConfig(roots=["."]), tree, own=[tree / "a.md"]))


def test_missing_root(tree):
    with pytest.raises(UsageError, match="'nope' does not exist") as caught:
        walk(CorpusConfig(roots=["nope"]), tree)
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_empty_corpus_says_what_was_skipped(tmp_path):
    put(tmp_path, **{"only.bin": b"\0\0"})
    with pytest.raises(UsageError, match=r"corpus is empty[\s\S]*only.bin: not text"):
        walk(CorpusConfig(roots=["."]), tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tree):
    (tree / "a.md").chmod(0)
    assert "unreadable" in next(
        s.reason for s in walk(CorpusConfig(), tree).skipped if s.path == "a.md"
    )


def git(folder, *arguments):
    settings = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.com",
        "-c",
        "protocol.file.allow=always",
    ]
    subprocess.run(
        ["git", *settings, "-C", str(folder), *arguments], check=True, capture_output=True
    )


def repository(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    put(folder, **files)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return folder


def test_submodules_are_walked_and_other_repositories_are_not(tmp_path):
    inner = repository(tmp_path / "inner", **{"i.md": "i", ".gitignore": "*.log\n"})
    middle = repository(tmp_path / "middle", **{"m.md": "m"})
    git(middle, "submodule", "add", "-q", str(inner), "inner")
    git(middle, "commit", "-q", "-m", "x")
    outer = repository(tmp_path / "outer", **{"o.md": "o"})
    git(outer, "submodule", "add", "-q", str(middle), "middle")
    git(outer, "submodule", "update", "-q", "--init", "--recursive")
    git(outer, "submodule", "add", "-q", str(inner), "empty")
    git(outer, "submodule", "deinit", "-q", "-f", "empty")
    repository(outer / "clone", **{"c.md": "c"})
    put(outer, middle__inner__new_DOT_md="new", middle__inner__x_DOT_log="ignored there")
    walked = walk(CorpusConfig(include=["*.md", "*.log", "empty", "clone"]), outer)
    assert names(walked) == ["middle/inner/i.md", "middle/inner/new.md", "middle/m.md", "o.md"]
    assert {s.path for s in walked.skipped} == {"clone/", "empty"}
    assert all("not walked" in s.reason for s in walked.skipped)


@pytest.mark.parametrize("versioned", [False, True])
def test_symlinks_are_never_read_through(tmp_path, versioned):
    put(tmp_path, secret_DOT_md="outside", docs__a_DOT_md="a", docs__sub__b_DOT_md="b")
    docs = tmp_path / "docs"
    (docs / "inside.md").symlink_to("a.md")
    (docs / "outside.md").symlink_to(tmp_path / "secret.md")
    (docs / "passwd").symlink_to("/etc/passwd")
    (docs / "loop.md").symlink_to("loop.md")
    (docs / "folder").symlink_to("sub")
    (docs / "away").symlink_to(tmp_path)
    if versioned:
        git(tmp_path, "init", "-q", "docs")
        git(docs, "add", "-A")
    walked = walk(CorpusConfig(roots=["docs"]), tmp_path)
    assert names(walked) == ["docs/a.md", "docs/sub/b.md"]
    reasons = {s.path.removeprefix("docs/"): s.reason for s in walked.skipped}
    assert {name for name, reason in reasons.items() if "leads out" in reason} == {
        "outside.md",
        "passwd",
        "away",
    }
    assert {name for name, reason in reasons.items() if "where it lies" in reason} == {
        "inside.md",
        "folder",
    }
    assert "loop.md" in reasons


def test_a_link_named_as_root_is_followed_and_read_once(tmp_path):
    put(tmp_path, docs__a_DOT_md="a")
    (tmp_path / "link").symlink_to("docs")
    (tmp_path / "one.md").symlink_to("docs/a.md")
    assert names(walk(CorpusConfig(roots=["link", "docs"]), tmp_path)) == ["link/a.md"]
    assert names(walk(CorpusConfig(roots=["one.md"]), tmp_path)) == ["one.md"]


def test_gitignore_above_the_root_holds_without_git(tmp_path):
    put(
        tmp_path,
        **{
            ".gitignore": "*.log\n/docs/private/\nout/\n",
            "docs__.gitignore": "*.tmp\n!keep.log\n",
            "docs__sub__.gitignore": "!wanted.tmp\nc.md\n",
            "docs__sub__a.md": "a",
            "docs__sub__a.log": "l",
            "docs__sub__keep.log": "kept",
            "docs__sub__c.md": "c",
            "docs__sub__x.tmp": "t",
            "docs__sub__wanted.tmp": "kept",
            "docs__c.md": "c",
            "docs__private__p.md": "p",
            "docs__sub__out__o.md": "o",
            "out__o.md": "o",
            "out__o.log": "o",
        },
    )
    everything = ["docs/c.md", "docs/sub/a.md", "docs/sub/keep.log", "docs/sub/wanted.tmp"]
    patterns = ["*.md", "*.log", "*.tmp"]
    for roots in (["docs"], ["."]):
        assert names(walk(CorpusConfig(roots=roots, include=patterns), tmp_path)) == everything
    assert (
        names(walk(CorpusConfig(roots=["docs/sub"], include=patterns), tmp_path)) == everything[1:]
    )
    assert names(walk(CorpusConfig(roots=["out"], include=patterns), tmp_path)) == [
        "out/o.log",
        "out/o.md",
    ]
    git(tmp_path, "init", "-q")
    assert names(walk(CorpusConfig(roots=["."], include=patterns), tmp_path)) == everything
    assert names(walk(CorpusConfig(roots=["docs"], include=patterns), tmp_path)) == everything


def test_formats_that_readers_extract_are_not_binary(tmp_path):
    zipped = b"PK\3\4\0\0"
    put(
        tmp_path,
        **{
            "a.docx": zipped,
            "b.pdf": b"%PDF\0",
            "c.zip": zipped,
            "d.md": "UTF-16".encode("utf-16"),
        },
    )
    walked = walk(CorpusConfig(), tmp_path)
    assert names(walked) == ["a.docx", "b.pdf", "d.md"]
    assert [(s.path, s.reason) for s in walked.skipped] == [("c.zip", exclusions.ARCHIVE)]


def test_the_size_is_the_files(tmp_path):
    put(tmp_path, **{"a.md": "12345"})
    (file,) = walk(CorpusConfig(), tmp_path).files
    assert file.size == 5


def test_list_of_sources(tmp_path):
    put(
        tmp_path,
        **{
            "lib__list.json": '{"common_content": ["ADRs/", "README.md"], "unique_forge_content": [{"path": "scripts"}]'
            ', "unique_rag_content": ["TASKS"], "exclude_patterns": [".*\\\\.py\\\\.md$", "**/test_*"], '
            '"exclude_dir_names": ["old"]}',
            "ADRs__1.md": "1",
            "ADRs__x.py.md": "x",
            "ADRs__old__2.md": "2",
            "README.md": "r",
            "scripts__a.py": "a",
            "scripts__test_a.py": "t",
            "TASKS__t.md": "t",
            "docs__d.md": "d",
        },
    )
    alone = walk(CorpusConfig(manifest="lib/list.json"), tmp_path)
    assert names(alone) == ["ADRs/1.md", "README.md", "scripts/a.py"]
    assert [file.name for file in alone.files] == names(alone)
    assert "unique_rag_content" in alone.notices[0]
    added = walk(CorpusConfig(manifest="lib/list.json", roots=["docs"]), tmp_path)
    assert names(added) == ["ADRs/1.md", "README.md", "docs/d.md", "scripts/a.py"]


def reasons_of(walked):
    return {each.path: each.reason for each in walked.skipped}


def test_files_that_tools_wrote_are_left_out_with_a_reason_and_taken_in_by_name(tmp_path):
    put(
        tmp_path,
        **{
            "a.md": "a",
            "web__package-lock.json": "{}",
            "logo.SVG": "<svg/>",
            "lib__x.min.js": "x",
            "rust__Cargo.toml": "[package]",
            "rust__target__debug__out.txt": "o",
            "rust__target__b.txt": "b",
            "docs__target__aims.md": "What we aim at.",
            "build__notes.md": "How to build.",
            "dist__index.html": "<p>x</p>",
            "dist__app.js.map": "{}",
        },
    )
    walked = walk(CorpusConfig(), tmp_path)
    kept = ["a.md", "build/notes.md", "docs/target/aims.md", "rust/Cargo.toml"]
    assert names(walked) == kept
    assert reasons_of(walked) == {
        "web/package-lock.json": exclusions.LOCK,
        "logo.SVG": "a drawing",
        "lib/x.min.js": exclusions.MINIFIED,
        "rust/target/": f"{exclusions.OUTPUT}: 2 files",
        "dist/": f"{exclusions.OUTPUT}: 2 files",
    }
    for path in reasons_of(walked):
        assert exclusions.lift(path)
    lifted = walk(CorpusConfig(exclude=["!*.SVG", exclusions.lift("rust/target/")]), tmp_path)
    assert names(lifted) == sorted(
        [*kept, "logo.SVG", "rust/target/b.txt", "rust/target/debug/out.txt"]
    )
    assert "dist/index.html" in names(walk(CorpusConfig(roots=["dist"]), tmp_path)), (
        "named by the user"
    )


def test_keys_are_never_documents(tmp_path):
    kept = {".env.example": "A=", "docs__keys.md": "About keys", "id_rsa.md": "How to make one"}
    secret = {
        "app__.env.local": "K=1",
        ".netrc": "m",
        "k__server.PEM": "x",
        "id_rsa": "x",
        "terraform.tfstate": "{}",
        "home__.ssh__config": "Host",
    }
    put(tmp_path, **kept, **secret)
    walked = walk(CorpusConfig(exclude=["!*.pem", "!.netrc"]), tmp_path)
    assert names(walked) == sorted(name.replace("__", "/") for name in kept)
    assert set(reasons_of(walked)) == {name.replace("__", "/") for name in secret}
    assert set(reasons_of(walked).values()) == {exclusions.SECRET}
    assert not survey(CorpusConfig(roots=[".netrc"]), tmp_path).files


@pytest.mark.parametrize("versioned", [False, True])
def test_what_gitignore_leaves_out_is_counted_by_its_top_folder(tmp_path, versioned):
    put(
        tmp_path,
        **{
            ".gitignore": "*.log\nold/\nmodels/\n",
            "a.md": "a",
            "x.log": "x",
            "y.log": "y",
            "old__1.md": "1",
            "old__deep__2.md": "2",
            "docs__z.log": "z",
            "models__m.gguf": "an artifact",
            ".venv__v.py": "a tool's",
        },
    )
    if versioned:
        git(tmp_path, "init", "-q")
    counted = {
        each.path: each.reason.rpartition(": ")[2] for each in ignored(CorpusConfig(), tmp_path)
    }
    assert counted == {"./": "2 files", "docs/": "1 file", "old/": "2 files"}


def test_limits_go_by_kind_unless_the_user_sets_one(tmp_path, monkeypatch):
    monkeypatch.setattr("phoenix_forge.corpus.walk.LARGEST_TEXT", 10)
    monkeypatch.setattr("phoenix_forge.corpus.walk.LARGEST_EXTRACTED", 100)
    put(tmp_path, **{"a.md": "x" * 11, "b.pdf": "x" * 11, "c.pdf": "x" * 101})
    walked = walk(CorpusConfig(), tmp_path)
    assert names(walked) == ["b.pdf"]
    assert "a text file has 10 B at most" in reasons_of(walked)["a.md"]
    assert "a document has 100 B at most" in reasons_of(walked)["c.pdf"]
    assert names(walk(CorpusConfig(max_bytes=1000), tmp_path)) == ["a.md", "b.pdf", "c.pdf"]


def test_where_nothing_can_be_read_the_fix_leads_out(tmp_path):
    put(tmp_path, **{"a.svg": "<svg/>", "b.svg": "<svg/>"})
    with pytest.raises(UsageError) as caught:
        walk(CorpusConfig(), tmp_path)
    assert "!*.svg" in (caught.value.fix or "")
    assert names(walk(CorpusConfig(exclude=["!*.svg"]), tmp_path)) == ["a.svg", "b.svg"]
