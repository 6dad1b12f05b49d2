"""Words and word n-grams of many texts at once, as 64-bit hashes: what equality, overlap and similarity are told by.

A word's hash is a polynomial of its bytes modulo 2**64, taken from prefix sums over the whole buffer; a text's and an
n-gram's the sum of their words' hashes, each times a weight of its place. Vectorised, since a corpus of a million
words has fifty million in its questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

BASE = 0x9E3779B97F4A7C15  # odd, so that its powers can be divided by modulo 2**64
INVERSE = pow(BASE, -1, 2**64)
PLACES = 64  # places with a weight of their own; a longer text starts over
# The raw stream of this generator is stable across NumPy releases.
WEIGHTS = np.random.PCG64(20261124).random_raw(PLACES) | np.uint64(1)
IS_WORD = bytes(b >= 0x80 or chr(b).isalnum() or b == 0x5F for b in range(256))
SEPARATOR = "\0"
TOGETHER = 1 << 20  # characters that are hashed together
FILTER = 4  # bits of a filter for each hash put in; most come several times, and take one


class Words(NamedTuple):
    """`hashes` and `text` have one entry a word: its hash (uint64), and which of the `texts` texts it stands in."""

    hashes: np.ndarray
    text: np.ndarray
    texts: int


@lru_cache(maxsize=64)
def _powers(base: int, length: int) -> np.ndarray:
    powers = np.full(length, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)


def some_at_a_time(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in runs short enough to be hashed together: tables take a hundred bytes a character."""
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size > TOGETHER:
            yield texts[start:end]
            start, size = end, 0
    yield texts[start:]


def words(texts: Sequence[str]) -> Words:
    """Runs of letters, digits, underscores and whatever is not ASCII, in lower case."""
    joined = SEPARATOR.join(texts)
    if joined.count(SEPARATOR) > max(0, len(texts) - 1):
        return words([text.replace(SEPARATOR, " ") for text in texts])
    text = _lowered(joined)
    data = np.frombuffer(text, np.uint8)
    inside = np.zeros(len(data) + 2, bool)
    inside[1:-1] = np.frombuffer(text.translate(IS_WORD), bool)
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[::2], edges[1::2]
    size = 1 << len(data).bit_length()  # tables of few sizes
    sums = np.zeros(len(data) + 1, np.uint64)
    np.multiply(data, _powers(BASE, size)[: len(data)], out=sums[1:])
    np.cumsum(sums, out=sums)
    hashes = (sums[ends] - sums[starts]) * _powers(INVERSE, size)[starts]
    borders = np.searchsorted(starts, np.flatnonzero(data == 0))
    counts = np.diff(borders, prepend=0, append=len(starts))
    return Words(hashes, np.repeat(np.arange(len(counts)), counts), len(texts))


def _lowered(text: str) -> bytes:
    """In lower case, as UTF-8. str.lower() takes twenty times as long for a text with any character beyond ASCII, of
    which most have no case."""
    simple = text.encode("utf-8", "surrogatepass").lower()
    data = np.frombuffer(simple, np.uint8)
    others = data[data >= 0x80].tobytes().decode("utf-8", "surrogatepass")
    return simple if others == others.lower() else text.lower().encode("utf-8", "surrogatepass")


def identities(split: Words) -> np.ndarray:
    """One hash a text: equal for texts that differ in case, punctuation and spacing only; 0 without any word."""
    whole = np.zeros(split.texts, np.uint64)
    if len(split.hashes):
        first = np.flatnonzero(np.diff(split.text, prepend=-1))
        place = np.arange(len(split.text)) - np.repeat(
            first, np.diff(first, append=len(split.text))
        )
        values = split.hashes * WEIGHTS[place % PLACES]
        whole[split.text[first]] = np.add.reduceat(values, first)
    return whole


def grams(split: Words, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(hash, text) of every run of `n` words in a text; texts with fewer words have none."""
    size = len(split.hashes) - n + 1
    if size <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    hashes = np.zeros(size, np.uint64)
    for k in range(n):
        hashes += split.hashes[k : k + size] * WEIGHTS[k]
    whole = split.text[:size] == split.text[n - 1 :]
    return hashes[whole], split.text[:size][whole]


def filtered(hashes: np.ndarray) -> np.ndarray:
    """A set of hashes in four to eight bits each (uint8): `maybe` tells whether one is in it."""
    bits = max(3, (FILTER * len(hashes)).bit_length())
    table = np.zeros(1 << bits, bool)
    table[hashes >> np.uint64(64 - bits)] = True
    return np.packbits(table)


def maybe(table: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """One bool a hash: whether it may be in the set. A yes is wrong once in FILTER times or less, a no never."""
    at = hashes >> np.uint64(65 - (8 * len(table)).bit_length())
    return np.unpackbits(table)[at].astype(bool)
