"""The corpus as training data: every section's text once, then its facts in many wordings, up to the token budget."""

from __future__ import annotations

import contextlib
import gc
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random

import orjson

from forge.chat.encode import Encoder
from forge.chat.template import Message
from forge.core.config import Config
from forge.core.fsio import sha256_bytes, sha256_file, write_json
from forge.core.report import Reporter
from forge.core.workspace import Workspace
from forge.corpus.load import Corpus, load
from forge.corpus.near_duplicates import Duplicate, duplicates
from forge.corpus.split import Section, split
from forge.dataset import phrasings
from forge.dataset.language import first_person
from forge.dataset.probes import CHOSEN_FROM, PROBED, Guard, Probe, freeze, rank
from forge.dataset.views import FULL_TURN, VIEWS, Fact, View, facts_of, sources, text_forms, unambiguous
from forge.errors import StageFailed, UsageError

GENERAL = Path(__file__).with_name("general.json")
DENSE = 4  # amplification from which every short fact is asked in at least one full turn of wordings, budget or not
SHORT_TOKENS = 64  # what a short answer is
HELD_FROM = 8  # a fact with this many wordings gives its last one to validation
SYSTEM_TOKENS = 128  # a longer system prompt is only shown in the identity examples: it would dwarf the questions
LEAST = 16  # tokens below which a section is no longer text


