"""Models that have no row in phoenix_forge.catalog.families, or another tokenizer than its row: what is known of them
all the same, from their own files and from transformers' list of architectures. No torch."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from phoenix_forge.catalog import families
from phoenix_forge.catalog.families import Family
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.core.fsio import TOKENIZER_LIMIT, read_limited
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.weights.files import read_json

INSTALL = "pip install 'phoenix-forge[train,any-model]'"
_ANSWER = "\x02answer\x03"
# How transformers names a module → how files may: models that also see pictures have been published under both.
_PREFIXES = (
    ("", ""),
    ("model.language_model.", "language_model.model."),
    ("model.", "model.language_model."),
)


def family_of(folder: Path, config: dict[str, Any]) -> Family:
    """The family of a model folder with this config.json: its row, the row with the turns of its own tokenizer, or what
    transformers alone knows.

    Raises UsageError where neither knows the architecture, or no end of a turn can be told; EnvironmentProblem where
    transformers would have to be asked and is not installed.
    """
    where = folder / "config.json"
    if families.has_row(config):
        row = families.by_config(config, str(where))
        return row if _speaks(folder, row) else _own_turns(folder, row)
    named = families.architecture(config)
    if named is None:
        return families.by_config(config, str(where))  # refuses it
    if trained_by_transformers().get(str(config.get("model_type"))) not in (named, _text_of(named)):
        code = "; its own code (auto_map) is never run" if config.get("auto_map") else ""
        raise UsageError(
            f"{where}: the architecture {named!r} is neither one of Forge's ("
            f"{', '.join(family.architecture for family in families.FAMILIES)}) nor a causal language "
            f"model of the installed transformers{code}",
            fix="choose another base with --set model.base=…, or a transformers that has it",
        )
    return _own_turns(folder, families.foreign(named, str(config.get("model_type")), "", ""))


def stored_as(module: str, stored: Collection[str]) -> str | None:
    """The name under which a folder stores the matrix of a transformers module, without `.weight`, or None."""
    names = (old + module.removeprefix(new) for new, old in _PREFIXES if module.startswith(new))
    return next((name for name in names if f"{name}.weight" in stored), None)


@cache
def trained_by_transformers() -> dict[str, str]:
    """Model types that the installed transformers lists as causal language models, with the class of each; its list is
    read, not imported."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        raise EnvironmentProblem(
            "a base without a row in Forge's table is trained by transformers, which is not "
            "installed",
            fix=INSTALL,
        )
    listing = Path(spec.origin).parent / "models/auto/modeling_auto.py"
    return table(listing, "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


def _text_of(architecture: str) -> str:
    """The class of the language model inside one that also sees or hears."""
    return architecture.replace("ForConditionalGeneration", "ForCausalLM")


def table(path: Path, name: str) -> dict[str, Any]:
    """The dict of literals that a module assigns to `name`, or hands to an OrderedDict; without running the module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = ast.unparse(
                node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            )
            return dict(ast.literal_eval(value))
    raise EnvironmentProblem(
        f"{path} has no {name}: another version than those Forge was tried with", fix=INSTALL
    )


def _speaks(folder: Path, row: Family) -> bool:
    """Whether the tokenizer has the tokens with which the family ends and pads turns. Of a folder without a tokenizer
    nothing is told here."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return True
    text = read_limited(path, TOKENIZER_LIMIT)
    return all(f'"{token}"'.encode() in text for token in (row.stop, row.pad))


def _own_turns(folder: Path, row: Family) -> Family:
    """The row with the end of a turn that the model's own template writes, and a padding token apart from it."""
    template = ChatTemplate.load(folder)
    added = _added_tokens(folder)
    rendered = template.render(
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": _ANSWER}]
    )
    behind = rendered.partition(_ANSWER)[2]
    ends = [(place, token) for token in added if (place := behind.find(token)) >= 0]
    if not ends:
        raise UsageError(
            f"{folder}: its chat template ends an answer with no token of its own ({behind[:40]!r}): a "
            "model trained with it would never stop",
            fix="choose an instruct model as base, whose template ends each turn",
        )
    stop = min(ends)[1]
    pad = next((token for token in [*_named_tokens(folder), *added] if token != stop), None)
    if pad is None:
        raise UsageError(
            f"{folder}: its tokenizer has no special token but {stop!r}, so nothing to pad with",
            fix="choose another base",
        )
    return replace(row, stop=stop, pad=pad, stops=(stop,), converted=True)


def _added_tokens(folder: Path) -> list[str]:
    """The tokenizer's added tokens, in the order of their ids."""
    path = folder / "tokenizer.json"
    added = read_json(path, TOKENIZER_LIMIT).get("added_tokens")
    if not isinstance(added, list):
        raise UsageError(f"{path} lists no added_tokens", fix="forge download --force")
    return [
        token["content"]
        for token in added
        if isinstance(token, dict) and isinstance(token.get("content"), str)
    ]


def _named_tokens(folder: Path) -> list[str]:
    """The tokens that tokenizer_config.json calls padding, unknown, and the end of a text."""
    settings = read_json(folder / "tokenizer_config.json")
    found = (settings.get(f"{kind}_token") for kind in ("pad", "unk", "eos"))
    texts = (value.get("content") if isinstance(value, dict) else value for value in found)
    return [text for text in texts if isinstance(text, str) and text]
