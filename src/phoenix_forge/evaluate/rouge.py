"""ROUGE, for figures beside those that others measured so; what a model knows shows in
phoenix_forge.evaluate.scoring.

From its definition (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"), with the choices of the
rouge_score package as Hugging Face's `evaluate` calls it by default: runs of ASCII letters and digits in lower case are
the words, none is stemmed, and lines are the sentences of rougeLsum. So words of other scripts count for nothing.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence

from phoenix_forge.errors import UsageError

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_NGRAM = re.compile(r"rouge([1-9])")


def rouge(
    predictions: Sequence[str], references: Sequence[str], types: Sequence[str] = TYPES
) -> dict[str, float]:
    """Type → mean F (0 to 1) over the pairs, of which there is at least one.

    Raises UsageError for a type that is none of rouge1 to rouge9, rougeL and rougeLsum.
    """
    pairs = list(zip(predictions, references, strict=True))
    return {
        name: statistics.fmean(
            _score(name, reference, prediction) for prediction, reference in pairs
        )
        for name in types
    }


def _score(name: str, reference: str, prediction: str) -> float:
    if name == "rougeL":
        return _score_lines([_words(reference)], [_words(prediction)])
    if name == "rougeLsum":
        return _score_lines(
            [_words(line) for line in reference.split("\n")],
            [_words(line) for line in prediction.split("\n")],
        )
    number = _NGRAM.fullmatch(name)
    if number is None:
        raise UsageError(
            f"{name!r} is no kind of ROUGE", fix=f"metrics.rouge_types: [{', '.join(TYPES)}]"
        )
    expected, found = (_ngrams(_words(text), int(number[1])) for text in (reference, prediction))
    return _f((expected & found).total(), expected.total(), found.total())


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _f(hits: int, expected: int, found: int) -> float:
    """2PR / (P + R), with P = hits / found and R = hits / expected."""
    return 2 * hits / (expected + found) if hits else 0.0


def _score_lines(reference: Sequence[Sequence[str]], prediction: Sequence[Sequence[str]]) -> float:
    """Union of longest common subsequences (Lin 2004, section 3.2). No word counts more often than either side has it,
    as in ROUGE-1.5.5; with a line on each side that is ROUGE-L."""
    left = Counter(word for line in reference for word in line) & Counter(
        word for line in prediction for word in line
    )
    hits = 0
    for line in reference:
        common = set[int]().union(*(_common(line, other) for other in prediction))
        for position in sorted(common):
            if left[line[position]]:
                left[line[position]] -= 1
                hits += 1
    return _f(hits, sum(map(len, reference)), sum(map(len, prediction)))


def _common(reference: Sequence[str], prediction: Sequence[str]) -> set[int]:
    """Positions in the reference of one longest common subsequence: of several, the one that begins earliest there, as
    rouge_score chooses."""
    rows = [[0] * (len(prediction) + 1)]
    for word in reference:
        above, row = rows[-1], [0]
        for j, other in enumerate(prediction):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        rows.append(row)
    i, j = len(reference), len(prediction)
    found = set()
    while i and j:
        if reference[i - 1] == prediction[j - 1]:
            i, j = i - 1, j - 1
            found.add(i)
        elif rows[i][j - 1] > rows[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return found
