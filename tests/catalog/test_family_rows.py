"""The rows of the family table, and how a model is told to be of one."""

from __future__ import annotations

import re

import pytest

from phoenix_forge.catalog.families import (
    FAMILIES,
    LLAMA3,
    MISTRAL,
    PHI3,
    PHI4,
    QWEN2,
    VARIANTS,
    by_config,
    by_gguf,
)
from phoenix_forge.errors import UsageError


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_row_is_found_by_its_architecture_and_ends_turns_with_what_it_does_not_pad_with(family):
    assert (
        by_config({"architectures": [family.architecture], "vocab_size": 400}, "config.json")
        is family
    )
    assert family.stops[0] == family.stop != family.pad
    assert [f.name for f in FAMILIES].count(family.name) == 1


def test_phi_4_is_told_from_phi_3_by_its_vocabulary():
    """Sizes and tokens as the config.json of microsoft/phi-4 and microsoft/Phi-4-mini-instruct have them."""
    phi = {"architectures": ["Phi3ForCausalLM"]}
    assert (
        by_config({**phi, "vocab_size": 100352}, "config.json")
        is by_gguf("phi3", "dbrx", "x.gguf")
        is PHI4
    )
    assert (
        by_config({**phi, "vocab_size": 200064}, "config.json")
        is by_gguf("phi3", "gpt-4o", "x.gguf")
        is PHI3
    )
    assert PHI4.stop == PHI4.stops[0] != PHI4.pad


@pytest.mark.parametrize(
    "family", [*FAMILIES, *VARIANTS], ids=lambda family: family.go_template[-40:-20]
)
def test_a_go_template_keeps_its_white_space_and_closes_what_it_opens(family):
    go = family.go_template
    assert not re.search(
        r"\s\{\{-|-\}\}\s", go
    )  # {{- takes the white space before it, an answer's newline too
    opened = len(re.findall(r"\{\{-? (?:if|range)", go))
    assert opened == len(re.findall(r"\{\{-? end", go)) > 0
    assert family.stop in go
    assert go.endswith("{{ .Response }}")


def test_an_unknown_architecture_is_told_what_is_known():
    with pytest.raises(UsageError, match=r"MambaForCausalLM.*Qwen3ForCausalLM, LlamaForCausalLM"):
        by_config({"architectures": ["MambaForCausalLM"]}, "config.json")
    with pytest.raises(UsageError, match="architecture None is not supported"):
        by_config({"architectures": "Qwen2ForCausalLM"}, "config.json")


def test_a_gguf_tells_its_family_by_architecture_and_tokenizer():
    assert by_gguf("qwen2", "qwen2", "x.gguf") is QWEN2
    assert by_gguf("llama", "llama-bpe", "x.gguf") is LLAMA3
    assert by_gguf("llama", "default", "x.gguf") is by_gguf("llama", "tekken", "x.gguf") is MISTRAL
    with pytest.raises(
        UsageError,
        match="'llama' with pre-tokenizer 'smollm' is not supported; supported: llama-bpe",
    ):
        by_gguf("llama", "smollm", "x.gguf")
    with pytest.raises(UsageError, match="GGUF architecture 'mamba' is not supported"):
        by_gguf("mamba", "default", "x.gguf")
