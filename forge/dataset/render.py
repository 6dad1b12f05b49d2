"""A document's harvest and the verdict on it → its lines of the dataset, within its token budget.

A pure function again: the same harvest, verdict and settings give the same bytes in any process. The budget is the
document's own, `dataset.amplification` trained tokens for each of its source tokens, so that a change elsewhere does
not move it. What a teacher wrote comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import NamedTuple

import numpy as np

from forge.core.config import Config
from forge.corpus.document import Document
from forge.corpus.index import cited
from forge.dataset.example import Example, Scale, rank, share_of
from forge.dataset.harvest import Harvest, Known, Part, fitting
from forge.dataset.probes import Guard
from forge.dataset.verdicts import Verdict
from forge.dataset.views import ALWAYS, BESIDE, LATE, link_facts

DENSE = 4  # amplification from which every short fact is asked in at least one full turn of wordings, budget or not
SHORT_TOKENS = 64  # what a short answer is
# What a question ends with that asks for the checkable core alone, and how often. None is what an evaluation asks with.
BRIEF_EVERY = 3
BRIEFLY = (" Just the answer.", " Answer in a few words.", " In short?", "\nShort answer:", " Only the answer, please.",
           " No explanation.", "\n\nReply with nothing but the answer.", " Be brief.")
HELD_FROM = 8  # a fact with this many wordings gives its last one to validation


@dataclass(frozen=True)
class Recipe:
    """The settings that rendering depends on; `system` is the prompt shown with every second question, if any."""

    amplification: float
    validation: float
    seed: int
    system: str | None
    open_book: float

    @staticmethod
    def of(cfg: Config, system: str | None) -> Recipe:
        own = cfg.dataset
        return Recipe(own.amplification, own.validation, own.seed, system, own.open_book)


@dataclass(frozen=True)
class Block:
    """A document's lines, and what they amount to: `tokens` to teach and of these `covered`, `trained` in all examples;
    `kinds` maps a kind to [examples, trained tokens]. `spare` is a validation line for a corpus that has no other.
    """

    train: bytes = b""
    validation: bytes = b""
    spare: str = ""
    spare_rank: str = ""
    tokens: int = 0
    covered: int = 0
    trained: int = 0
    examples: int = 0
    held: int = 0
    kinds: dict[str, list[int]] = field(default_factory=dict)


class Turn(NamedTuple):
    """Some wordings of one fact, added together; `at` is the first one's place among the fact's wordings, `cost` about
    the tokens that they train."""

    part: int
    fact: Known
    at: int
    forms: tuple[str, ...]
    cost: float


def render(found: Harvest, verdict: Verdict, recipe: Recipe, scale: Scale) -> Block:
    """Coverage first, then short facts in several wordings, then whatever the budget still allows."""
    taught = [found.parts[i] for i in verdict.taught]
    if not taught:
        return Block()
    if taught[0].text.kind == "seed":
        return _seed_lines(found, taught, recipe)
    known = _known(found, verdict, recipe, scale)
    tokens = sum(part.tokens for part in taught)
    density = tokens / sum(len(part.body) for part in taught)  # tokens a character: counting comes after choosing
    musts: list[Turn] = []
    queues: list[list[Turn]] = []
    held: list[Turn] = []
    for i, facts in zip(verdict.taught, known, strict=True):
        must, queue, extra = _turns(i, facts, density, recipe.amplification >= DENSE)
        musts += must
        held += extra
        queues.append(queue)
    spent = sum(part.trained for part in taught) + sum(turn.cost for turn in musts if turn.fact.first != BESIDE)
    budget = tokens * recipe.amplification
    chosen = [*musts, *_spend(queues, budget - spent, f"{recipe.seed}\0{found.path}")]
    made = _lines(found, taught, verdict, chosen, scale, recipe)
    wanted = share_of(len(made) * recipe.validation, "validation", recipe.seed, found.path)
    asked = _held_examples(held, made, max(1, wanted), found, verdict.probes, recipe, scale)
    return block(made, asked[:wanted], asked[:1], tokens, sum(part.tokens for part in taught if part.taught))


def _known(found: Harvest, verdict: Verdict, recipe: Recipe, scale: Scale) -> list[list[Known]]:
    """Each taught part's facts without the wordings that are not to be used."""
    dropped, number = set(np.frombuffer(verdict.dropped, np.uint32).tolist()), 0
    kept: list[tuple[int, Known, list[str]]] = []
    for i, part in enumerate(found.parts):
        for fact in part.facts:
            forms = [form for at, form in enumerate(fact.forms, number) if at not in dropped]
            number += len(fact.forms)
            kept.append((i, fact, forms))
    kept = [*((verdict.taught[0], fact, list(fact.forms)) for fact in _links(found, verdict, recipe, scale)),
            *kept]
    if verdict.probes:
        bad = iter(Guard(verdict.probes).leaks([form for _, _, forms in kept for form in forms]).tolist())
        kept = [(i, fact, [form for form in forms if not next(bad)]) for i, fact, forms in kept]
    by_part: dict[int, list[Known]] = {i: [] for i in verdict.taught}
    for i, fact, forms in kept:
        if forms and i in by_part:
            by_part[i].append(fact if len(forms) == len(fact.forms) else fact._replace(forms=tuple(forms)))
    return list(by_part.values())


