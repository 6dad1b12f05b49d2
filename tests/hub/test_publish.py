"""Publishing to a stand-in Hub, and reading it back."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import httpx2
import pytest

from phoenix_forge.catalog.bases import Source
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.hub.download import fetch
from phoenix_forge.hub.publish import Item, Upload, ollama_files, prepare, publish

MERGED = {
    "config.json": b"{}",
    "model-00001-of-00002.safetensors": os.urandom(3000),
    "model-00002-of-00002.safetensors": os.urandom(2000),
    "model.safetensors.index.json": b"{ }",
    "tokenizer.json": b"{}",
}
CARD = "---\nlicense: apache-2.0\n---\n\n# m\n"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A workspace's results."""
    (tmp_path / "adapter").mkdir()
    for name, content in {
        "m-Q4_K_M.gguf": b"GGUF" + os.urandom(200_000),
        "Modelfile": b"FROM ./m\n",
        "README.md": CARD.encode(),
        "README_LORA.md": CARD.encode(),
        "model_card.yaml": b"a: 1\n",
        "adapter/adapter_model.safetensors": os.urandom(5000),
        "adapter/adapter_config.json": b"{}",
        "adapter/training_args.bin": b"pickle",
        "notes.txt": b"n",
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def full(made: Path, **other) -> Upload:
    return prepare(
        "me/m",
        **{
            "private": True,
            "create": True,
            "ggufs": [made / "m-Q4_K_M.gguf"],
            "modelfile": made / "Modelfile",
            "readme": made / "README.md",
            "adapter": made / "adapter",
            "readme_lora": made / "README_LORA.md",
            "model_card": made / "model_card.yaml",
            "files": [made / "notes.txt"],
            "ollama": ollama_files("{{ .Prompt }}", "Be.", {"num_ctx": 9, "stop": ["x"]}),
            **other,
        },
    )


def test_the_plan_lists_every_file_and_the_card(made) -> None:
    p = full(made)
    assert [item.path for item in p.items] == [
        "m-Q4_K_M.gguf",
        "template",
        "params",
        "system",
        "Modelfile",
        "README.md",
        "model_card.yaml",
        "lora/adapter_model.safetensors",
        "lora/adapter_config.json",
        "README_LORA.md",
        "notes.txt",
    ]
    assert p.card == CARD
    assert p.size == sum(item.size for item in p.items) > 205_000
    assert json.loads(next(i.content for i in p.items if i.path == "params")) == {
        "num_ctx": 9,
        "stop": ["x"],
    }


def test_an_adapter_alone_is_the_repository(made) -> None:
    p = prepare(
        "me/m",
        private=True,
        create=True,
        adapter=made / "adapter",
        readme_lora=made / "README_LORA.md",
    )
    assert [i.path for i in p.items] == [
        "adapter_model.safetensors",
        "adapter_config.json",
        "README.md",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"readme": "absent.md"}, "is not there"),
        ({"files": ["adapter/training_args.bin"]}, "pickle"),
        ({"files": ["Modelfile"]}, "two files"),
        ({"files": [".env"]}, "secrets"),
    ],
)
def test_what_must_not_be_published_is_refused(made, change, words) -> None:
    (made / ".env").write_text("HF_TOKEN=hf_x")
    paths = {
        k: [made / n for n in v] if isinstance(v, list) else made / v for k, v in change.items()
    }
    with pytest.raises(UsageError, match=words):
        full(made, **paths)


def test_no_repository_and_nothing_to_publish() -> None:
    with pytest.raises(UsageError, match="no repository"):
        prepare(None, private=True, create=True)
    with pytest.raises(UsageError, match="nothing to publish"):
        prepare("me/m", private=True, create=True)


def test_published_files_are_private_verified_and_come_back(server, made, notes) -> None:
    done = publish(full(made), token="hf_test", message="Forge", report=notes)
    repo = server.repos["me/m"]
    assert repo.private
    assert len(repo.commits) == 2  # the Hub's first, and ours: all files at once
    assert repo.at("main")[0] == done.commit
    assert {path: sha for path, _, sha in done.files}["m-Q4_K_M.gguf"] == hashlib.sha256(
        (made / "m-Q4_K_M.gguf").read_bytes()
    ).hexdigest()
    assert not [path for path in repo.at("main")[1] if path.endswith(".bin")]
    server.repos["me/m"].commit({"config.json": b"{}", "model.safetensors": b"w" * 99})
    back = fetch(
        Source("hub", "me/m"),
        made / "cache",
        destination=made / "back",
        revision=None,
        token="hf_test",
        report=notes,
    )
    assert (back.path / "lora/adapter_model.safetensors").read_bytes() == (
        made / "adapter/adapter_model.safetensors"
    ).read_bytes()


