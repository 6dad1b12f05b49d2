"""forge download and forge publish, end to end against the stand-in Hub: a base from there, through the pipeline, back
there, and down again."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from huggingface_hub import ModelCard, hf_hub_download
from stand_ins import hub as stand_in

from phoenix_forge.catalog.bases import Source
from phoenix_forge.cli.boundary import guarded, invoke
from phoenix_forge.core.fsio import DigestCache, human
from phoenix_forge.core.manifest import Manifest, described
from phoenix_forge.hub.download import fetch

pytestmark = pytest.mark.slow

BASE = "acme/base"
LICENSE = "---\nlicense: apache-2.0\n---\n"
SECRET = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ0bD2fG4hJ6"  # of GitHub's form


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    make_workspace: Callable[..., Path],
    run_forge: Callable[..., Any],
    tiny_base: Path,
) -> tuple[Path, dict[str, bytes]]:
    """A workspace that a run and a merge have been through, and the files of the base's repository."""
    base = {path.name: path.read_bytes() for path in tiny_base.iterdir()} | {
        "README.md": LICENSE.encode()
    }
    folder = make_workspace(
        tmp_path_factory.mktemp("hub") / "work",
        model={"base": BASE},
        merge={"enabled": True},
        quantize={"types": ["Q8_0"], "gate": "none"},
        train={"max_steps": 1},
    )
    with stand_in.running() as server:
        server.add(BASE, base)
        ours = {
            "HF_ENDPOINT": server.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(folder.parent / "home"),
        }
        ran = run_forge("run", "--to", "modelfile", cwd=folder, env=ours)
        assert ran.code == 0, ran.stderr
    return folder, base


@pytest.fixture
def space(made, tmp_path, server, monkeypatch) -> Path:
    """A copy of it to work in, and a Hub that has the base."""
    server.add(BASE, made[1])
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    copy = Path(shutil.copytree(made[0], tmp_path / "copy"))
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def forge(capsys) -> Callable[..., tuple[int, str, str]]:
    def run(line: str) -> tuple[int, str, str]:
        code = guarded(lambda: invoke(line.split()))
        return code, *capsys.readouterr()

    return run


def recorded(space: Path) -> dict[str, Any]:
    return json.loads((space / ".forge/manifests/download.json").read_text())["metrics"]


def as_made(space: Path) -> None:
    """Records what stages made as it is now: what is published is held against that first."""
    for path in (space / ".forge/manifests").glob("*.json"):
        manifest = json.loads(path.read_text())
        for output in manifest["outputs"].values():
            made = space / output["path"]
            output["sha256"] = (
                DigestCache(space / ".forge/none.json").tree(made)
                if made.exists()
                else output["sha256"]
            )
        path.write_text(json.dumps(manifest))


# -- forge download
def test_the_commit_and_licence_are_recorded_and_kept(space, server, forge, made) -> None:
    first = server.repos[BASE].commits[0][0]
    assert recorded(space) | {"revision": first, "license": "apache-2.0"} == recorded(space)
    assert (
        json.loads((space / "models/gguf/gguf_model_manifest.json").read_text())["license"]
        == "apache-2.0"
    )
    server.seen.clear()
    code, _, err = forge("download")
    assert (code, "up to date" in err, "moved" in err) == (0, True, False)
    assert not [line for line in server.seen if "/resolve/" in line or "/tree/" in line]

    second = server.repos[BASE].commit({"README.md": b"---\nlicense: mit\n---\nnew\n"})
    _, _, err = forge("download")
    assert f"main of {BASE} has moved to {second}; {first[:12]} is kept" in err
    code, _, err = forge("download --force")
    assert (code, recorded(space)["revision"]) == (0, first)
    assert "has moved" in err
    assert (space / f"models/base/{BASE}/model.safetensors").read_bytes() == made[1][
        "model.safetensors"
    ]
    assert forge(f"download --set model.revision={second}")[0] == 0
    assert recorded(space) | {"revision": second, "license": "mit"} == recorded(space)
    assert "moved" not in forge(f"download --set model.revision={second}")[2]


# -- what is sent
def sent(out: str) -> dict[str, Any]:
    return json.loads(out)


