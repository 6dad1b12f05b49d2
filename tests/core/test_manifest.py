"""What a stage did, as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_forge.core.fsio import DigestCache
from phoenix_forge.core.manifest import Manifest, described, fingerprint, outputs_intact

FULL = Manifest(
    stage="train",
    fingerprint="f" * 64,
    settings={"rank": 4},
    inputs={"base": {"path": "b", "sha256": "0"}},
    outputs={"adapter": {"path": "a", "sha256": "1"}},
    metrics={"loss": 1.5, "name": "Größe"},
    versions={"forge": "0"},
    started="2026-01-01T00:00:00+00:00",
    seconds=1.25,
    notes=["n"],
)


def test_round_trip(tmp_path: Path):
    FULL.write(tmp_path / "manifests/train.json")
    assert Manifest.read(tmp_path / "manifests/train.json") == FULL


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"stage": "train"}', '{"unknown": 1}', "null", "3"]
)
def test_what_is_no_manifest_counts_as_none(tmp_path: Path, text):
    (tmp_path / "m.json").write_text(text)
    assert Manifest.read(tmp_path / "m.json") is None
    assert Manifest.read(tmp_path / "absent.json") is None


def test_the_fingerprint_depends_on_everything():
    whole = ("train", 1, {"rank": 4}, {"base": "0"}, {"torch": "2"})
    other = ("merge", 2, {"rank": 8}, {"base": "1"}, {"torch": "3"})
    prints = {fingerprint(*whole)} | {
        fingerprint(*(*whole[:i], other[i], *whole[i + 1 :])) for i in range(5)
    }
    assert len(prints) == 6
    assert fingerprint(*whole) == fingerprint(*whole)


def test_outputs_are_intact_only_as_recorded(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/b").write_text("2")
    paths = {"one": tmp_path / "a", "two": tmp_path / "folder"}

    def digests() -> DigestCache:
        return DigestCache(tmp_path / "digests.json")

    recorded = described(paths, digests(), tmp_path)
    assert recorded["two"]["path"] == "folder"
    manifest = Manifest("s", "f", {}, {}, recorded, {}, {}, "", 0.0)
    assert outputs_intact(manifest, paths, digests()) is None
    assert (
        outputs_intact(manifest, {"one": tmp_path / "a"}, digests()) == "other outputs are wanted"
    )
    (tmp_path / "folder/b").write_text("changed")
    assert outputs_intact(manifest, paths, digests()) == "folder was changed"
    (tmp_path / "a").unlink()
    assert outputs_intact(manifest, paths, digests()) == "a is missing"


def test_what_lies_outside_the_workspace_keeps_its_whole_path(tmp_path: Path):
    (tmp_path / "x").write_text("1")
    digests = DigestCache(tmp_path / "d.json")
    assert described({"x": tmp_path / "x"}, digests, tmp_path / "work")["x"]["path"] == str(
        tmp_path / "x"
    )
