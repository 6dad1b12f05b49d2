"""Files and folders are whole or absent; digests see changes; a disk that is too small is refused before any work."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.core import fsio
from phoenix_forge.core.fsio import (
    DigestCache,
    atomic_file,
    files_below,
    human,
    partial_path,
    publish,
    require_disk,
)
from phoenix_forge.errors import EnvironmentProblem

Usage = namedtuple("Usage", "total used free")


def test_a_failed_write_leaves_nothing(tmp_path: Path):
    def fail() -> None:
        with atomic_file(tmp_path / "deep/er/file") as handle:
            handle.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list((tmp_path / "deep/er").iterdir())


def test_a_failed_write_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with atomic_file(path, "w") as handle:
            handle.write("new")
            handle.flush()
            assert path.read_text() == "old", "the destination changes only at the end"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_publish_replaces_a_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    fsio.write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("before", ["folder", "file", "nothing"])
def test_publish_replaces_a_folder_and_merges_nothing(tmp_path: Path, before):
    path = tmp_path / "model"
    if before == "folder":
        path.mkdir()
        (path / "stale").write_text("x")
    elif before == "file":
        path.write_text("x")
    staged = partial_path(path)
    (staged / "sub").mkdir(parents=True)
    (staged / "sub/new").write_text("y")
    publish(staged, path)
    assert [p.relative_to(path).as_posix() for p in files_below(path)] == ["sub/new"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_publish_tidies_up_after_a_kill_between_its_two_renames(tmp_path: Path):
    path = tmp_path / "model"
    aside = tmp_path / f".model.replaced{fsio.PARTIAL}"
    aside.mkdir()  # the old one, renamed aside before the kill
    staged = partial_path(path)
    staged.mkdir()
    (staged / "new").write_text("y")
    publish(staged, path)
    assert not aside.exists()
    assert (path / "new").exists()


def test_unfinished_work_is_on_the_same_file_system_and_never_listed(tmp_path: Path):
    destination = tmp_path / "models/x"
    assert partial_path(destination).parent == destination.parent
    destination.mkdir(parents=True)
    (destination / "a").write_text("1")
    (destination / f".b{fsio.PARTIAL}").write_text("2")
    partial_path(destination / "c").mkdir()
    (partial_path(destination / "c") / "d").write_text("3")
    assert [p.name for p in files_below(destination)] == ["a"]


def test_remove_takes_the_link_not_what_it_points_to(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    fsio.remove(tmp_path / "link")
    fsio.remove(tmp_path / "absent")
    assert [p.name for p in tmp_path.iterdir()] == ["real"]


def test_digests_are_sha256_and_see_changes(tmp_path: Path):
    path, store = tmp_path / "file", tmp_path / "digests.json"
    path.write_bytes(b"one")
    cache = DigestCache(store)
    assert cache.file(path) == hashlib.sha256(b"one").hexdigest()
    cache.save()
    path.write_bytes(b"two!")
    assert DigestCache(store).file(path) == hashlib.sha256(b"two!").hexdigest()
    path.write_bytes(b"six!")
    os.utime(path, ns=(1, 1))  # the same size, another time
    assert DigestCache(store).file(path) == hashlib.sha256(b"six!").hexdigest()


@pytest.mark.parametrize("written_to", ["in place", "put in its place"])
def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path, written_to):
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"one")
    cache, stat = DigestCache(tmp_path / "digests.json"), path.stat()
    cache.file(path)
    target = path if written_to == "in place" else other
    target.write_bytes(b"six")
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    target.replace(path)
    assert cache.file(path) == hashlib.sha256(b"six").hexdigest()


def test_what_is_forgotten_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("model/a", "model/b", "model2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    cache, seen = DigestCache(tmp_path / "digests.json"), []
    for name in ("model", "model2"):
        cache.tree(tmp_path / name)
    monkeypatch.setattr(fsio, "sha256_file", lambda path: seen.append(path.name) or "0")
    cache.forget(tmp_path / "model")
    for name in ("model", "model2"):
        cache.tree(tmp_path / name)
    assert seen == ["a", "b"]


def test_what_cannot_be_kept_is_no_failure(tmp_path: Path):
    """A read-only workspace: plan and status look at it all the same."""
    (tmp_path / "file").write_text("one")
    cache = DigestCache(tmp_path / "file" / "digests.json")
    cache.file(tmp_path / "file")
    cache.save()


def test_a_sealed_file_is_used_as_it_was_written_or_not_at_all(tmp_path: Path):
    path, value = (
        tmp_path / "sealed.json",
        {"precision": "fp32", "use": {"whole": 2}, "passages": [[1, [2, 3]]]},
    )
    fsio.write_sealed(path, value)
    assert fsio.read_sealed(path) == value
    good = path.read_bytes()
    for at in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            path.write_bytes(bad)
            assert fsio.read_sealed(path) in (None, value)


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_rights_are_what_the_umask_says(tmp_path: Path, umask, rights):
    before = os.umask(umask)
    try:
        (tmp_path / "own").touch(0o600)
        fsio.as_umask_says(tmp_path / "own")
        fsio.write_text(tmp_path / "written", "x")
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "own": rights,
        "written": rights,
    }


@pytest.mark.parametrize(
    ("code", "said"), [(errno.ENOSPC, "is full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit")]
)
def test_a_disk_that_fills_up_is_named_with_the_file_and_the_numbers(
    tmp_path: Path, monkeypatch, code, said
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 2_000))

    def fill() -> None:
        with fsio.naming(tmp_path / "model.gguf", needed=10_000):
            (tmp_path / "model.gguf").write_bytes(bytes(3_000))
            raise OSError(code, os.strerror(code))

    with pytest.raises(EnvironmentProblem, match=said) as caught:
        fill()
    assert (
        "model.gguf needs 10.0 kB, of which 3.0 kB are there; 2.0 kB are free"
        in caught.value.message
    )
    assert ("free 5.0 kB" in str(caught.value.fix)) == (code != errno.EFBIG)


def test_digests_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, store = tmp_path / "file", tmp_path / "digests.json"
    path.write_bytes(b"one")
    cache = DigestCache(store)
    digest = cache.file(path)
    path.rename(tmp_path / "other")
    cache.moved(path, tmp_path / "other")
    cache.save()
    monkeypatch.setattr(fsio, "sha256_file", lambda path: pytest.fail("read again"))
    assert DigestCache(store).file(tmp_path / "other") == digest


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"null", b"[]"])
def test_a_damaged_digest_store_costs_time_only(tmp_path: Path, damage):
    (tmp_path / "digests.json").write_bytes(damage)
    (tmp_path / "file").write_bytes(b"one")
    cache = DigestCache(tmp_path / "digests.json")
    assert cache.file(tmp_path / "file") == hashlib.sha256(b"one").hexdigest()
    cache.save()


def test_the_digest_of_a_folder(tmp_path: Path):
    def digest() -> str:
        return DigestCache(tmp_path / "none.json").tree(folder)

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = digest()
    (folder / f".x{fsio.PARTIAL}").write_text("unfinished")
    assert digest() == first
    (folder / "a").rename(folder / "b")
    renamed = digest()
    (folder / "b").write_text("2")
    assert len({first, renamed, digest()}) == 3


def test_too_little_disk_is_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 5 * 10**9))
    require_disk(tmp_path / "not/yet/there", 4_900_000_000, "the GGUF")
    with pytest.raises(EnvironmentProblem) as caught:
        require_disk(tmp_path / "not/yet/there", 4_950_000_000, "the GGUF")
    assert "the GGUF needs 5.0 GB" in caught.value.message
    assert caught.value.exit_code == 3
    assert caught.value.fix
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4.7e9, "4.7 GB"),
        (123e9, "123 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_as_people_read_them(count, text):
    assert human(count) == text


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4)))
def test_a_json_digest_ignores_the_order_of_keys(value):
    assert fsio.sha256_json(value) == fsio.sha256_json(dict(reversed(list(value.items()))))
    assert fsio.sha256_json(value) != fsio.sha256_json([value])


def test_json_files_are_stable(tmp_path: Path):
    fsio.write_json(tmp_path / "a.json", {"b": 1, "a": "東京"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": "東京"\n}\n'
