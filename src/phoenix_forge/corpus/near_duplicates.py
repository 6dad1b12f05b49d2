"""Texts that say what an earlier text already says, so that each is taught once.

Each text is sketched by itself (MinHash, cut into bands); whoever shares a band with an earlier text is compared with
it exactly. Sketches are small and can be kept, so that one changed document costs one sketch.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rensa import RMinHash

from phoenix_forge.corpus.grams import grams, identities, words

PERMUTATIONS, BANDS = 128, 16  # 16 bands of 8 rows: candidates from about 0.7 similarity on
COLUMNS = BANDS + 1  # of a sketch: the bands, and the identity of the whole text
SIMILAR = 0.85  # Jaccard similarity of word 3-grams, computed exactly for every candidate
MIN_WORDS = 20  # shorter texts ("Status: accepted") mean something else under each heading
GRAM = 3
MARK = re.compile(r"\w*(?:\d|_)\w*")  # words that carry a fact: numbers and identifiers
_weights = np.random.PCG64(3).random_raw(PERMUTATIONS).reshape(BANDS, -1) | np.uint64(1)


@dataclass(frozen=True)
class Duplicate:
    """Text `index` repeats text `of` (both positions in the sequence given)."""

    index: int
    of: int
    exact: bool


def sketches(texts: Sequence[str]) -> np.ndarray:
    """One row of COLUMNS hashes (uint64) a text; a text too short to be told from others has a row of zeros."""
    rows = np.zeros((len(texts), COLUMNS), np.uint64)
    text_words = words(texts)
    hashes, text = grams(text_words, GRAM)
    long = np.flatnonzero(np.bincount(text_words.text, minlength=len(texts)) >= MIN_WORDS)
    if not len(long):
        return rows
    offsets = np.searchsorted(text, np.arange(len(texts) + 1))
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        hashes, offsets.tolist(), PERMUTATIONS, 0
    )
    digests = np.array(matrix.to_rows(), np.uint64)[long]
    rows[long, :BANDS] = (digests.reshape(len(long), BANDS, -1) * _weights).sum(axis=2) + np.arange(
        1, BANDS + 1, dtype=np.uint64
    )
    rows[long, BANDS] = identities(text_words)[long]
    return rows


def duplicates(rows: np.ndarray, text_of: Callable[[int], str]) -> list[Duplicate]:
    """Later texts that repeat an earlier one exactly, up to case and spacing, or nearly; `rows` as from `sketches`.

    Nearly: similar enough, and without a number or identifier that the earlier text lacks, so that no fact is lost.
    Only texts that share a band with another are asked for by `text_of`.
    """
    values, counts = np.unique(rows, return_counts=True)
    shared = values[(counts > 1) & (values != 0)]
    by_band: dict[int, list[int]] = defaultdict(list)  # band → texts that are kept
    seen: dict[int, _Text] = {}
    pairs: list[Duplicate] = []
    for i in np.flatnonzero(np.isin(rows, shared).any(axis=1)).tolist():
        bands = [band for band in rows[i].tolist() if band]
        candidates = sorted({j for band in bands for j in by_band[band]})
        seen[i] = _Text.read(text_of(i))
        near = next((j for j in candidates if seen[i].repeats(seen[j])), None)
        if near is None:
            for band in bands:
                by_band[band].append(i)
        else:
            pairs.append(Duplicate(i, near, bool(rows[i, BANDS] == rows[near, BANDS])))
            del seen[i]
    return pairs


@dataclass(frozen=True, slots=True)
class _Text:
    shingles: np.ndarray
    marks: frozenset[str]

    @staticmethod
    def read(text: str) -> _Text:
        return _Text(
            np.unique(grams(words([text]), GRAM)[0]), frozenset(MARK.findall(text.lower()))
        )

    def repeats(self, other: _Text) -> bool:
        both = len(np.intersect1d(self.shingles, other.shingles, assume_unique=True))
        return self.marks <= other.marks and both >= SIMILAR * (
            len(self.shingles) + len(other.shingles) - both
        )
