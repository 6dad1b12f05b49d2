"""Questions with the passages that a search finds before them, answered from these and not from memory.

A model that learns its documents by heart soon answers such a question without reading. So each comes again with
another number or name in its answer's place, throughout the passages, and there only reading helps (Longpre et al.
2021, arXiv 2109.05052; Neeman et al. 2022, arXiv 2211.05655). The words that answer are the teacher's own, given the
prompt as it is trained, where these hold the answer: what a model would say anyway moves it least.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from phoenix_forge.chat.template import Message
from phoenix_forge.corpus.index import Index, cited
from phoenix_forge.corpus.prose import language, shape, standing
from phoenix_forge.examples.compare import contained
from phoenix_forge.examples.example import stable_hash
from phoenix_forge.questions.briefly import briefly
from phoenix_forge.teacher import Asked, Completion, Excerpt

PASSAGES = 3  # that come with a question, as many as an evaluation brings
SWAPPED = 2  # times that a question comes with another answer
ANSWER_TOKENS = 48
LONGEST = 160  # characters of an answer in a teacher's own words
TRIED = 8  # other answers looked at for one that the passages do not hold
WORDS = 4  # from how many on answers are alike in length
NUMBER = re.compile(r"[\d.,:/%\s–-]*\d[\d.,:/%\s–-]*")

Ask = Callable[[Sequence[Sequence[Message]], int], Sequence[Completion]]
Opened = tuple[tuple[str, str], ...]


class Cited(NamedTuple):
    """A passage before a question."""

    path: str
    headings: tuple[str, ...]
    text: str


class Open(NamedTuple):
    """A prompt, and what its answer must hold; for question `number`."""

    number: int
    prompt: str
    core: str


def open_book(
    passages: Sequence[Excerpt],
    paths: Sequence[str],
    written: Sequence[Sequence[Asked]],
    index: Index,
    share: float,
    ask: Ask | None,
) -> Iterator[Opened]:
    """Prompts with their answers for each of `written`, passage by passage; `share` of these get some.

    `ask` answers conversations; without it the core is the answer. Other answers are those of the same document, so
    that what is made of one does not change with the others.
    """
    every = [
        (passage, path, one)
        for passage, path, own in zip(passages, paths, written, strict=True)
        for one in own
    ]
    answers: dict[str, list[str]] = {}
    for _, path, one in every:
        answers.setdefault(path, []).append(one.answer)
    others = {path: by_shape(own) for path, own in answers.items()}
    prompts = [
        opened
        for number, (passage, path, one) in enumerate(every)
        if _chosen(one, share)
        for opened in _prompts(number, one, passage, path, index, others[path])
    ]
    by_excerpt: list[list[tuple[str, str]]] = [[] for _ in every]
    for opened, answer in zip(prompts, _said(prompts, ask), strict=True):
        by_excerpt[opened.number].append((opened.prompt, answer))
    yield from map(tuple, by_excerpt)


def _chosen(asked: Asked, share: float) -> bool:
    return int(stable_hash("open book", asked.questions[0])[:8], 16) < share * 2**32


def _prompts(
    number: int,
    asked: Asked,
    passage: Excerpt,
    path: str,
    index: Index,
    others: dict[object, list[str]],
) -> Iterator[Open]:
    question = briefly(asked.questions[0], language(passage.text))
    beside = _beside(asked, passage, path, index)

    def prompt(shown: Sequence[Cited]) -> str:
        return "\n\n".join([*(cited(*one) for one in shown), question])

    yield Open(number, prompt(beside), asked.answer)
    for other in _others(asked, beside, others):
        shown = [_swapped(one, asked.answer, other) for one in beside]
        if shown != beside:
            yield Open(number, prompt(shown), other)


def _beside(asked: Asked, passage: Excerpt, path: str, index: Index) -> list[Cited]:
    """What the index finds. Where nothing of that holds the answer, the passage takes the last one's place: an
    open-book example holds its answer."""
    cited = [
        Cited(one.path, tuple(one.headings), one.text)
        for one in index.search(asked.questions[0], PASSAGES)
    ]
    if any(asked.stands_in(one.text) for one in cited):
        return cited
    return [*cited[: PASSAGES - 1], Cited(path, passage.headings, passage.text)]


def _said(prompts: Sequence[Open], ask: Ask | None) -> list[str]:
    if ask is None:
        return [one.core for one in prompts]
    asked: list[list[Message]] = [[{"role": "user", "content": one.prompt}] for one in prompts]
    return [
        own_words(completion, one.core)
        for completion, one in zip(ask(asked, ANSWER_TOKENS), prompts, strict=True)
    ]


def own_words(completion: Completion, core: str) -> str:
    """What a teacher said, where it ended by itself, is short and holds the core; else the core."""
    text = completion.text.strip()
    fitting = completion.stopped and "\n" not in text and len(text) <= LONGEST
    return text if fitting and contained(text, [core]) else core


# -- another answer in its place ---------------------------------------------------------------------------------------


def by_shape(answers: Sequence[str]) -> dict[object, list[str]]:
    """Different answers, those that can stand for each other together."""
    shapes: dict[object, list[str]] = {}
    for answer in dict.fromkeys(answers):
        shapes.setdefault(_shape(answer), []).append(answer)
    return shapes


def _shape(answer: str) -> object:
    """Long answers can stand for each other, however long they are."""
    *looks, length = shape(answer)
    return (*looks, min(length, WORDS))


def _others(asked: Asked, cited: Sequence[Cited], others: dict[object, list[str]]) -> list[str]:
    """Up to SWAPPED other answers of the same shape that neither question nor passages hold; the same each time."""
    random = Random(stable_hash("swapped", asked.questions[0], asked.answer))
    if NUMBER.fullmatch(asked.answer):
        tried = [_number(asked.answer, random) for _ in range(TRIED)]
    else:
        alike = others[_shape(asked.answer)]
        tried = random.sample(alike, min(TRIED, len(alike)))
    held = "\n".join([asked.questions[0], *(one.text for one in cited)]).lower()
    return [one for one in dict.fromkeys(tried) if one.lower() not in held][:SWAPPED]


def _number(text: str, random: Random) -> str:
    return "".join(str(random.randrange(1, 10)) if letter.isdigit() else letter for letter in text)


def _swapped(passage: Cited, answer: str, other: str) -> Cited:
    """The passage with another answer wherever the answer stands by itself."""
    own = standing(answer)
    headings = tuple(own.sub(lambda _: other, heading) for heading in passage.headings)
    return passage._replace(headings=headings, text=own.sub(lambda _: other, passage.text))
