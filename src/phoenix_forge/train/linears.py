"""Which linear layers of a transformers model an adapter is trained on, where no row of a table names them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from phoenix_forge.errors import UsageError
from phoenix_forge.weights.foreign import stored_as

if TYPE_CHECKING:
    import torch

    from phoenix_forge.weights.base import ModelFolder

# Routers choose experts and gates weigh whole branches: a few outputs each, and what depends on them is not trained.
_LEFT_OUT = ("gate", "router", "shared_expert_gate")
_SENSES = ("vision", "visual", "audio", "multi_modal")  # nothing goes through them here
# Mamba's fused kernels take the weights of these without calling the module, so an adapter there would do nothing (PEFT
# refuses some of them for the same reason).
_FUSED = (("mamba", "out_proj"), ("mixer", "out_proj"))


def trainable_linears(model: torch.nn.Module, base: ModelFolder) -> tuple[str, ...]:
    """Names for PEFT's target_modules: every linear layer whose matrix the folder stores as it is, but for the output,
    routers and gates. Experts that transformers keeps in one tensor are no linear layers.

    Raises UsageError where there is none: what was trained could not be merged.
    """
    found = [
        name
        for name, module in _linears(model)
        if _stored(name, module, base) and not _left_out(name)
    ]
    if not found:
        raise UsageError(
            f"{base.folder}: no linear layer of {type(model).__name__} is stored as it is, so no "
            "adapter could be merged into the base",
            fix="choose another base with --set model.base=…",
        )
    leaves = {name.rpartition(".")[2] for name in found}
    matched = {name for name, _ in model.named_modules() if name.rpartition(".")[2] in leaves}
    return tuple(sorted(leaves if matched == set(found) else found))


def _linears(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Linear]]:
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            yield name, module


def _stored(name: str, module: torch.nn.Linear, base: ModelFolder) -> bool:
    found = stored_as(name, base.entries)
    return found is not None and base.entries[f"{found}.weight"].shape == (
        module.out_features,
        module.in_features,
    )


def _left_out(name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    fused = any(leaf == end and parent.rpartition(".")[2] == part for part, end in _FUSED)
    return leaf in _LEFT_OUT or name == "lm_head" or fused or any(part in name for part in _SENSES)
