"""The conditions: the same questions, closed book and open, put to the base, the tuned model and each GGUF.

What a model made of a set of prompts is kept under their digest, so an evaluation that was killed goes on where it was,
and a question that is asked again of the same model costs nothing.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import read_sealed, sha256_json, write_sealed
from phoenix_forge.core.report import Reporter
from phoenix_forge.corpus.index import Index, Passage, grounded
from phoenix_forge.dataset.replay import HELD
from phoenix_forge.errors import StageFailed
from phoenix_forge.evaluate import invented, refusal
from phoenix_forge.evaluate.engine import Engine, Prompt, Reply
from phoenix_forge.evaluate.questions import Placed, Question, options
from phoenix_forge.evaluate.scoring import Judged, chosen, judge, offered
from phoenix_forge.examples.example import Scale

# Behind a question; by itself it is the prompt behind which an option shows what it is worth without one. Measured on
# the 0.5B as it came, choice accuracy with and without it: 60 general questions 0.53 and 0.40, 90 with the passage that
# answers them 0.84 and 0.80.
BRIEFLY = "Give only the answer."
CLOSED, INDEX, PASSAGE = "", "index", "passage"
BATCH = 16  # options behind one BRIEFLY
REFUSAL_TOKENS = 48
QUOTE_TOKENS = 192  # of a sentence before an answer
CHUNK = 512  # tokens of a text whose bits are counted
VERSION = 1  # of what is kept


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is asked: `identity` changes with its weights, `open` gives its engine, the same each time."""

    name: str
    identity: str
    open: Callable[[], Engine]


@dataclass(frozen=True)
class Condition:
    """A judgement a question, in their order; `seconds` it took, `tokens` that were computed."""

    name: str
    judged: list[Judged]
    seconds: float
    tokens: int