def test_a_public_repository_is_refused_unless_that_is_wanted(server, made, notes) -> None:
    server.add("me/m", {"old.txt": b"o"})
    with pytest.raises(UsageError, match="is public, and this is to be private") as caught:
        publish(full(made), token="hf_test", message="Forge", report=notes)
    assert "--public" in str(caught.value.fix)
    assert not [line for line in server.seen if line.startswith("PUT")]
    publish(full(made, private=False), token="hf_test", message="Forge", report=notes)
    assert "old.txt" in server.repos["me/m"].at("main")[1]


def test_a_private_repository_stays_private_and_says_so(server, made, notes) -> None:
    server.add("me/m", {"old.txt": b"o"}, private=True)
    publish(full(made, private=False), token="hf_test", message="Forge", report=notes)
    assert server.repos["me/m"].private
    assert "is private" in notes.warnings[0]


def test_a_busy_hub_is_asked_again(server, made, notes) -> None:
    server.fail = {
        "POST /api/repos/create": [503],
        "POST /api/models/me/m/commit": [503, 429],
        "PUT /large": [500],
        "POST /me/m.git/info/lfs": [502],
    }
    publish(full(made), token="hf_test", message="Forge", report=notes)
    assert not any(server.fail.values())
    assert "m-Q4_K_M.gguf" in server.repos["me/m"].at("main")[1]
    assert any("trying again" in warning for warning in notes.warnings)


def test_a_hub_that_stays_busy_is_given_up_and_nothing_is_visible(server, made, notes) -> None:
    server.add("me/m", {"old.txt": b"o"}, private=True)
    server.fail = {"POST /api/models/me/m/commit": [503] * 99}
    with pytest.raises(StageFailed, match="503"):
        publish(full(made), token="hf_test", message="Forge", report=notes)
    assert list(server.repos["me/m"].at("main")[1]) == ["old.txt"]


def test_without_a_token_nothing_is_asked(server, made, notes) -> None:
    with pytest.raises(EnvironmentProblem, match="no Hugging Face token") as caught:
        publish(full(made), token=None, message="Forge", report=notes)
    assert (caught.value.exit_code, server.seen) == (3, [])
    assert "HF_TOKEN" in str(caught.value.fix)


def test_a_refused_token_is_explained_and_not_shown(server, made, notes) -> None:
    with pytest.raises(EnvironmentProblem, match="401") as caught:
        publish(full(made), token="hf_wrong", message="Forge", report=notes)
    assert "write access" in str(caught.value.fix)
    assert "hf_wrong" not in f"{caught.value} {notes.infos} {notes.warnings}"


def test_an_absent_repository_that_may_not_be_made(server, made, notes) -> None:
    with pytest.raises(StageFailed, match="does not exist") as caught:
        publish(full(made, create=False), token="hf_test", message="Forge", report=notes)
    assert "publish.create=true" in str(caught.value.fix)


def test_a_file_that_arrived_changed_is_noticed(server, made, notes, monkeypatch) -> None:
    whole = server.repos

    def damage(self, files):
        oid = original(self, files)
        if "m-Q4_K_M.gguf" in files:
            self.commits[-1][1]["m-Q4_K_M.gguf"] = b"short"
        return oid

    server.add("me/m", {}, private=True)
    original = type(whole["me/m"]).commit
    monkeypatch.setattr(type(whole["me/m"]), "commit", damage)
    with pytest.raises(StageFailed, match=r"m-Q4_K_M\.gguf arrived as 5 bytes"):
        publish(full(made), token="hf_test", message="Forge", report=notes)


def test_a_lost_answer_to_the_commit_makes_no_second_one(server, made, notes) -> None:
    """The commit was made, its answer never came: the next try finds that nothing is left to send."""
    server.lose = {"POST /api/models/me/m/commit": [True]}
    done = publish(full(made), token="hf_test", message="Forge", report=notes)
    assert len(server.repos["me/m"].commits) == 2
    assert done.commit == server.repos["me/m"].commits[1][0]
    assert publish(full(made), token="hf_test", message="Forge", report=notes) == done
    assert len(server.repos["me/m"].commits) == 2


def puts(server) -> list[str]:
    return [line.removeprefix("PUT /large/") for line in server.seen if line.startswith("PUT")]


