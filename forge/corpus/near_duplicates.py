"""Texts that say what an earlier text already says, so that each is taught once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rensa import RMinHash, RMinHashLSH

PERMUTATIONS, BANDS = 128, 16  # 16 bands of 8 rows: candidates from about 0.7 similarity on
SIMILAR = 0.85  # Jaccard similarity of word 3-grams, computed exactly for every candidate
MIN_WORDS = 20  # shorter texts ("Status: accepted") mean something else under each heading
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Duplicate:
    """Text `index` repeats text `of` (both positions in the sequence given)."""

    index: int
    of: int
    exact: bool


def duplicates(texts: Sequence[str]) -> list[Duplicate]:
    """Later texts that repeat an earlier one exactly, up to case and spacing, or nearly.

    Nearly: similar enough, and without a number or identifier that the earlier text lacks, so that no fact is lost.
    """
    index = RMinHashLSH(threshold=SIMILAR, num_perm=PERMUTATIONS, num_bands=BANDS)
    exact: dict[tuple[str, ...], int] = {}
    shingled: dict[int, set[tuple[str, str, str]]] = {}
    details: dict[int, set[str]] = {}
    found: list[Duplicate] = []
    for i, text in enumerate(texts):
        words = tuple(WORD.findall(text.lower()))
        if len(words) < MIN_WORDS:
            continue
        if words in exact:
            found.append(Duplicate(i, exact[words], True))
            continue
        exact[words] = i
        shingles = set(zip(words, words[1:], words[2:], strict=False))
        marks = {word for word in words if "_" in word or any(c.isdigit() for c in word)}
        sketch = RMinHash(num_perm=PERMUTATIONS, seed=0)
        sketch.update(sorted(" ".join(s) for s in shingles))
        near = [
            j for j in sorted(index.query(sketch)) if marks <= details[j] and _jaccard(shingles, shingled[j]) >= SIMILAR
        ]
        if near:
            found.append(Duplicate(i, near[0], False))
            continue
        index.insert(i, sketch)
        shingled[i], details[i] = shingles, marks
    return found


def _jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b)
