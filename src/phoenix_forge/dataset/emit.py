"""A document's extract and its resolution → its lines of the dataset, within its token budget.

A pure function again: the same extract, resolution and settings give the same bytes in any process. The budget is the
document's own, `dataset.amplification` trained tokens for each of its source tokens, so that a change elsewhere does
not move it. What a teacher wrote comes on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from itertools import compress, islice
from random import Random
from typing import NamedTuple

import numpy as np

from phoenix_forge.core.config import Config
from phoenix_forge.corpus.document import Document
from phoenix_forge.dataset.extract import Extract, Known, Part, Style, fitting, style_of
from phoenix_forge.dataset.probes import Guard
from phoenix_forge.dataset.resolve import Resolution
from phoenix_forge.examples.example import Example, Scale, most_tokens, share_of, stable_hash
from phoenix_forge.examples.quote import quoted
from phoenix_forge.questions import ALWAYS, BESIDE, LATE, link_facts
from phoenix_forge.questions.briefly import briefly

DENSE = 4  # amplification from which every short fact is asked in at least one full turn of wordings, budget or not
SHORT_TOKENS = 64  # what a short answer is
BRIEF = ("asked", "gap")  # kinds whose answers have a core that is asked for by itself
# Recitations, refusals and where things are: few of these beside the questions for what a document says.
ASIDE = ("missing", "unknown", "file", "outline", "code", "members", "row", "term")
FACTS_PER_ASIDE = 3  # examples that ask for facts before one of ASIDE may be added
NO_FACT = (*ASIDE, "link")
HELD_FROM = 8  # a fact with this many wordings gives its last one to validation


@dataclass(frozen=True)
class Recipe:
    """The settings that emitting depends on; `system` is the prompt shown with every second question, if any."""

    amplification: float
    validation: float
    seed: int
    system: str | None
    open_book: float
    style: str

    @staticmethod
    def of(cfg: Config, system: str | None) -> Recipe:
        own = cfg.dataset
        return Recipe(own.amplification, own.validation, own.seed, system, own.open_book, own.style)


@dataclass(frozen=True)
class ExampleLines:
    """A document's lines, and what they amount to: `tokens` to teach and of these `covered`, `trained` in all examples;
    `facts` that are asked for; `kinds` maps a kind to [examples, trained tokens]. `spare` is a validation line for a
    corpus that has no other. `lost` says why a document whose lines took too much has none.
    """

    train: bytes = b""
    validation: bytes = b""
    spare: str = ""
    spare_order: str = ""
    tokens: int = 0
    covered: int = 0
    trained: int = 0
    examples: int = 0
    held: int = 0
    facts: int = 0
    kinds: dict[str, list[int]] = field(default_factory=dict)
    lost: str = ""


class Turn(NamedTuple):
    """Some wordings of one fact, added together; `at` is the first one's place among the fact's wordings, `cost` about
    the tokens that they train."""

    part: int
    fact: Known
    at: int
    wordings: tuple[str, ...]
    cost: float


def emit(extract: Extract, resolution: Resolution, recipe: Recipe, scale: Scale) -> ExampleLines:
    """Coverage first, then short facts in several wordings, then whatever the budget still allows."""
    taught = [extract.parts[i] for i in resolution.taught]
    if not taught:
        return ExampleLines()
    style = style_of(recipe.style)
    if not style.asks:
        return _texts(extract, taught, recipe, style)
    usable = _known(extract, resolution, recipe, scale)
    tokens = sum(part.tokens for part in taught)
    density = tokens / sum(
        len(part.body) for part in taught
    )  # tokens a character: counting comes after choosing
    musts: list[Turn] = []
    queues: list[list[Turn]] = []
    held: list[Turn] = []
    once = any(fact.first == BESIDE for facts in usable for fact in facts)
    for i, facts in zip(resolution.taught, usable, strict=True):
        must, queue, extra = _turns(i, facts, density, recipe.amplification >= DENSE, once=once)
        musts += must
        held += extra
        queues.append(queue)
    spent = sum(part.trained for part in taught) + sum(
        turn.cost for turn in musts if turn.fact.first != BESIDE
    )
    budget = tokens * recipe.amplification
    asking = sum(len(turn.wordings) for turn in musts if turn.fact.first != BESIDE)
    chosen = [*musts, *_spend(queues, budget - spent, asking, f"{recipe.seed}\0{extract.path}")]
    examples = _lines(extract, taught, resolution, chosen, scale, recipe, quoting=once)
    wanted = share_of(len(examples) * recipe.validation, "validation", recipe.seed, extract.path)
    asked = _held_examples(
        held, examples, max(1, wanted), extract, resolution.probes, recipe, scale
    )
    whole = lines_of(
        examples,
        asked[:wanted],
        asked[:1],
        tokens,
        sum(part.tokens for part in taught if part.taught),
    )
    return replace(
        whole,
        facts=len(
            {
                (turn.part, turn.fact.answer_key or turn.fact.answer)
                for turn in chosen
                if turn.fact.kind not in NO_FACT
            }
        ),
    )


def _known(
    extract: Extract, resolution: Resolution, recipe: Recipe, scale: Scale
) -> list[list[Known]]:
    """Each taught part's facts without the wordings that are not to be used."""
    dropped, number = set(np.frombuffer(resolution.dropped, np.uint32).tolist()), 0
    usable: list[tuple[int, Known, list[str]]] = []
    for i, part in enumerate(extract.parts):
        for fact in part.facts:
            wordings = [
                wording for at, wording in enumerate(fact.wordings, number) if at not in dropped
            ]
            number += len(fact.wordings)
            usable.append((i, fact, wordings))
    usable = [
        *(
            (resolution.taught[0], fact, list(fact.wordings))
            for fact in _links(extract, resolution, recipe, scale)
        ),
        *usable,
    ]
    if resolution.probes:
        bad = iter(
            _guard(resolution.probes)
            .leaks([wording for _, _, wordings in usable for wording in wordings])
            .tolist()
        )
        usable = [
            (i, fact, [wording for wording in wordings if not next(bad)])
            for i, fact, wordings in usable
        ]
    by_part: dict[int, list[Known]] = {i: [] for i in resolution.taught}
    for i, fact, wordings in usable:
        if wordings and i in by_part:
            by_part[i].append(
                fact
                if len(wordings) == len(fact.wordings)
                else fact._replace(wordings=tuple(wordings))
            )
    return list(by_part.values())


