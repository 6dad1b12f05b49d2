"""Bad input gets one message with a fix and the promised exit code, and nothing that was there is lost."""

from __future__ import annotations

import builtins
import json
import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from phoenix_forge.chat.template import OTHER_BASE
from phoenix_forge.cli.boundary import guarded, invoke
from phoenix_forge.corpus import exclusions
from phoenix_forge.weights.tiny import build_tiny

Usage = namedtuple("Usage", "total used free")
GGUF = "models/gguf/small-Q4_K_M.gguf"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Hub, no token, no Ollama."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGING_FACE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything that a failed command must leave as it was: all but logs and Forge's own state."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] not in ("logs", ".forge")
    }


def change(folder: Path, section: str, **values: Any) -> None:
    path = folder / "forge.yaml"
    tree = yaml.safe_load(path.read_text())
    tree[section] = {**tree.get(section, {}), **values}
    path.write_text(yaml.safe_dump(tree))


def own_base(folder: Path, damage: Callable[[Path], object]) -> None:
    """A base of the user's own, damaged, in base/."""
    build_tiny(folder / "base", ["some text " * 50], hidden=64, ffn=128, layers=2, vocab=400)
    damage(folder / "base")
    change(folder, "model", base="./base")


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


# name: (what is done to a workspace, command, exit code, what the message names)
NEW: dict[str, tuple[Callable[[Path], object], str, int, list[str]]] = {
    "missing corpus": (lambda w: shutil.rmtree(w / "docs"), "run", 2, ["corpus.roots", "'docs'"]),
    "empty corpus": (
        lambda w: [shutil.rmtree(w / "docs"), (w / "docs").mkdir()],
        "run",
        2,
        ["the corpus is empty"],
    ),
    "only binary documents": (
        lambda w: [
            shutil.rmtree(w / "docs"),
            (w / "docs").mkdir(),
            (w / "docs/a.md").write_bytes(b"\0\1"),
        ],
        "run",
        2,
        ["the corpus is empty", "docs/a.md: not text"],
    ),
    "no config": (lambda w: (w / "forge.yaml").unlink(), "run", 2, ["no forge.yaml"]),
    "unknown config key": (
        lambda w: change(w, "train", ranks=3),
        "run",
        2,
        ["train.ranks", "did you mean train.rank?"],
    ),
    "impossible value": (
        lambda w: change(w, "train", epochs=-1),
        "run",
        2,
        ["train.epochs", "-1", "forge.yaml"],
    ),
    "unknown quant type": (
        lambda w: change(w, "quantize", types=["Q9_Z"]),
        "run",
        2,
        ["Q9_Z", "Q4_K_M"],
    ),
    "unknown stage": (lambda w: None, "run --to frobnicate", 2, ["frobnicate", "quantize"]),
    "stages the wrong way round": (
        lambda w: None,
        "run --from train --to dataset",
        2,
        ["train", "dataset"],
    ),
    "absent base folder": (lambda w: None, "run --set model.base=./nothing", 2, ["nothing"]),
    "absent base file": (
        lambda w: None,
        "run --set model.base=./nothing.gguf",
        2,
        ["nothing.gguf"],
    ),
    "a base that is no GGUF": (
        lambda w: (w / "x.gguf").write_text("no"),
        "download --set model.base=./x.gguf",
        2,
        ["x.gguf"],
    ),
    "unknown base": (
        lambda w: None,
        "run --set model.base=nothing",
        2,
        ["nothing", "qwen2.5-coder-0.5b"],
    ),
    "base out of reach": (lambda w: None, "run --set model.base=org/absent", 3, ["org/absent"]),
    "half a tokenizer in a folder that nothing can fetch": (
        lambda w: own_base(w, lambda b: truncate(b / "tokenizer.json")),
        "dataset",
        2,
        ["tokenizer.json", "put what is missing into"],
    ),
    "unsupported architecture": (
        lambda w: own_base(
            w, lambda b: edit_json(b / "config.json", architectures=["NobodysForCausalLM"])
        ),
        "run",
        2,
        ["NobodysForCausalLM", "Qwen2ForCausalLM"],
    ),
    "truncated safetensors": (
        lambda w: own_base(w, lambda b: truncate(b / "model.safetensors")),
        "run",
        2,
        ["model.safetensors"],
    ),
    "pickle weights": (lambda w: own_base(w, pickled), "run", 2, ["pickle", "pytorch_model.bin"]),
    "base without config": (
        lambda w: own_base(w, lambda b: (b / "config.json").unlink()),
        "run",
        2,
        ["config.json"],
    ),
    "damaged tokenizer": (
        lambda w: own_base(w, lambda b: (b / "tokenizer.json").write_text("{}")),
        "run",
        2,
        ["tokenizer.json"],
    ),
    "base without a chat template": (
        lambda w: own_base(w, lambda b: edit_json(b / "tokenizer_config.json", chat_template=None)),
        "run",
        2,
        ["chat template"],
    ),
    "a foreign file where the GGUF goes": (
        lambda w: [(w / "models/gguf").mkdir(parents=True), (w / GGUF).write_text("mine")],
        "run",
        2,
        [GGUF, "--force"],
    ),
    "nothing to train on": (lambda w: None, "train", 2, ["forge dataset"]),
    "nothing to merge": (lambda w: None, "merge", 2, ["forge download"]),
    "nothing to quantise": (lambda w: None, "quantize", 2, ["forge download"]),
    "nothing to describe": (lambda w: None, "modelfile", 2, ["forge quantize"]),
    "nothing to ask": (lambda w: None, "ask hello", 2, ["forge quantize"]),
    "nothing to serve": (lambda w: None, "serve", 2, ["forge run"]),
    "nothing to deploy": (lambda w: None, "deploy", 2, ["forge quantize"]),
    "an unknown model to ask": (lambda w: None, "ask hello --model moon", 2, ["moon", "adapter"]),
    "a question in a file that is absent": (
        lambda w: None,
        "ask --file absent.txt",
        2,
        ["absent.txt"],
    ),
    "no dataset to validate": (lambda w: None, "validate absent.jsonl", 2, ["absent.jsonl"]),
    "a workspace that is none": (lambda w: None, "run --workspace absent", 2, ["absent"]),
    "Ollama not running": (
        lambda w: None,
        "ask hello --model ollama",
        3,
        ["Ollama", "ollama serve"],
    ),
    "Ollama not running, before any work": (
        lambda w: change(w, "deploy", target="ollama"),
        "run",
        3,
        ["Ollama"],
    ),
}
FINISHED: dict[str, tuple[Callable[[Path], object], str, int, list[str]]] = {
    "adapter for another base": (
        lambda w: own_base(w, lambda b: None),
        "quantize",
        2,
        ["for another base"],
    ),
    "adapter for another base, merging": (
        lambda w: own_base(w, lambda b: None),
        "merge",
        2,
        ["for another base"],
    ),
    "truncated adapter": (
        lambda w: truncate(w / "models/small-adapter/adapter_model.safetensors"),
        "quantize",
        2,
        ["adapter_model.safetensors"],
    ),
    "pickled adapter": (
        lambda w: (w / "models/small-adapter/adapter_model.safetensors").rename(
            w / "models/small-adapter/adapter_model.bin"
        ),
        "quantize",
        2,
        ["pickle"],
    ),
    "an edited GGUF": (
        lambda w: (w / GGUF).write_bytes(b"edited"),
        "quantize",
        2,
        [GGUF, "--force"],
    ),
    "an edited dataset": (
        lambda w: (w / "dataset_package/small.jsonl").write_text("{}\n"),
        "dataset",
        2,
        ["small.jsonl", "--force"],
    ),
    "a GGUF that is none": (
        lambda w: (w / GGUF).write_bytes(b"GGUF but no more"),
        "ask hello",
        2,
        [GGUF],
    ),
    "no token": (lambda w: None, "publish --repo ada/small", 3, ["token", "HF_TOKEN"]),
    "no repository": (lambda w: None, "publish", 2, ["--repo"]),
    "Ollama not running": (
        lambda w: None,
        "deploy --set deploy.target=ollama",
        3,
        ["Ollama", "ollama serve"],
    ),
}


