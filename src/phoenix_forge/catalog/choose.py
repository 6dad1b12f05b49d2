"""Which base `forge init` proposes, from what is known before anything is fetched: memory, languages, licence."""

from __future__ import annotations

from collections.abc import Collection

from phoenix_forge.catalog.bases import BASES, Base
from phoenix_forge.catalog.memory import GIB, placements, plans

# What a training asks for by default, and what of a GPU's memory is left to it.
RANK, LENGTH, STATE_BYTES, FREE = 64, 2048, 2, 0.97
# A core computes a hundredth of what a GPU does, so a CPU gets the smallest base whatever RAM there is.
LARGEST = 16_000_000_000  # parameters; more is for those who name it


def proposed(gpu_gib: float, languages: Collection[str] = ()) -> Base:
    """The largest open chat base that is trained without streaming on a GPU of so many GiB (0: none, then the smallest)
    and whose card names every one of `languages` (ISO 639-1). Where none names all, languages do not decide.

    Open: a licence without restrictions of use; Llama's and Gemma's are taken when they are named.
    """
    candidates = [
        base
        for base in BASES.values()
        if base.chat
        and base.sizes
        and not (base.restricted or base.converted)
        and base.parameters <= LARGEST
    ]
    speaking = [
        base for base in candidates if all(base.speaks(language) for language in languages)
    ] or candidates
    smallest = min(speaking, key=lambda base: base.parameters)
    fitting = [base for base in speaking if _fits(base, gpu_gib)]
    return max(fitting, key=lambda base: base.parameters, default=smallest)


def _fits(base: Base, gpu_gib: float) -> bool:
    """By the planner's own prediction for 4-bit weights that stay on the GPU."""
    if base.sizes is None or not gpu_gib:
        return False
    candidates = placements(base.sizes, 2, 4, True, None, False)
    room = int(gpu_gib * GIB * FREE)
    return (
        next(plans(base.sizes, candidates, [LENGTH], RANK, STATE_BYTES, room, 1 << 62), None)
        is not None
    )
