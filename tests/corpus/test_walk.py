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