def refused(command: str, code: int, named: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path.cwd()
    before = content(folder)
    assert guarded(lambda: invoke(command.split())) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("error: ") == 1, err
    assert err.count("\nfix: ") == 1, err
    assert "Traceback" not in err
    for text in named:
        assert text in err
    after = content(folder)
    assert {name: after.get(name, "gone") for name in before} == before
    assert not [name for name in after if name.endswith(".partial")]


@pytest.mark.parametrize(("spoil", "command", "code", "named"), NEW.values(), ids=NEW)
def test_a_new_workspace(spoil, command, code, named, workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace())
    spoil(Path.cwd())
    refused(command, code, named, capsys)
    assert not Path("models/gguf/gguf_model_manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "command", "code", "named"), FINISHED.values(), ids=FINISHED)
def test_a_finished_workspace(spoil, command, code, named, copy, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    spoil(copy)
    refused(command, code, named, capsys)


@pytest.mark.slow
def test_force_overwrites_what_is_there(copy, run_forge):
    good = (copy / GGUF).read_bytes()
    (copy / GGUF).write_bytes(b"edited")
    ran = run_forge("quantize", "--force", cwd=copy)
    assert ran.code == 0, ran.stderr
    assert (copy / GGUF).read_bytes() == good


@pytest.mark.parametrize("command", ["run", "quantize --force", "merge", "run --force"])
def test_no_disk_space(command, copy, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    if command == "run":
        for made in ("models", "dataset_package", ".forge"):
            shutil.rmtree(copy / made)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 1000))
    refused(command, 3, ["1.0 kB are free", "needs"], capsys)


def test_no_memory(copy, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    free = namedtuple("Memory", "available free total")(1000, 1000, 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(psutil, "swap_memory", lambda: free)
    refused("quantize --force", 3, ["of memory", "1.0 kB of RAM", "swap"], capsys)


def test_the_disk_is_full_in_the_middle_of_a_stage(copy, monkeypatch, capsys):
    from phoenix_forge import stages

    monkeypatch.chdir(copy)
    stage = stages.load("modelfile")

    def full(ctx: stages.Context) -> dict:
        ctx.staged(ctx.workspace.modelfile).write_text("half")
        raise OSError(28, "No space left on device", str(ctx.workspace.modelfile))

    monkeypatch.setattr(stage, "run", full)
    before = (copy / "Modelfile").read_bytes()
    assert guarded(lambda: invoke(["modelfile", "--force"])) == 3
    err = capsys.readouterr().err
    assert re.search(r"the disk of \S+ is full: Modelfile", err)
    assert "fix: free some space" in err
    assert (copy / "Modelfile").read_bytes() == before


# Files that cannot be documents are left out, and told; the rest is used.


def dataset_card(folder: Path, run_forge: Callable[..., Any]) -> tuple[dict, Any]:
    ran = run_forge("run", "--to", "dataset", cwd=folder)
    assert ran.code == 0, ran.stderr
    return json.loads((folder / "dataset_package/dataset_card.json").read_text()), ran


def test_odd_files_among_the_documents(workspace, run_forge):
    folder = workspace()
    (folder / "docs/photo.md").write_bytes(b"\x89PNG\0\0\0")
    (folder / "docs/gone.md").symlink_to("nowhere.md")
    (folder / "docs/empty.md").write_text(" \n")
    (folder / "docs/large.md").write_text("word " * 1_100_000)
    (folder / "docs/latin.md").write_bytes(
        "# Straße\n\nDie Größe des Hafens beträgt neun Fuß.\n".encode("latin-1")
    )
    card, ran = dataset_card(folder, run_forge)
    reasons = {entry["path"]: entry["reason"] for entry in card["skipped"]}
    assert reasons == {
        "docs/photo.md": exclusions.UNKNOWN,
        "docs/gone.md": "dangling symlink",
        "docs/empty.md": "empty",
        "docs/large.md": "too large: 5.5 MB; a text file has 5.0 MB at most, unless corpus.max_bytes "
        "says more",
    }
    assert card["documents"] == 5
    assert "docs/latin.md: not UTF-8 (byte 6)" in ran.stderr
    assert "warning: 3 files left out (docs/gone.md: dangling symlink; " in ran.stderr, (
        "empty ones: only in the card"
    )
    assert "docs/photo.md: not text" in ran.stderr
    lines = (folder / "dataset_package/small.jsonl").read_text(encoding="utf-8")
    assert "photo.md" not in lines
    assert "latin.md" in lines


def test_an_unreadable_document(workspace, monkeypatch):
    folder = workspace()
    monkeypatch.chdir(folder)
    secret = folder / "docs/secret.md"
    secret.write_text("# Locked\n")
    if os.geteuid():
        secret.chmod(0)
    else:  # root reads everything
        real = builtins.open

        def locked(path: Any, *arguments: Any, **named: Any) -> Any:
            if Path(path if isinstance(path, str | os.PathLike) else "").name == "secret.md":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **named)

        monkeypatch.setattr(builtins, "open", locked)
    assert guarded(lambda: invoke(["run", "--to", "dataset", "--quiet"])) == 0
    card = json.loads((folder / "dataset_package/dataset_card.json").read_text())
    assert {"path": "docs/secret.md", "reason": "unreadable: Permission denied"} in card["skipped"]


def test_validate_refuses_a_broken_dataset_with_its_lines(workspace, run_forge):
    folder = workspace()
    (folder / "d.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n{\n')
    ran = run_forge("validate", "d.jsonl", cwd=folder)
    assert ran.code == 4
    assert "line 2: error: " in ran.stdout
    assert "❌" in ran.stdout
    assert run_forge("validate", "d.jsonl", "--json", cwd=folder).json["errors"] >= 1


def test_a_broken_dataset_is_told_with_its_line(copy, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    (copy / "own.jsonl").write_text("{\n")
    before = content(copy / "models")
    assert guarded(lambda: invoke(["train", "--quiet", "--set", "paths.dataset=own.jsonl"])) == 2
    err = capsys.readouterr().err
    assert "own.jsonl:1: not valid JSON" in err
    assert "\nfix: forge validate" in err
    assert content(copy / "models") == before


def test_what_the_template_leaves_out_has_the_same_two_ways_out_in_validate_and_train(
    copy, monkeypatch, capsys
):
    monkeypatch.chdir(copy)
    tools = [
        {
            "type": "function",
            "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}},
        }
    ]
    (copy / "own.jsonl").write_text(
        json.dumps(
            {
                "tools": tools,
                "messages": [
                    {"role": "user", "content": "High tide?"},
                    {"role": "assistant", "content": "At six."},
                ],
            }
        )
        + "\n"
    )
    said = []
    for command in (
        ["validate", "own.jsonl"],
        ["train", "--quiet", "--set", "paths.dataset=own.jsonl"],
    ):
        assert guarded(lambda command=command: invoke(command)) in (2, 4)
        said.append("".join(capsys.readouterr()))
    for text in said:
        assert "leaves out `tools`" in text
        assert f"fix: {OTHER_BASE}; or mend " in text
    assert "line 1, or take it out: sed -i 1d own.jsonl" in said[0]
    assert "which forge validate names" in said[1]


def test_the_token_reaches_no_file_and_no_output(copy, monkeypatch, capsys):
    token = "hf_" + "q" * 34
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("phoenix_forge.hub.retry.WAITS", ())
    assert guarded(lambda: invoke(["publish", "--repo", "ada/small", "--verbose"])) in (3, 4)
    out, err = capsys.readouterr()
    assert "127.0.0.1:9" in err
    assert "fix: " in err
    assert token not in out + err
    assert not [
        path for path in copy.rglob("*") if path.is_file() and token.encode() in path.read_bytes()
    ]


def test_two_at_once(copy, monkeypatch, capsys):
    import fcntl

    monkeypatch.chdir(copy)
    with open(copy / ".forge/lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused("run --force", 2, ["another forge is at work"], capsys)