def test_a_dry_run_shows_files_sizes_and_the_card_and_asks_nobody(space, server, forge) -> None:
    code, out, _ = forge("publish --repo me/small --dry-run")
    assert code == 0
    assert f"to {server.url}/me/small (private):" in out
    assert (
        f"  small-Q8_0.gguf  {human((space / 'models/gguf/small-Q8_0.gguf').stat().st_size)}" in out
    )
    assert "ollama run hf.co/me/small:Q8_0" in out
    result = sent(forge("publish --repo me/small --dry-run --json")[1])
    assert result["private"]
    assert [f["path"] for f in result["files"]] == [
        "small-Q8_0.gguf",
        "template",
        "params",
        "system",
        "Modelfile",
        "README.md",
        "model_card.yaml",
        "lora/adapter_model.safetensors",
        "lora/adapter_config.json",
        "README_LORA.md",
    ]
    card = ModelCard(result["card"])
    assert card.data.to_dict() | {
        "license": "apache-2.0",
        "base_model": BASE,
        "base_model_relation": "quantized",
    } == (card.data.to_dict())
    assert "| `small-Q8_0.gguf` | Q8_0 |" in result["card"]
    assert f"The base is `{BASE}` at commit `{recorded(space)['revision']}`." in result["card"]
    assert "| rank | 4 |" in result["card"]
    assert str(space) not in result["card"]
    assert server.seen == []


def test_what_was_published_comes_down_as_it_was(space, server, forge, notes, tmp_path) -> None:
    """Everything in one commit over a line that breaks; then again from the Hub, byte for byte."""
    server.drop = {"PUT /large/": [5000] * 3}
    server.fail = {"POST /api/models/me/small/commit": [503, 429]}
    server.lose = {"POST /api/models/me/small/commit": [True]}
    code, out, err = forge(
        "publish --repo me/small --gguf --modelfile --readme --adapter --merged --dataset --json"
    )
    assert code == 0, err
    repo = server.repos["me/small"]
    assert (repo.private, len(repo.commits)) == (True, 2)
    assert sent(out)["commit"] == repo.commits[1][0]
    for name, path in {
        "small-Q8_0.gguf": "models/gguf/small-Q8_0.gguf",
        "Modelfile": "Modelfile",
        "lora/adapter_model.safetensors": "models/small-adapter/adapter_model.safetensors",
        "dataset/train.jsonl": "dataset_package/small.jsonl",
    }.items():
        down = hf_hub_download(
            "me/small", name, token="hf_test", local_dir=tmp_path / "down", endpoint=server.url
        )
        assert Path(down).read_bytes() == (space / path).read_bytes(), name
    back = fetch(
        Source("hub", "me/small"),
        tmp_path / "cache",
        destination=tmp_path / "back",
        revision=None,
        token="hf_test",
        report=notes,
    )
    merged = {p.name: p.read_bytes() for p in (space / "models/merged/small-merged").iterdir()}
    assert {name: (back.path / name).read_bytes() for name in merged} == merged
    assert (space / "dataset_package/probes.jsonl").exists()
    assert not [name for name in repo.at("main")[1] if "probe" in name]


def test_ollamas_files_say_what_a_deployment_sends(space, server, forge) -> None:
    """Hub documentation, "Use Ollama with any GGUF Model": template, system and params, beside the GGUF."""
    from phoenix_forge.runtime.modelfile import parse

    forge("modelfile --set deploy.system=Be.")
    assert forge("publish --repo me/small --gguf --set deploy.system=Be.")[0] == 0
    tree = server.repos["me/small"].at("main")[1]
    own = parse((space / "Modelfile").read_bytes().decode())
    assert tree["template"].decode() == own.template
    assert tree["system"].decode() == own.system == "Be."
    assert json.loads(tree["params"]) == own.options()
    assert own.options()["stop"]


def test_the_merged_model_or_the_examples_alone(space, server, forge) -> None:
    card = sent(forge("publish --repo me/merged --merged --dry-run --json")[1])["card"]
    assert ModelCard(card).data.to_dict()["base_model_relation"] == "finetune"
    assert 'from_pretrained("me/merged"' in card
    code, out, _ = forge("publish --repo me/examples --dataset --json")
    assert (code, sent(out)["kind"]) == (0, "dataset")
    assert server.repos["datasets/me/examples"].private
    shutil.rmtree(space / "models/merged/small-merged")
    code, _, err = forge("publish --repo me/merged --merged")
    assert (code, "fix: forge merge" in err) == (2, True)


