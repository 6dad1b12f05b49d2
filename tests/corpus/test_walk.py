"""Which files are read, and that nothing is left out without a word."""

import os
import subprocess

import pytest

from forge.core.config import CorpusConfig
from forge.corpus.walk import walk
from forge.errors import UsageError


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
            "pic.png": b"\x89PNG\0\0",
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
    assert reasons["pic.png"] == "binary"
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
    assert names(walk(CorpusConfig(roots=[".", "sub/c.txt"], include=["*.txt"]), tree)) == ["sub/c.txt"]


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
    with pytest.raises(UsageError, match=r"corpus is empty[\s\S]*only.bin: binary"):
        walk(CorpusConfig(roots=["."]), tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tree):
    (tree / "a.md").chmod(0)
    assert "unreadable" in next(s.reason for s in walk(CorpusConfig(), tree).skipped if s.path == "a.md")


def git(folder, *arguments):
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *settings, "-C", str(folder), *arguments], check=True, capture_output=True)


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
    assert {name for name, reason in reasons.items() if "leads out" in reason} == {"outside.md", "passwd", "away"}
    assert {name for name, reason in reasons.items() if "where it lies" in reason} == {"inside.md", "folder"}
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
    assert names(walk(CorpusConfig(roots=["docs/sub"], include=patterns), tmp_path)) == everything[1:]
    assert names(walk(CorpusConfig(roots=["out"], include=patterns), tmp_path)) == ["out/o.log", "out/o.md"]
    git(tmp_path, "init", "-q")
    assert names(walk(CorpusConfig(roots=["."], include=patterns), tmp_path)) == everything
    assert names(walk(CorpusConfig(roots=["docs"], include=patterns), tmp_path)) == everything


def test_formats_that_readers_extract_are_not_binary(tmp_path):
    zipped = b"PK\3\4\0\0"
    put(tmp_path, **{"a.docx": zipped, "b.pdf": b"%PDF\0", "c.zip": zipped, "d.md": "UTF-16".encode("utf-16")})
    walked = walk(CorpusConfig(), tmp_path)
    assert names(walked) == ["a.docx", "b.pdf", "d.md"]
    assert [(s.path, s.reason) for s in walked.skipped] == [("c.zip", "binary")]


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
