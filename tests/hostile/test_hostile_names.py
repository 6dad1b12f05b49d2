"""Names become parts of paths, commands and addresses: what could be more than a name is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_forge.catalog.bases import resolve
from phoenix_forge.catalog.quants import quant
from phoenix_forge.core.config import Config, parse_overrides, validate
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import UsageError
from phoenix_forge.hub.ollama_store import manifest_path, stored_gguf

NEVER = [
    "../x",
    "..",
    ".",
    "/etc/passwd",
    "a/../b",
    "a;rm -rf ~",
    "$(id)",
    "`id`",
    "a|b",
    "a&b",
    "a b",
    "-rf",
    "--help",
    "name\n",
    "\nname",
    "na\rme",
    "na\tme",
    "na\0me",
    "name\x1b[2J",
    "na\u202eme",
    "n\u200bame",
    "\u2215etc",
    "%2e%2e",
    "a\\b",
    "C:x",
    "~",
    "~root",
    "*",
    "a'b",
    'a"b',
    "",
    " ",
    "x" * 200,
    "на\u043cе",
]
SINGLE = ["model.name", "deploy.name", "publish.repo"]


@pytest.mark.parametrize("name", NEVER, ids=[repr(name)[:20] for name in NEVER])
@pytest.mark.parametrize("key", SINGLE)
def test_settings(key: str, name: str, refused: Callable) -> None:
    value = f"org/{name}" if key == "publish.repo" else name
    if (key, name) == ("deploy.name", "C:x"):
        return  # a model with its tag
    with refused(key):
        validate({key: value}, {key: "forge.yaml"})


@pytest.mark.parametrize("owner", ["..", "-rf", "a/b", "", "a;b", ".x"])
def test_the_owner_of_a_repository(owner: str, refused: Callable) -> None:
    with refused("publish.repo"):
        validate({"publish.repo": f"{owner}/name"}, {})


def test_names_that_are_meant() -> None:
    for name in ("qwen2.5-coder-0.5b", "A_b.C-1", "x" * 80):
        assert validate({"model.name": name}, {}).model.name == name
    for name in (
        "m",
        "m:latest",
        "me/m:v1.2",
        "registry.example.com:5000/me/m:q4_K_M",
        "hf.co/Org/Repo-GGUF:Q4_K_M",
        "localhost:11434/library/m",
    ):
        assert validate({"deploy.name": name}, {}).deploy.name == name
    assert validate({"publish.repo": "Org-1/re.po_x"}, {}).publish.repo == "Org-1/re.po_x"


@pytest.mark.parametrize("name", [n for n in NEVER if n != "C:x" and len(n) < 200])
def test_names_in_ollamas_store(name: str, refused: Callable) -> None:
    with refused("is not an Ollama model name"):
        manifest_path(name)
    with refused("is not an Ollama model name"):
        stored_gguf(f"me/{name}")


@pytest.mark.parametrize("name", [n for n in NEVER if n.strip()])
def test_types_of_quantisation(name: str, refused: Callable) -> None:
    with refused("is not|unknown|known|supported"):
        quant(name)


@pytest.mark.parametrize("name", NEVER)
def test_bases_from_the_hub(name: str, tmp_path: Path) -> None:
    """Nothing that is no name leads to the Hub, or to a folder outside models/base."""
    for base in (f"org/{name}", f"{name}/model", name, f"ollama:{name}"):
        try:
            found = resolve(base, tmp_path)
            if any(source.kind == "hub" for source in found.sources):
                assert base.replace("/", "").isalnum(), base
            folder = Workspace(tmp_path, Config()).base(found.identity)
        except UsageError:
            continue
        inside = tmp_path / "models/base"
        assert folder.resolve().is_relative_to(inside), base
        assert folder.resolve() != inside, base
        assert len(folder.relative_to(inside).parts) == 2, base


@pytest.mark.parametrize(
    "pair",
    [
        "model.name=../x",
        "model.name=[a, b]",
        "model.name={a: 1}",
        "quantize.types=../x",
        "deploy.name=a b",
        "publish.repo=../../x",
    ],
)
def test_on_the_command_line(pair: str, refused: Callable) -> None:
    with refused(pair.partition("=")[0]):
        validate(parse_overrides([pair]), {})