def _links(extract: Extract, resolution: Resolution, recipe: Recipe, scale: Scale) -> list[Known]:
    """Facts about documents that link to each other: their titles are only known now."""
    if not resolution.links_to and not resolution.linked_from:
        return []
    title = extract.name if resolution.twin else extract.title
    named = Document(
        extract.path, extract.name, extract.sha256, "", title, (), np.zeros(1, np.int64)
    )
    facts = link_facts(named, resolution.links_to, resolution.linked_from)
    span = extract.parts[0].span
    return [
        fitting(
            fact,
            fact.wordings,
            Example(fact.kind, "", "", extract.path, span, extract.sha256, recipe.system),
            view,
            scale.plain,
            scale,
        )
        for view, fact in facts
    ]


def _turns(
    part: int, facts: Sequence[Known], density: float, dense: bool, *, once: bool
) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """What must be asked of a part, what is asked as the budget allows, in order, and what is held out. `once`: nothing
    has a second turn, for beside a teacher's questions more wordings of the rules' only take room."""
    must: list[Turn] = []
    queue: list[tuple[int, int, Turn]] = []
    held: list[Turn] = []
    for order, fact in enumerate(facts):
        wordings, cost = (
            fact.wordings,
            len(fact.answer_key if fact.kind in BRIEF else fact.answer) * density + 1,
        )
        if len(wordings) >= HELD_FROM:
            held.append(Turn(part, fact, len(wordings) - 1, wordings[-1:], cost))
            wordings = wordings[:-1]
        short = cost <= SHORT_TOKENS
        step = fact.per_turn if short else max(1, fact.per_turn // 3)
        for i, at in enumerate(range(0, len(wordings), step)):
            some = wordings[at : at + step]
            turn = Turn(part, fact, at, some, cost * len(some))
            if fact.first == BESIDE or (i == 0 and dense and short and fact.first == ALWAYS):
                must.append(turn)
            elif i == 0 or not once:
                queue.append((i + (fact.first == LATE), order, turn))
    return must, [turn for _, _, turn in sorted(queue, key=lambda entry: entry[:2])], held


def _spend(queues: list[list[Turn]], budget: float, facts: int, seed: str) -> list[Turn]:
    """One turn of each part after the other, as far as the budget goes, and as far as there are facts beside those of
    ASIDE; parts come in a fixed random order. `facts` are the examples that ask for one already."""
    chosen: list[Turn] = []
    asides = 0
    queues = [queue for queue in queues if queue]
    Random(seed).shuffle(queues)
    for i in range(max(map(len, queues), default=0)):
        for queue in queues:
            if i >= len(queue) or queue[i].cost > budget:
                continue
            kind, count = queue[i].fact.kind, len(queue[i].wordings)
            if kind in ASIDE and (asides + count) * FACTS_PER_ASIDE > facts:
                continue
            chosen.append(queue[i])
            budget -= queue[i].cost
            asides += count * (kind in ASIDE)
            facts += count * (kind not in NO_FACT)
    return chosen


def _held_examples(
    held: list[Turn],
    examples: Made,
    wanted: int,
    extract: Extract,
    probes: tuple[str, ...],
    recipe: Recipe,
    scale: Scale,
) -> list[Example]:
    """The first `wanted` of the held wordings, in a fixed random order, that fit a row, are asked of nothing else and
    near no probe."""
    asked = {(example.prompt, example.answer) for example, _ in examples}
    order = sorted(
        held, key=lambda turn: stable_hash("validation", recipe.seed, extract.path, *turn.wordings)
    )
    fresh = (
        example
        for turn in order
        for example in _examples(extract, turn, recipe, scale)
        if (example.prompt, example.answer) not in asked
        and scale.fits(example, most_tokens(example.answer) + 1)
    )
    some = list(islice(fresh, 2 * wanted))  # looked at together: one by one takes ten times as long
    bad = _leaks(probes, [example.prompt for example in some])
    return [example for example, leak in zip(some, bad, strict=True) if not leak][:wanted]


@lru_cache(maxsize=1)
def _guard(probes: tuple[str, ...]) -> Guard:
    """A document's, which is asked several times."""
    return Guard(probes)


def _leaks(probes: tuple[str, ...], prompts: Sequence[str]) -> list[bool]:
    """Whether each comes near a probe."""
    if not probes or not prompts:
        return [False] * len(prompts)
    leaks: list[bool] = _guard(probes).leaks(prompts).tolist()
    return leaks


Made = list[tuple[Example, int]]


def _lines(
    extract: Extract,
    taught: Sequence[Part],
    resolution: Resolution,
    chosen: list[Turn],
    scale: Scale,
    recipe: Recipe,
    *,
    quoting: bool,
) -> Made:
    """Examples with their trained tokens, part by part, each once. `quoting`: answers also come behind sentences."""
    asked = [
        (
            turn,
            [
                *_examples(extract, turn, recipe, scale),
                *_quoting(extract, turn, recipe, scale, quoting),
            ],
        )
        for turn in chosen
    ]
    answers = list(dict.fromkeys(example.answer for _, examples in asked for example in examples))
    tokens = dict(zip(answers, scale.counts(answers), strict=True))
    # Wordings have been looked at, but an ending or a passage can come near a probe, too.
    others = [
        example.prompt
        for turn, examples in asked
        for example in examples
        if example.prompt not in turn.wordings
    ]
    leaking = {*compress(others, _leaks(resolution.probes, others))}
    by_part: dict[int, list[Example]] = {number: [] for number in resolution.taught}
    for turn, examples in asked:
        by_part[turn.part] += [example for example in examples if example.prompt not in leaking]
    lines: dict[tuple[str, str], tuple[Example, int]] = {}
    for part, own in zip(taught, by_part.values(), strict=True):
        whole = part.text
        prompt = part.held if resolution.twin and part.held else whole.wordings[0]
        text = Example(whole.kind, prompt, whole.answer, extract.path, whole.span, extract.sha256)
        lines[text.prompt, text.answer] = (text, part.trained)
        for example in own:
            if scale.fits(example, tokens[example.answer] + 1):
                lines.setdefault(
                    (example.prompt, example.answer), (example, tokens[example.answer] + 1)
                )
    return list(lines.values())


def _examples(extract: Extract, turn: Turn, recipe: Recipe, scale: Scale) -> list[Example]:
    """Each wording, every second with the system prompt of the deployed model. Where the answer has a checkable core,
    that alone is asked for, and some come once more with the passages that a search brings."""
    fact, place = turn.fact, (extract.path, turn.fact.span, extract.sha256)
    if fact.kind not in BRIEF:
        return [
            Example(fact.kind, wording, fact.answer, *place, recipe.system if i % 2 else None)
            for i, wording in enumerate(turn.wordings, turn.at)
        ]
    core = scale.plain(fact.answer_key)
    opened = fact.opened if turn.at == 0 else ()
    return [
        *(
            Example(
                fact.kind,
                briefly(wording, extract.language),
                core,
                *place,
                recipe.system if i % 2 else None,
            )
            for i, wording in enumerate(turn.wordings, turn.at)
        ),
        *(Example(f"{fact.kind}_open", prompt, answer, *place) for prompt, answer in opened),
    ]


def _quoting(
    extract: Extract, turn: Turn, recipe: Recipe, scale: Scale, quoting: bool
) -> list[Example]:
    """The same wordings without an ending that asks for the answer alone: behind the sentence that it stands in. A
    gap's sentence is quoted where its question shows only some of it."""
    fact = turn.fact
    if not quoting or fact.kind not in BRIEF:
        return []
    quotation = quoted(fact.answer, scale.plain(fact.answer_key))
    shown = [
        (i, wording)
        for i, wording in enumerate(turn.wordings, turn.at)
        if fact.kind != "gap" or i % 2
    ]
    return [
        Example(
            f"{fact.kind}_quoted",
            wording,
            quotation,
            extract.path,
            fact.span,
            extract.sha256,
            recipe.system if i % 2 else None,
        )
        for i, wording in shown
    ]


def _texts(extract: Extract, taught: Sequence[Part], recipe: Recipe, style: Style) -> ExampleLines:
    """The sections' texts; some of them once more for validation, in another wording."""
    examples = [
        (
            Example(
                p.text.kind, p.text.wordings[0], p.text.answer, extract.path, p.span, extract.sha256
            ),
            p.trained,
        )
        for p in taught
    ]
    held = [
        Example(p.text.kind, p.held, p.text.answer, extract.path, p.span, extract.sha256)
        for p in taught
        if p.held
    ]
    held.sort(key=lambda example: stable_hash("validation", example.id))
    wanted = share_of(len(examples) * recipe.validation, "validation", recipe.seed, extract.path)
    return lines_of(
        examples,
        held[:wanted],
        held[:1],
        sum(part.tokens for part in taught),
        sum(part.tokens for part in taught if part.taught),
        style.line,
    )


def lines_of(
    examples: Made,
    held: Sequence[Example] = (),
    spare: Sequence[Example] = (),
    tokens: int = 0,
    covered: int = 0,
    line: Callable[[Example], bytes] = Example.line,
) -> ExampleLines:
    """What examples amount to, as lines."""
    kinds: dict[str, list[int]] = {}
    for example, trained in examples:
        count = kinds.setdefault(example.kind, [0, 0])
        count[0] += 1
        count[1] += trained
    return ExampleLines(
        _joined(line(example) for example, _ in examples),
        _joined(map(line, held)),
        line(spare[0]).decode() if spare else "",
        stable_hash("spare", spare[0].id) if spare else "",
        tokens,
        covered,
        sum(trained for _, trained in examples),
        len(examples),
        len(held),
        kinds=kinds,
    )


def _joined(lines: Iterable[bytes]) -> bytes:
    """One after the other: each comes in a buffer of some kilobytes, which join() would hold for all of them."""
    whole = BytesIO()
    whole.writelines(lines)
    return whole.getvalue()