def _links(found: Harvest, verdict: Verdict, recipe: Recipe, scale: Scale) -> list[Known]:
    """Facts about documents that link to each other: their titles are only known now."""
    if not verdict.links_to and not verdict.linked_from:
        return []
    title = found.name if verdict.twin else found.title
    named = Document(found.path, found.name, found.sha256, "", title, (), np.zeros(1, np.int64))
    made = link_facts(named, verdict.links_to, verdict.linked_from)
    span = found.parts[0].span
    return [fitting(fact, fact.forms, Example(fact.kind, "", "", found.path, span, found.sha256, recipe.system),
                    view, scale.plain, scale) for view, fact in made]


def _turns(part: int, facts: Sequence[Known], density: float, dense: bool) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """What must be asked of a part, what is asked as the budget allows, in order, and what is held out."""
    must: list[Turn] = []
    queue: list[tuple[int, int, Turn]] = []
    held: list[Turn] = []
    for order, fact in enumerate(facts):
        forms, cost = fact.forms, len(fact.answer) * density + 1
        if len(forms) >= HELD_FROM:
            held.append(Turn(part, fact, len(forms) - 1, forms[-1:], cost))
            forms = forms[:-1]
        short = cost <= SHORT_TOKENS
        step = fact.per_turn if short else max(1, fact.per_turn // 3)
        for i, at in enumerate(range(0, len(forms), step)):
            some = forms[at:at + step]
            turn = Turn(part, fact, at, some, cost * len(some))
            if fact.first == BESIDE or (i == 0 and dense and short and fact.first == ALWAYS):
                must.append(turn)
            else:
                queue.append((i + (fact.first == LATE), order, turn))
    return must, [turn for _, _, turn in sorted(queue, key=lambda entry: entry[:2])], held


def _spend(queues: list[list[Turn]], budget: float, seed: str) -> list[Turn]:
    """One turn of each part after the other, as far as the budget goes; parts come in a fixed random order."""
    chosen: list[Turn] = []
    queues = [queue for queue in queues if queue]
    Random(seed).shuffle(queues)
    for i in range(max(map(len, queues), default=0)):
        for queue in queues:
            if i < len(queue) and queue[i].cost <= budget:
                chosen.append(queue[i])
                budget -= queue[i].cost
    return chosen


def _held_examples(held: list[Turn], made: Made, wanted: int, found: Harvest, probes: Sequence[str], recipe: Recipe,
                   scale: Scale) -> list[Example]:
    """The first `wanted` of the held wordings, in a fixed random order, that are asked of nothing else and near no
    probe."""
    asked = {(example.prompt, example.answer) for example, _ in made}
    order = sorted(held, key=lambda turn: rank("validation", recipe.seed, found.path, *turn.forms))
    fresh = (example for turn in order for example in _examples(found, turn, recipe, scale)
             if (example.prompt, example.answer) not in asked)
    some = list(islice(fresh, 2 * wanted))  # looked at together: one by one takes ten times as long
    bad = _leaks(probes, some)
    return [example for example, leak in zip(some, bad, strict=True) if not leak][:wanted]


def _leaks(probes: Sequence[str], examples: Sequence[Example]) -> list[bool]:
    """Whether the prompts come near a probe. The wordings themselves have been looked at, but an ending or a passage
    can, too."""
    if not probes or not examples:
        return [False] * len(examples)
    leaks: list[bool] = Guard(probes).leaks([example.prompt for example in examples]).tolist()
    return leaks


Made = list[tuple[Example, int]]


def _lines(found: Harvest, taught: Sequence[Part], verdict: Verdict, chosen: list[Turn], scale: Scale,
           recipe: Recipe) -> Made:
    """Examples with their trained tokens, part by part, each once."""
    asked = [(turn, _examples(found, turn, recipe, scale)) for turn in chosen]
    answers = list(dict.fromkeys(example.answer for _, examples in asked for example in examples))
    tokens = dict(zip(answers, scale.counts(answers), strict=True))
    bad = iter(_leaks(verdict.probes, [example for _, examples in asked for example in examples]))
    by_part: dict[int, list[Example]] = {number: [] for number in verdict.taught}
    for turn, examples in asked:
        by_part[turn.part] += [example for example in examples if not next(bad)]
    made: dict[tuple[str, str], tuple[Example, int]] = {}
    for part, own in zip(taught, by_part.values(), strict=True):
        whole = part.text
        prompt = part.held if verdict.twin and part.held else whole.forms[0]
        text = Example(whole.kind, prompt, whole.answer, found.path, whole.span, found.sha256)
        made[text.prompt, text.answer] = (text, part.trained)
        for example in own:
            if scale.fits(example, tokens[example.answer] + 1):
                made.setdefault((example.prompt, example.answer), (example, tokens[example.answer] + 1))
    return list(made.values())


def _examples(found: Harvest, turn: Turn, recipe: Recipe, scale: Scale) -> list[Example]:
    """One for each wording; every second with the system prompt of the deployed model. Where the fact has a checkable
    core, every third asks for that alone, and some come with the passage that answers them, as a search brings it."""
    made = []
    for i, form in enumerate(turn.forms, turn.at):
        fact, prompt, answer = turn.fact, form, turn.fact.answer
        if fact.gold and i % BRIEF_EVERY == BRIEF_EVERY - 1:
            prompt, answer = f"{prompt}{BRIEFLY[int(rank(form)[:8], 16) % len(BRIEFLY)]}", scale.plain(fact.gold)
        if fact.gold and int(rank("open book", form)[:8], 16) < recipe.open_book * 2**32:
            prompt = "\n\n".join([*map(scale.plain, _passages(found, turn.part, form)), prompt])
        made.append(Example(fact.kind, prompt, answer, found.path, fact.span, found.sha256,
                            recipe.system if i % 2 else None))
    return made


def _passages(found: Harvest, part: int, form: str) -> list[str]:
    """The part's own text and another of the document, in an order that the form decides."""
    other = int(rank("beside", form)[:8], 16)
    numbers = sorted({part, other % len(found.parts)}, reverse=bool(other & 1))
    return [cited(found.path, found.parts[n].headings, found.parts[n].body) for n in numbers]


def _seed_lines(found: Harvest, taught: Sequence[Part], recipe: Recipe) -> Block:
    made = [(Example("seed", p.text.forms[0], p.text.answer, found.path, p.span, found.sha256), p.trained)
            for p in taught]
    held = [Example("seed", p.held, p.text.answer, found.path, p.span, found.sha256) for p in taught if p.held]
    held.sort(key=lambda example: rank("validation", example.id))
    wanted = share_of(len(made) * recipe.validation, "validation", recipe.seed, found.path)
    return block(made, held[:wanted], held[:1], sum(part.tokens for part in taught),
                  sum(part.tokens for part in taught if part.taught))


def block(made: Made, held: Sequence[Example] = (), spare: Sequence[Example] = (), tokens: int = 0, covered: int = 0
          ) -> Block:
    """What examples amount to, as lines."""
    kinds: dict[str, list[int]] = {}
    for example, trained in made:
        count = kinds.setdefault(example.kind, [0, 0])
        count[0] += 1
        count[1] += trained
    return Block(b"".join(example.line() for example, _ in made), b"".join(example.line() for example in held),
                 spare[0].line().decode() if spare else "", rank("spare", spare[0].id) if spare else "", tokens,
                 covered, sum(trained for _, trained in made), len(made), len(held), kinds)