# -- what is refused
@pytest.mark.parametrize(
    ("file", "flags"),
    [
        ("Modelfile", "--gguf --modelfile"),
        ("dataset_package/small.jsonl", "--dataset"),
        ("notes.txt", "--files notes.txt"),
        ("huggingface/README.md", "--readme"),
        ("models/small-adapter/adapter_config.json", "--adapter"),
    ],
)
def test_a_secret_in_any_text_stops_it(space, server, forge, file, flags) -> None:
    path = space / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_text() if path.exists() else "---\nlicense: mit\n---\n"
    text = {
        ".jsonl": json.dumps({"messages": [{"role": "user", "content": f"key {SECRET}"}]}) + "\n",
        ".json": before.replace('"LORA"', f'"LORA", "note": "{SECRET}"'),
    }.get(path.suffix, f"\n# {SECRET}\n")
    path.write_text(text if path.suffix == ".json" else before + text)
    as_made(space)
    line = (
        path.read_text()
        .splitlines()
        .index(next(x for x in path.read_text().splitlines() if SECRET in x))
        + 1
    )
    for more in ("", " --dry-run"):
        code, out, err = forge(f"publish --repo me/small {flags}{more}")
        assert code == 2
        assert f":{line}: GitHub token" in err
        assert SECRET not in out + err
    assert server.seen == []


def test_a_secret_in_the_metadata_of_weights_stops_it(space, server, forge) -> None:
    from phoenix_forge.gguf.container import Field, read_header

    path = space / "models/small-adapter/adapter_model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.dumps(
        json.loads(raw[8 : 8 + length]) | {"__metadata__": {"note": SECRET}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])
    as_made(space)
    code, _, err = forge("publish --repo me/small --adapter")
    assert (code, "adapter_model.safetensors:" in err) == (2, True)
    gguf = space / "models/gguf/small-Q8_0.gguf"
    template = read_header(gguf).get("tokenizer.chat_template")
    assert isinstance(read_header(gguf).fields["tokenizer.chat_template"], Field)
    hidden = template[: -len(SECRET) - 1] + " " + SECRET
    gguf.write_bytes(gguf.read_bytes().replace(template.encode(), hidden.encode()))
    as_made(space)
    code, _, err = forge("publish --repo me/small --gguf")
    assert code == 2
    assert "GitHub token" in err
    assert server.seen == []


def test_an_address_in_a_card_is_said_and_in_the_examples_refused(space, forge) -> None:
    (space / "notes.txt").write_text("Ask maren.holt@harbour-nine.org.\n")
    code, _, err = forge("publish --repo me/small --files notes.txt --dry-run")
    assert code == 0
    assert "notes.txt:1: e-mail address; it will be sent" in err
    with (space / "dataset_package/small.jsonl").open("a") as lines:
        lines.write(
            json.dumps({"messages": [{"role": "user", "content": "import x\n@pytest.fixture\n"}]})
            + "\n"
        )
    as_made(space)
    assert forge("publish --repo me/small --dataset --dry-run")[0] == 0
    with (space / "dataset_package/small.jsonl").open("a") as lines:
        lines.write('{"messages": [{"role": "user", "content": "maren.holt@harbour-nine.org"}]}\n')
    as_made(space)
    code, _, err = forge("publish --repo me/small --dataset --dry-run")
    assert (code, "e-mail address" in err) == (2, True)


def test_a_contradicting_licence_is_refused(space, server, forge, made) -> None:
    server.repos[BASE].commit({"README.md": b"---\nlicense: gemma\n---\n"})
    new = server.repos[BASE].commits[-1][0]
    assert forge(f"download --set model.revision={new}")[0] == 0
    at = f"--repo me/small --dry-run --set model.revision={new}"
    code, _, err = forge(f"publish {at} --set publish.license=mit")
    assert (code, f"{BASE} is under gemma" in err) == (2, True)
    assert "fix: --set publish.license=gemma" in err
    code, out, err = forge(f"publish {at}")
    assert (code, "license: gemma" in out) == (0, True)
    assert "asks for a copy of the licence" in err
    assert "Asks for" not in out
    assert "The licence of acme/base (gemma) asks for a copy" in out