def test_a_broken_upload_goes_on_without_what_has_arrived(server, made, notes) -> None:
    gguf, adapter = (
        hashlib.sha256((made / name).read_bytes()).hexdigest()
        for name in ("m-Q4_K_M.gguf", "adapter/adapter_model.safetensors")
    )
    # The library tries a part six times; then Forge begins again, and finds the adapter there.
    server.drop = {f"PUT /large/{gguf}": [1000] * 7}
    publish(full(made), token="hf_test", message="Forge", report=notes)
    assert puts(server).count(adapter) == 1
    assert puts(server).count(gguf) == 8
    assert any("trying again" in warning for warning in notes.warnings)
    assert len(server.repos["me/m"].commits) == 2


def test_a_limit_is_waited_out_as_long_as_the_hub_asks(server, made, notes, monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("phoenix_forge.hub.retry.time.sleep", waited.append)
    server.fail = {
        "POST /api/models/me/m/commit": [
            (429, {"Retry-After": "7"}),
            (429, {"RateLimit": '"api";r=0;t=55'}),
            (503, {"Retry-After": "100000"}),
        ]
    }
    publish(full(made), token="hf_test", message="Forge", report=notes)
    assert waited == [7.0, 55.0, 300.0]


def test_a_merged_model_lies_at_the_root_and_its_adapter_below(server, made, notes) -> None:
    for name, content in MERGED.items():
        (made / "merged").mkdir(exist_ok=True)
        (made / "merged" / name).write_bytes(content)
    p = prepare(
        "me/m",
        private=True,
        create=True,
        merged=made / "merged",
        adapter=made / "adapter",
        readme=made / "README.md",
        readme_lora=made / "README_LORA.md",
    )
    assert {item.path for item in p.items} == {
        *MERGED,
        "README.md",
        "README_LORA.md",
        "lora/adapter_model.safetensors",
        "lora/adapter_config.json",
    }
    publish(p, token="hf_test", message="Forge", report=notes)
    back = fetch(
        Source("hub", "me/m"),
        made / "cache",
        destination=made / "back",
        revision=None,
        token="hf_test",
        report=notes,
    )
    assert {name: (back.path / name).read_bytes() for name in MERGED} == MERGED
    assert back.license == "apache-2.0"


def test_examples_alone_are_a_dataset_repository(server, made, notes) -> None:
    examples = [Item("train.jsonl", b'{"messages": []}\n'), Item("validation.jsonl", b"{}\n")]
    done = publish(
        prepare("me/d", private=True, create=True, dataset=examples, dataset_card=CARD.encode()),
        token="hf_test",
        message="Forge",
        report=notes,
    )
    assert done.url == f"{server.url}/datasets/me/d"
    tree = server.repos["datasets/me/d"].at("main")[1]
    assert set(tree) - {".gitattributes"} == {"train.jsonl", "validation.jsonl", "README.md"}
    beside = full(made, dataset=examples, dataset_card=CARD.encode())
    assert beside.kind == "model"
    assert [item.path for item in beside.items if "jsonl" in item.path] == [
        "dataset/train.jsonl",
        "dataset/validation.jsonl",
    ]


@pytest.mark.parametrize(
    "repo", ["me", "me/m/x", "../m", "me/ m", "me/", "me/.hidden", "https://host/me/m"]
)
def test_names_that_are_no_repository(repo, made) -> None:
    with pytest.raises(UsageError, match="not a repository's name"):
        prepare(repo, private=True, create=True, files=[made / "notes.txt"])


def test_no_hub_at_all(made, notes) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        publish(full(made), token="hf_test", message="Forge", report=notes)


def test_the_stand_in_is_strict(server) -> None:
    """Wrong content, a commit of what was never sent, and a stale parent are refused, as at the Hub."""
    server.add("me/m", {})
    auth = {"Authorization": "Bearer hf_test"}
    assert httpx2.put(f"{server.url}/large/{'0' * 64}", content=b"x").status_code == 400
    commit = f"{server.url}/api/models/me/m/commit/main"
    lfs = {"key": "lfsFile", "value": {"path": "a.gguf", "oid": "0" * 64}}
    for header, status in [({}, 400), ({"parentCommit": "f" * 40}, 412)]:
        lines = [{"key": "header", "value": header}, lfs]
        body = "\n".join(json.dumps(line) for line in lines)
        assert httpx2.post(commit, content=body, headers=auth).status_code == status
    assert httpx2.post(commit, content="{}").status_code == 401
