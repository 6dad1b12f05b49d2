"""From replies to figures: what was chosen and answered, shares with their intervals, knowledge gained."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.evaluate.engine import Reply
from phoenix_forge.evaluate.questions import Question, options
from phoenix_forge.examples import compare
from phoenix_forge.examples.quote import Said, split

RESAMPLES = 2000
LEVEL = 95.0  # per cent, of an interval
# What knowledge gained can be told by; nats fall as knowledge grows.
MEASURES = ("choice_accuracy", "likeliest", "contained", "nats_per_token")


@dataclass(frozen=True)
class Judged:
    """One question under one condition. `right`: the choice is the answer key; `likeliest`: so is the most probable
    option, as it stands. They are None where the question has no distractors; `nats` are the answer key's a token,
    lower is better. `text` is the answer without the sentence quoted before it, `evidence`: that sentence or the answer
    contains the answer key; `stands`: the sentence is one of the documents, None where no model quotes. All of it is None
    where nothing was asked."""

    choice: str | None
    right: bool | None
    likeliest: bool | None
    text: str | None
    exact: bool | None
    f1: float | None
    contained: bool | None
    nats: float | None
    quote: str | None = None
    evidence: bool | None = None
    stands: bool | None = None

    def record(self) -> dict[str, Any]:
        return asdict(self)


NOT_ASKED = Judged(None, None, None, None, None, None, None, None)


class Interval(NamedTuple):
    value: float
    low: float
    high: float


def offered(question: Question) -> list[str]:
    """The texts whose likelihood is wanted: the options, or the answer key alone."""
    return options(question) if question.distractors else [question.answer]


def chosen(logprobs: Sequence[Sequence[float]], priors: Sequence[Sequence[float]]) -> int:
    """The option that the question makes likelier than it is by itself: the mean log-likelihood a token less that of
    the same tokens behind a prompt that asks nothing. (Holtzman et al. 2021, "Surface Form Competition", with lengths
    normalised.) Options have no order that it could depend on; of equals the first."""
    gains = [
        statistics.fmean(own) - statistics.fmean(prior)
        for own, prior in zip(logprobs, priors, strict=True)
    ]
    return gains.index(max(gains))


def likeliest(logprobs: Sequence[Sequence[float]]) -> int:
    """The option that the model would sooner say than the others: the highest log-likelihood of all its tokens. Beside
    `chosen`, which sets against a tuned model that it has learned an option by heart: one that is nearly certain can
    gain no more than its own prior, while a rarer one gains more and stays improbable."""
    totals = [sum(own) for own in logprobs]
    return totals.index(max(totals))


def judge(
    question: Question,
    reply: Reply,
    priors: Sequence[Sequence[float]],
    encoder: Encoder,
    *,
    quoting: bool = False,
) -> Judged:
    """`priors` as the reply's logprobs, of the same options behind a prompt that asks nothing. `quoting`: the
    answer is what follows a sentence that may be quoted first."""
    texts = offered(question)
    nats = -statistics.fmean(reply.logprobs[texts.index(question.answer)])
    choice = texts[chosen(reply.logprobs, priors)] if question.distractors else None
    right = choice == question.answer if question.distractors else None
    said = texts[likeliest(reply.logprobs)] == question.answer if question.distractors else None
    answer_keys = (question.answer, *question.aliases)
    whole = encoder.tokenizer.decode(reply.ids, skip_special_tokens=True).strip()
    quote, answer = split(whole) if quoting else Said("", whole)
    found = compare.contained(answer, answer_keys)
    return Judged(
        choice,
        right,
        said,
        answer,
        compare.exact(answer, answer_keys),
        compare.f1(answer, answer_keys),
        found,
        nats,
        quote,
        found or compare.contained(quote, answer_keys),
    )


# -- shares and intervals ----------------------------------------------------------------------------------------------


def column(judged: Sequence[Judged], measure: str) -> np.ndarray:
    """(questions,) in fp64; no number where a question has none."""
    attribute = {"choice_accuracy": "right", "nats_per_token": "nats", "exact_match": "exact"}.get(
        measure, measure
    )
    return np.array(
        [math.nan if (value := getattr(one, attribute)) is None else float(value) for one in judged]
    )


class Resamples:
    """Draws of whole documents with replacement, the same for every figure: questions of one document are not
    independent. `clusters` has one entry a question; without a document a question stands for itself."""

    def __init__(self, clusters: Sequence[str], seed: int = 0) -> None:
        _, self.cluster = np.unique(
            np.array(clusters, dtype=object).astype(str), return_inverse=True
        )
        count = int(self.cluster.max()) + 1 if len(clusters) else 0
        draws = (
            np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
            if count
            else np.zeros((RESAMPLES, 0))
        )
        self.weights = draws[:, self.cluster]  # (RESAMPLES, questions)

    def means(self, values: np.ndarray) -> np.ndarray:
        """(RESAMPLES,): the mean of each draw, over the questions that have a value."""
        there = np.isfinite(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.weights[:, there] @ values[there] / self.weights[:, there].sum(1)

    def mean(self, values: np.ndarray) -> Interval | None:
        """The mean with its interval; None without any value."""
        there = values[np.isfinite(values)]
        return _interval(float(there.mean()), self.means(values)) if len(there) else None

    def gained(self, base: np.ndarray, passage: np.ndarray, tuned: np.ndarray) -> Interval | None:
        """(tuned − base) / (passage − base) of the means. None where the passage helps the base by less than its own
        noise: what it would be a share of is nothing."""
        there = np.isfinite(base) & np.isfinite(passage) & np.isfinite(tuned)
        if not there.any():
            return None
        base, passage, tuned = (
            np.where(there, values, np.nan) for values in (base, passage, tuned)
        )
        low, high, own = (self.means(values) for values in (base, passage, tuned))
        gap = high - low
        value, middle = float(np.nanmean(passage) - np.nanmean(base)), np.nanstd(gap)
        if abs(value) <= 2 * middle:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (own - low) / gap
        return _interval(float((np.nanmean(tuned) - np.nanmean(base)) / value), drawn)


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.nanpercentile(drawn, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