def judged(space: Path, figures: dict[str, Any]) -> None:
    """An evaluation of the adapter and GGUF as they are now."""
    report = space / "outputs/report"
    (report / "evaluation.json").write_text(json.dumps(figures))
    (report / "evaluation.md").write_text("## Evaluation\n\nThe ladder.\n")
    read = {
        "adapter": space / "models/small-adapter",
        "gguf Q8_0": space / "models/gguf/small-Q8_0.gguf",
    }
    Manifest(
        "evaluate",
        "",
        {},
        described(read, DigestCache(space / ".forge/none.json"), space),
        {},
        {},
        {},
        "",
        0.0,
    ).write(space / ".forge/manifests/evaluate.json")


FIGURES = {
    "knowledge_gained": {"value": 0.4, "low": 0.2, "high": 0.6},
    "forgetting": 0.01,
    "quantisation_loss": 0.0,
    "conditions": [
        {
            "name": "Q8_0",
            "choice_accuracy": 0.625,
            "choice_low": 0.5,
            "choice_high": 0.75,
            "nats_per_token": 1.25,
        }
    ],
}


def test_a_model_that_misses_its_gate_or_was_not_measured_is_not_published(
    space, server, forge
) -> None:
    gated = "publish --repo me/small --dry-run --set evaluate.gate.knowledge_gained=0.3"
    code, _, err = forge(gated)
    assert (code, "the model was not evaluated" in err, "fix: forge evaluate" in err) == (
        4,
        True,
        True,
    )
    judged(space, FIGURES)
    code, out, _ = forge(gated)
    assert code == 0
    assert "The ladder." in out
    assert "| Q8_0 |" in out
    assert "62.5% (50.0% to 75.0%) | 1.25 |" in out
    code, _, err = forge(gated.replace("0.3", "0.5"))
    assert (code, "not published: knowledge gained is 0.400" in err) == (4, True)
    assert (
        forge(
            "publish --repo me/small --dry-run --dataset --set evaluate.gate.knowledge_gained=0.5"
        )[0]
        == 0
    )
    adapter = space / "models/small-adapter/adapter_config.json"
    adapter.write_text(adapter.read_text() + "\n")
    assert (
        "models/small-adapter is not as forge train made it"
        in forge("publish --repo me/small --dry-run")[2]
    )
    as_made(space)
    code, _, err = forge(gated)
    assert (code, "the evaluation was of another adapter" in err) == (4, True)
    code, out, err = forge("publish --repo me/small --dry-run")
    assert (code, "The ladder." in out, "leaves out the evaluation" in err) == (0, False, True)


def test_killed_in_mid_upload_the_command_goes_on(space, server, run_forge) -> None:
    """The command itself, killed while the GGUF goes up; the adapter, there by then, is not sent again."""
    gguf, adapter = (
        hashlib.sha256((space / path).read_bytes()).hexdigest()
        for path in (
            "models/gguf/small-Q8_0.gguf",
            "models/small-adapter/adapter_model.safetensors",
        )
    )
    never = threading.Event()
    server.hold = {f"PUT /large/{gguf}": [never]}
    ours = {
        "HF_ENDPOINT": server.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_test",
    }
    ended: list[Any] = []

    def send() -> None:
        ended.append(run_forge("publish", "--repo", "me/small", "--json", cwd=space, env=ours))

    thread = threading.Thread(target=send)
    thread.start()
    assert server.held.wait(60)
    # Other tests' servers are this process's children as well.
    next(child for child in psutil.Process().children() if "publish" in child.cmdline()).kill()
    thread.join(60)
    assert ended[0].code == -9
    send()
    assert ended[1].code == 0, ended[1].stderr
    assert len(server.repos["me/small"].commits) == 2
    assert [line for line in server.seen if line == f"PUT /large/{adapter}"] == [
        f"PUT /large/{adapter}"
    ]