@dataclass(frozen=True)
class Example:
    """One question and its answer. `span` counts bytes of the file at `path`, whose content has `sha256`."""

    kind: str
    prompt: str
    answer: str
    path: str
    span: tuple[int, int]
    sha256: str
    system: str | None = None

    @property
    def messages(self) -> list[Message]:
        first: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, {"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.answer}]

    @cached_property
    def id(self) -> str:
        return rank(self.kind, self.system, self.prompt, self.answer)[:16]

    @property
    def source(self) -> dict:
        return {"path": self.path, "span": list(self.span), "sha256": self.sha256}

    def record(self) -> dict:
        return {"messages": self.messages, "source": self.source, "kind": self.kind, "id": self.id}

    def seed_record(self) -> dict:
        """The original workflow's line, with provenance beside it."""
        return {"instruction": self.prompt, "input": "", "output": self.answer, "source": self.source}


class Scale:
    """Lengths in the base's tokens. Counts of answers are remembered: each is asked for many times."""

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self.encoder, self.max_length = encoder, max_length
        self._known: dict[str, int] = {}
        self._frame: dict[str | None, int] = {}
        special = [token.content for token in encoder.tokenizer.get_added_tokens_decoder().values() if token.special]
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")

    def plain(self, text: str) -> str:
        """Text in which no control token of the model stands: a document about `<|im_end|>` must not end a turn."""
        return self._special.sub(lambda m: f"{m[0][:1]} {m[0][1:]}", text)

    def learn(self, texts: Iterable[str]) -> None:
        """Counts many texts at once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self.encoder.counts(new), strict=True))

    def tokens(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = self.encoder.count(text)
        return self._known[text]

    def trained(self, answer: str) -> int:
        """Tokens that an answer trains: itself and the stop token."""
        return self.tokens(answer) + 1

    def frame(self, system: str | None) -> int:
        """Tokens of a conversation around the prompt's and the answer's own."""
        if system not in self._frame:
            bare = Example("", "a", "a", "", (0, 0), "", system)
            self._frame[system] = len(self.encoder.conversation(bare.messages).ids) - 2 * self.tokens("a")
        return self._frame[system]

    def fits(self, example: Example) -> bool:
        """Whether an example fits a training row; counted in full only where a bound does not settle it."""
        bound = self.frame(example.system) + len(example.prompt.encode()) + self.trained(example.answer)
        return bound <= self.max_length or len(self.encoder.conversation(example.messages).ids) <= self.max_length


@dataclass(frozen=True)
class Prepared:
    """The corpus cut into sections; `taught` are those that repeat no earlier one."""

    corpus: Corpus
    sections: list[Section]
    repeats: list[Duplicate]
    taught: list[Section]

    @property
    def source_tokens(self) -> int:
        return sum(section.tokens for section in self.taught)


def build(cfg: Config, root: Path, encoder: Encoder, out: dict[str, Path], report: Reporter) -> dict:
    """Writes the files `dataset`, `validation`, `probes` and `card` of `out`; returns the stage's metrics.

    Bytes depend on the corpus, the config and the base's tokenizer only. Raises UsageError for a corpus that is missing
    or empty, StageFailed for secrets under the policy `fail` and for text that no example teaches.
    """
    with _without_cycle_search():
        return _build(cfg, root, encoder, out, report)


@contextlib.contextmanager
def _without_cycle_search() -> Iterator[None]:
    """Half a million examples hold no cycles; looking for some among them takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _build(cfg: Config, root: Path, encoder: Encoder, out: dict[str, Path], report: Reporter) -> dict:
    began = time.monotonic()
    scale = Scale(encoder, cfg.train.max_length)
    prepared = prepare(cfg, root, scale, report)
    facts = collect(prepared, cfg.dataset.seed, report)
    flat = [(section.document, view, fact) for section, known in facts for view, fact in known]
    probes = freeze(flat, cfg.dataset.probes, cfg.dataset.seed)
    if cfg.dataset.style == "seed":
        train, validation = seed_style(prepared, scale, cfg.dataset.validation)
    else:
        train, validation = view_style(cfg, prepared, facts, Guard(probes), scale, report)
    covered = coverage(prepared, train, scale)
    if cfg.dataset.style == "views":
        train = _distinct(train)
    trained = {example.id for example in train}
    validation = [example for example in _distinct(validation) if example.id not in trained]
    shape = Example.seed_record if cfg.dataset.style == "seed" else Example.record
    write_lines(out["dataset"], [shape(example) for example in train])
    write_lines(out["validation"], [shape(example) for example in validation])
    write_lines(out["probes"], [probe.record() for probe in probes])
    metrics = {
        "documents": len(prepared.corpus.documents),
        "sections": len(prepared.sections),
        "examples": len(train),
        "source_tokens": sum(section.tokens for section in prepared.sections),
        "trained_tokens": sum(scale.trained(example.answer) for example in train),
        "coverage": covered.share,
        "duplicates": len(prepared.repeats),
        "redactions": len(prepared.corpus.redactions),
    }
    write_json(out["card"], card(cfg, prepared, metrics, covered, train, validation, probes, out))
    return {**metrics, "seconds": round(time.monotonic() - began, 2)}


def prepare(cfg: Config, root: Path, scale: Scale, report: Reporter) -> Prepared:
    """Reads and cuts the corpus, and finds what it says twice."""
    corpus = load(cfg.corpus, cfg.dataset.secrets, root, report, own=Workspace(root, cfg).artifacts)
    room = cfg.train.max_length - scale.frame(None) - 12  # 12: the shortest prompt, see _text_example
    limit = min(cfg.section_tokens, room)
    if cfg.dataset.style == "seed":
        limit = room * 7 // 8
    if limit < LEAST:
        raise UsageError(
            f"train.max_length {cfg.train.max_length} leaves {limit} tokens for a section beside the chat template",
            fix=f"--set train.max_length={cfg.train.max_length - limit + 64}",
        )
    sections: list[Section] = []
    for done, document in enumerate(corpus.documents):
        sections += split(document, limit, lambda texts: scale.encoder.counts([scale.plain(text) for text in texts]))
        report.progress("splitting", done + 1, len(corpus.documents), "files")
    sections = [section for section in sections if section.body]
    repeats = [] if cfg.dataset.style == "seed" else duplicates([section.body for section in sections])
    repeated = {repeat.index for repeat in repeats}
    return Prepared(corpus, sections, repeats, [s for i, s in enumerate(sections) if i not in repeated])


Known = list[tuple[Section, list[tuple[View, Fact]]]]


def collect(prepared: Prepared, seed: int, report: Reporter) -> Known:
    """Facts of each taught section, without wordings that have two answers; wordings of templates are shuffled."""
    by_document: dict[str, list[Section]] = {}
    for section in prepared.taught:
        by_document.setdefault(section.document.path, []).append(section)
    found: Known = []
    for done, sections in enumerate(by_document.values()):
        found += [(source.section, facts_of(source)) for source in sources(sections[0].document, sections)]
        report.progress("finding facts", done + 1, len(by_document), "files")
    clear = unambiguous([known for _, known in found])
    return [
        (section, [(view, _shuffled(fact, section, seed)) for view, fact in known])
        for (section, _), known in zip(found, clear, strict=True)
    ]


def _shuffled(fact: Fact, section: Section, seed: int) -> Fact:
    """The first wording stays first; questions keep their order, which is already from best to least."""
    if fact.kind in ("question", "statement"):
        return fact
    rest = list(fact.forms[1:])
    Random(f"{seed}\x00{section.document.path}\x00{fact.start}\x00{fact.forms[0]}").shuffle(rest)
    return replace(fact, forms=(fact.forms[0], *rest))


# -- choosing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """Some wordings of one fact, added together; `at` is the first one's place among the fact's wordings."""

    section: Section
    fact: Fact
    at: int
    forms: tuple[str, ...]


def view_style(
    cfg: Config, prepared: Prepared, facts: Known, guard: Guard, scale: Scale, report: Reporter
) -> tuple[list[Example], list[Example]]:
    """Training and validation examples: coverage first, then wordings until the budget is spent."""
    system = cfg.deploy.system
    shown = system if system and scale.tokens(system) <= SYSTEM_TOKENS else None
    parts = Counter(section.document.path for section in prepared.sections)
    train = [_text_example(section, parts[section.document.path], scale) for section in prepared.taught]
    scale.learn(scale.plain(fact.answer) for _, known in facts for _, fact in known)
    dense = cfg.dataset.amplification >= DENSE
    musts: list[Turn] = []
    queues: list[list[Turn]] = []
    held: list[Turn] = []
    for section, known in facts:
        must, queue, extra = _turns(section, known, guard, scale, dense)
        musts += must
        held += extra
        queues.append(queue)
    spent = sum(scale.trained(example.answer) for example in train) + sum(_cost(turn, scale) for turn in musts)
    budget = int(prepared.source_tokens * cfg.dataset.amplification)
    if spent > budget:
        report.info(
            f"short facts in their least number of wordings need {spent} trained tokens; the budget "
            f"dataset.amplification {cfg.dataset.amplification:g} is {budget}"
        )
    chosen = [*musts, *_spend(queues, budget - spent, scale, cfg.dataset.seed)]
    train += [example for turn in chosen for example in _examples(turn, guard, scale, shown)]
    train += identity(system, cfg.dataset.identity, scale, report)
    train += filter(scale.fits, replay(len(train), cfg.dataset.replay, guard))
    wanted = max(1, round(len(train) * cfg.dataset.validation)) if cfg.dataset.validation else 0
    held.sort(key=lambda turn: rank("validation", cfg.dataset.seed, turn.section.document.path, *turn.forms))
    return train, [example for turn in held for example in _examples(turn, guard, scale, shown)][:wanted]


def _turns(
    section: Section, known: list[tuple[View, Fact]], guard: Guard, scale: Scale, dense: bool
) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """What must be asked of a section, what is asked as the budget allows, in order, and what is held out."""
    must: list[Turn] = []
    queue: list[tuple[int, int, Turn]] = []
    held: list[Turn] = []
    for order, (view, fact) in enumerate(known):
        forms = fact.forms
        if view.kind in PROBED and fact.gold:  # so that a probe's wording is made up for by the next
            forms = (*(form for form in forms[:CHOSEN_FROM] if not guard.leaks(form)), *forms[CHOSEN_FROM:])
        if len(forms) >= HELD_FROM:
            held.append(Turn(section, fact, len(forms) - 1, forms[-1:]))
            forms = forms[:-1]
        short = scale.trained(scale.plain(fact.answer)) <= SHORT_TOKENS
        step = view.per_turn if short else max(1, view.per_turn // 3)
        for i, at in enumerate(range(0, len(forms), step)):
            turn = Turn(section, fact, at, forms[at : at + step])
            if i == 0 and dense and short and view.per_turn == FULL_TURN:
                must.append(turn)
            else:
                # Facts get their second turn before lesser kinds get their first.
                queue.append((i - 1 if view.per_turn == FULL_TURN else i, order, turn))
    return must, [turn for _, _, turn in sorted(queue, key=lambda entry: entry[:2])], held


def _cost(turn: Turn, scale: Scale) -> int:
    return len(turn.forms) * scale.trained(scale.plain(turn.fact.answer))


def _spend(queues: list[list[Turn]], budget: int, scale: Scale, seed: int) -> list[Turn]:
    """One turn of each section after the other, as far as the budget goes; sections come in a fixed random order."""
    chosen: list[Turn] = []
    queues = sorted(
        (queue for queue in queues if queue),
        key=lambda queue: rank(seed, queue[0].section.document.path, queue[0].section.index),
    )
    for i in range(max(map(len, queues), default=0)):
        for queue in queues:
            if i < len(queue) and (cost := _cost(queue[i], scale)) <= budget:
                chosen.append(queue[i])
                budget -= cost
    return chosen


def _examples(turn: Turn, guard: Guard, scale: Scale, system: str | None) -> list[Example]:
    """One for each wording that gives no probe away; every second with the system prompt of the deployed model."""
    document, fact = turn.section.document, turn.fact
    start, end = document.span(fact.start, fact.end)
    answer = scale.plain(fact.answer)
    made = [
        Example(
            fact.kind,
            scale.plain(form),
            answer,
            document.path,
            (start, end),
            document.sha256,
            system if (turn.at + i) % 2 else None,
        )
        for i, form in enumerate(turn.forms)
    ]
    return [example for example in made if not guard.leaks(example.prompt) and scale.fits(example)]


def _text_example(section: Section, parts: int, scale: Scale) -> Example:
    """The section's whole text, under the first wording that leaves room for it; the last one always does."""
    document = section.document
    forms = list(text_forms(section, parts))
    chosen = int(rank(document.path, section.index)[:8], 16) % len(forms)
    span = document.span(section.start, section.end)
    for form in (forms[chosen], min(forms, key=len), f"Part {section.index + 1}."):
        example = Example(
            "text", scale.plain(form), scale.plain(section.body), document.path, (span[0], span[1]), document.sha256
        )
        if scale.fits(example):
            return example
    raise StageFailed(
        f"{document.path}: a section of {section.tokens} tokens does not fit train.max_length {scale.max_length}",
        fix="raise train.max_length",
    )


def identity(system: str | None, count: int, scale: Scale, report: Reporter) -> list[Example]:
    """'Who are you?' in many wordings, answered by the system prompt's first sentence; half of them without it."""
    answer = first_person(system) if system else None
    if system and not answer and count:
        report.info("deploy.system does not begin with 'You are …': no identity examples are made from it")
    if not system or not answer:
        return []
    data = system.encode()
    made = []
    for i, prompt in enumerate(phrasings.IDENTITY[:count]):
        shown = system if i % 2 else None
        example = Example("identity", prompt, answer, "deploy.system", (0, len(data)), sha256_bytes(data), shown)
        # A system prompt longer than a training row cannot be shown; who the model is, is taught all the same.
        made.append(example if scale.fits(example) else replace(example, system=None))
    return made


def replay(others: int, share: float, guard: Guard) -> list[Example]:
    """General questions as `share` of all examples, each at most once."""
    data = GENERAL.read_bytes()
    pairs = sorted(orjson.loads(data), key=lambda pair: rank(pair["question"]))
    wanted = len(pairs) if share >= 1 else round(others * share / (1 - share))
    digest = sha256_bytes(data)
    return [
        Example("replay", pair["question"], pair["answer"], f"forge/dataset/{GENERAL.name}", (0, len(data)), digest)
        for pair in pairs[:wanted]
        if not guard.leaks(pair["question"])
    ]


def seed_style(prepared: Prepared, scale: Scale, share: float) -> tuple[list[Example], list[Example]]:
    """The original recipe, without its truncation: a document that does not fit comes in parts."""
    parts = Counter(section.document.path for section in prepared.taught)
    made: Counter[str] = Counter()
    train: list[Example] = []
    validation: list[Example] = []
    for section in prepared.taught:
        document = section.document
        made[document.path] += 1
        forms = phrasings.SEED if parts[document.path] == 1 else phrasings.SEED_PART
        span = document.span(section.start, section.end)
        asked = [form.format(s=document.name, n=made[document.path], of=parts[document.path]) for form in forms]
        first, second = (
            Example(
                "seed",
                scale.plain(prompt),
                scale.plain(section.body),
                document.path,
                (span[0], span[1]),
                document.sha256,
            )
            for prompt in asked
        )
        if not scale.fits(first):  # a long path
            first = replace(first, prompt=f"Part {made[document.path]}.")
        train.append(first)
        validation.append(second)
    wanted = max(1, round(len(train) * share)) if share else 0
    usable = [example for example in validation if scale.fits(example)]
    return train, sorted(usable, key=lambda example: rank("validation", example.id))[:wanted]


# -- proving -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coverage:
    """`files` maps each document to [tokens taught, tokens to teach]; both without what repeats another section."""

    share: float
    files: dict[str, list[int]]


def coverage(prepared: Prepared, train: Sequence[Example], scale: Scale) -> Coverage:
    """Checks, in the token ids that training will see, that each section's text is among the trained tokens.

    White space around a section is not counted. Raises StageFailed with the files that lack any.
    """
    carried = {(example.path, example.answer): example for example in train if example.kind in ("text", "seed")}
    files: dict[str, list[int]] = {section.document.path: [0, 0] for section in prepared.taught}
    for section in prepared.taught:
        example = carried.get((section.document.path, scale.plain(section.body)))
        taught = example is not None and _trained_text(example, scale)
        files[section.document.path][0] += section.tokens if taught else 0
        files[section.document.path][1] += section.tokens
    lacking = [f"{path}: {got} of {of} tokens" for path, (got, of) in files.items() if got < of]
    if lacking:
        raise StageFailed(
            "not everything in the corpus is taught:\n  " + "\n  ".join(lacking[:20]),
            fix="report this as a bug, with the first of these files",
        )
    total = sum(of for _, of in files.values())
    return Coverage(sum(got for got, _ in files.values()) / total if total else 0.0, files)


def _trained_text(example: Example, scale: Scale) -> bool:
    encoded = scale.encoder.conversation(example.messages)
    ids = [token for token, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
    text = scale.encoder.tokenizer.decode(ids)
    # Tokenizers may normalise to NFC, which spells the same characters.
    return len(encoded.ids) <= scale.max_length and unicodedata.normalize(
        "NFC", example.answer
    ) in unicodedata.normalize("NFC", text)


# -- writing -----------------------------------------------------------------------------------------------------------


def _distinct(examples: Sequence[Example]) -> list[Example]:
    """Each once, in an order that is random to the content and fixed for it."""
    return [example for _, example in sorted({example.id: example for example in examples}.items())]


def write_lines(path: Path, records: Sequence[dict]) -> None:
    """One compact JSON object a line, to a staged path: publishing it is the caller's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as handle:
        for record in records:
            handle.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))


def card(
    cfg: Config,
    prepared: Prepared,
    metrics: dict,
    covered: Coverage,
    train: Sequence[Example],
    validation: Sequence[Example],
    probes: Sequence[Probe],
    out: dict[str, Path],
) -> dict:
    """What the dataset is made of, and what was left out and why."""
    kinds = Counter(example.kind for example in train)
    order = ["text", *(view.kind for view in VIEWS)]
    corpus = prepared.corpus

    def place(section: Section) -> dict:
        return {"path": section.document.path, "span": section.document.span(section.start, section.end)}

    return {
        **metrics,
        "name": cfg.model.name,
        "style": cfg.dataset.style,
        "amplification": cfg.dataset.amplification,
        "kinds": {k: kinds[k] for k in sorted(kinds, key=lambda k: (order.index(k) if k in order else len(order), k))},
        "splits": {"train": len(train), "validation": len(validation), "probes": len(probes)},
        "files": {
            role: {"sha256": sha256_file(out[role]), "bytes": out[role].stat().st_size}
            for role in ("dataset", "validation", "probes")
        },
        "coverage_by_file": {path: {"taught": got, "tokens": of} for path, (got, of) in covered.files.items()},
        "duplicated": [
            {**place(prepared.sections[repeat.index]), "of": place(prepared.sections[repeat.of]), "exact": repeat.exact}
            for repeat in prepared.repeats
        ],
        "redacted": [{"path": r.path, "line": r.line, "kind": r.kind} for r in corpus.redactions],
        "skipped": [{"path": s.path, "reason": s.reason} for s in [*corpus.skipped, *corpus.dropped]],
        "notes": [{"path": d.path, "note": note} for d in corpus.documents for note in d.notes],
    }