class Runner:
    """Asks models; what they said is kept in the folder `cache`. `quotes`: a tuned model, asked a plain question
    without passages, quotes a sentence before it answers, as it was trained to."""

    def __init__(
        self,
        encoder: Encoder,
        system: str | None,
        placed: Sequence[Placed],
        index: Index,
        *,
        passages: int,
        max_tokens: int,
        cache: Path,
        report: Reporter,
        quotes: bool = False,
    ) -> None:
        self.encoder, self.system, self.placed, self.index = encoder, system, placed, index
        self.passages, self.max_tokens, self.cache, self.report = (
            passages,
            max_tokens,
            cache,
            report,
        )
        self.quotes = quotes
        self._plain = Scale(encoder, 0).plain
        self._used: set[Path] = set()

    # -- what is asked -------------------------------------------------------------------------------------------------

    def condition(self, name: str, model: EvaluatedModel, material: str = CLOSED) -> Condition:
        """The questions, with what `material` says in the prompt."""
        quoting = self.quotes and not material and model.name != "base"
        prompts = [
            Prompt(
                self._asked(placed.question, self._material(placed, material)),
                [self.encoder.ids(option) for option in offered(placed.question)],
                0 if quoting else self.max_tokens,
            )
            for placed in self.placed
        ]
        replies, seconds = self._replies(model, prompts, name)
        if quoting:
            plain = [
                Prompt(self._ids(placed.question.question), (), QUOTE_TOKENS + self.max_tokens)
                for placed in self.placed
            ]
            said, more = self._replies(model, plain, f"{name}, quoting")
            replies = [
                replace(one, logprobs=reply.logprobs)
                for one, reply in zip(said, replies, strict=True)
            ]
            prompts, seconds = [*prompts, *plain], seconds + more
        priors = self._priors(model, [placed.question for placed in self.placed])
        judged = [
            judge(
                placed.question,
                reply,
                [priors[option] for option in offered(placed.question)],
                self.encoder,
                quoting=quoting,
            )
            for placed, reply in zip(self.placed, replies, strict=True)
        ]
        if quoting:
            judged = [
                replace(one, stands=bool(one.quote and self.index.locate(one.quote)))
                for one in judged
            ]
        _require_answers(name, judged, replies)
        return Condition(name, judged, seconds, sum(prompt.tokens for prompt in prompts))

    def general(self, model: EvaluatedModel) -> list[bool]:
        """Whether each of the general questions shipped with Forge, which no dataset asks, is answered right."""
        asked = general_questions()
        prompts = [
            Prompt(self._asked(q), [self.encoder.ids(option) for option in options(q)])
            for q in asked
        ]
        replies, _ = self._replies(model, prompts, f"{model.name}, general questions")
        priors = self._priors(model, asked)
        return [
            options(q)[chosen(reply.logprobs, [priors[o] for o in options(q)])] == q.answer
            for q, reply in zip(asked, replies, strict=True)
        ]

    def refusals(self, model: EvaluatedModel) -> list[bool]:
        """Whether the model says of each invented name that it does not know it."""
        asked = invented.questions(
            lambda name: any(
                name.lower() in passage.text.lower() for passage in self.index.search(name, 3)
            )
        )
        prompts = [Prompt(self._ids(question), (), REFUSAL_TOKENS) for question in asked]
        replies, _ = self._replies(model, prompts, f"{model.name}, invented names")
        decode = self.encoder.tokenizer.decode
        return [refusal.refuses(decode(reply.ids, skip_special_tokens=True)) for reply in replies]

    def bits_per_byte(
        self, model: EvaluatedModel, name: str, texts: Sequence[str], tokens: int
    ) -> float | None:
        """−log2 of what the model gives the texts, a byte of UTF-8; up to so many tokens of them, each text's first
        CHUNK. None where there is no text."""
        pieces = [piece for own in texts if len(piece := self.encoder.ids(own)[:CHUNK]) > 1]
        pieces = pieces[: max(1, tokens // CHUNK)]
        if not pieces:
            return None
        replies, _ = self._replies(
            model, [Prompt(piece[:1], [piece[1:]]) for piece in pieces], f"{model.name}, {name}"
        )
        size = sum(
            len(self.encoder.tokenizer.decode(piece[1:], skip_special_tokens=False).encode())
            for piece in pieces
        )
        return -sum(sum(reply.logprobs[0]) for reply in replies) / math.log(2) / size

    @property
    def longest(self) -> int:
        """Tokens of the longest closed-book prompt with what may follow it."""
        most = self.max_tokens + QUOTE_TOKENS * self.quotes
        return max(
            len(self._asked(placed.question))
            + max([most, *(self.encoder.count(option) for option in offered(placed.question))])
            for placed in self.placed
        )

    # -- prompts -------------------------------------------------------------------------------------------------------

    def _asked(self, question: Question, passages: Sequence[Passage] = ()) -> list[int]:
        return self._ids(f"{question.question}\n\n{BRIEFLY}", passages)

    def _ids(self, question: str, passages: Sequence[Passage] = ()) -> list[int]:
        asked: list[Message] = [
            {"role": "user", "content": grounded(question, passages, self._plain)}
        ]
        if self.system:
            asked.insert(0, {"role": "system", "content": self.system})
        return self.encoder.prompt(asked)

    def _material(self, placed: Placed, material: str) -> Sequence[Passage]:
        if material == INDEX:
            return self.index.search(placed.question.question, self.passages)
        return placed.passages[:1] if material == PASSAGE else ()

    def _priors(
        self, model: EvaluatedModel, questions: Sequence[Question]
    ) -> dict[str, list[float]]:
        """Each option's log-probabilities behind BRIEFLY."""
        texts = sorted({option for question in questions for option in offered(question)})
        groups = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
        ids = self._ids(BRIEFLY)
        prompts = [Prompt(ids, [self.encoder.ids(option) for option in group]) for group in groups]
        replies, _ = self._replies(model, prompts, f"{model.name}, options by themselves")
        return {
            option: own
            for group, reply in zip(groups, replies, strict=True)
            for option, own in zip(group, reply.logprobs, strict=True)
        }

    # -- replies -------------------------------------------------------------------------------------------------------

    def _replies(
        self, model: EvaluatedModel, prompts: Sequence[Prompt], what: str
    ) -> tuple[list[Reply], float]:
        """In the order of the prompts, and the seconds it took to get them."""
        asked = [
            [list(p.ids), [list(ids) for ids in p.continuations], p.max_tokens] for p in prompts
        ]
        kept = self.cache / f"{sha256_json([VERSION, model.identity, asked])[:32]}.json"
        self._used.add(kept)
        if found := read_sealed(kept):
            return [Reply(**reply) for reply in found["replies"]], found["seconds"]
        engine = model.open()
        started, replies = time.perf_counter(), dict[int, Reply]()
        for i, reply in engine.ask(prompts):
            replies[i] = reply
            self.report.progress(what, len(replies), len(prompts), "questions")
        ordered, seconds = (
            [replies[i] for i in range(len(prompts))],
            round(time.perf_counter() - started, 2),
        )
        self.cache.mkdir(parents=True, exist_ok=True)
        write_sealed(kept, {"seconds": seconds, "replies": [vars(reply) for reply in ordered]})
        return ordered, seconds

    def forget(self) -> None:
        """Removes what earlier evaluations kept and this one did not use."""
        for path in set(self.cache.glob("*.json")) - self._used:
            path.unlink()


def _require_answers(name: str, judged: Sequence[Judged], replies: Sequence[Reply]) -> None:
    """A model of which nothing can be told is an error, not a zero."""
    broken = [one for one in judged if one.nats is None or not math.isfinite(one.nats)]
    if broken:
        raise StageFailed(
            f"{name}: the likelihood of {len(broken)} of {len(judged)} answers is no number",
            fix="forge train --force, or --set train.precision=fp32: the weights are damaged",
        )
    if judged and not any(reply.ids for reply in replies):
        raise StageFailed(
            f"{name}: not one of {len(judged)} questions was answered with a word",
            fix="forge ask 'Who are you?' shows what it says; then forge train --force",
        )


def general_questions() -> list[Question]:
    """Those that are held out of every dataset, each with three wrong options."""
    return [
        Question(
            f"general-{i}",
            "general",
            entry["question"],
            entry["answer"],
            (),
            tuple(entry["distractors"]),
            None,
            None,
            None,
        )
        for i, entry in enumerate(orjson.loads(HELD.read_bytes()))
    ]


def neutral_texts() -> list[str]:
    """Python's own help on its language, in pieces, in a fixed random order: technical prose that is on any machine."""
    from pydoc_data.topics import topics

    whole = "\n\n".join(topics[key] for key in sorted(topics))
    pieces = [whole[i : i + 4000] for i in range(0, len(whole), 4000)]
    random.Random(0).shuffle(pieces)
    return pieces
