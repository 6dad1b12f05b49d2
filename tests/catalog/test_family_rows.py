"""The rows of the family table, and what is said of those that cannot become a GGUF."""

from __future__ import annotations

import re

import pytest

from forge.catalog.families import (
    FAMILIES,
    LLAMA3,
    MISTRAL,
    QWEN2,
    QWEN3,
    by_architecture,
    by_gguf,
    require_convertible,
)
from forge.errors import UsageError


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_row_is_found_by_its_architecture_and_ends_turns_with_what_it_does_not_pad_with(family):
    assert by_architecture(family.architecture, "config.json") is family
    assert family.stops[0] == family.stop != family.pad
    assert [f.name for f in FAMILIES].count(family.name) == 1


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_go_template_keeps_its_white_space_and_closes_what_it_opens(family):
    go = family.go_template
    assert not re.search(r"\s\{\{-|-\}\}\s", go)  # {{- takes the white space before it, an answer's newline too
    opened = len(re.findall(r"\{\{-? (?:if|range)", go))
    assert opened == len(re.findall(r"\{\{-? end", go)) > 0
    assert family.stop in go
    assert go.endswith("{{ .Response }}")


def test_an_unknown_architecture_is_told_what_is_known():
    with pytest.raises(UsageError, match=r"MambaForCausalLM.*Qwen3ForCausalLM, LlamaForCausalLM"):
        by_architecture("MambaForCausalLM", "config.json")


def test_what_can_be_trained_only_is_refused_by_name():
    require_convertible(QWEN2, "base")
    for family in (QWEN3, LLAMA3, MISTRAL):
        with pytest.raises(UsageError, match=f"base: a {family.architecture} can be trained, but not") as caught:
            require_convertible(family, "base")
        assert "--to train" in caught.value.fix


def test_a_gguf_of_such_a_family_is_no_base():
    assert by_gguf("qwen2", "x.gguf") is QWEN2
    with pytest.raises(UsageError, match="'llama' is not supported; supported: qwen2"):
        by_gguf("llama", "x.gguf")
