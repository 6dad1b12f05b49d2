"""The corpus as training data: every section's text once, then its facts in many wordings, up to the token budget.

Three steps. `extract` works on each document alone, in parallel, and is remembered by content. `resolve` decides what
only the whole corpus can tell. `emit` writes each document's lines, in parallel, and is remembered too. The dataset
is these lines in the order of the documents' paths, then the examples that belong to no document.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import sha256_bytes, sha256_file, write_json
from phoenix_forge.core.report import Reporter
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.corpus.guarded import Limits, Lost
from phoenix_forge.corpus.load import limits, read
from phoenix_forge.corpus.walk import File, Skipped, ignored, walk
from phoenix_forge.dataset.emit import ExampleLines, Recipe, emit, lines_of
from phoenix_forge.dataset.engine import Local, RayCluster, engine
from phoenix_forge.dataset.extract import (
    Packed,
    Part,
    WorkerContext,
    extract,
    lost,
    pack,
    style_of,
    unpack,
    with_facts,
)
from phoenix_forge.dataset.probes import Guard
from phoenix_forge.dataset.replay import hand_written, pairs
from phoenix_forge.dataset.resolve import Head, Resolution, Resolved, resolve
from phoenix_forge.dataset.store import Extracts, Store, code_digest
from phoenix_forge.errors import StageFailed
from phoenix_forge.exam.probe import EXAM, Probe
from phoenix_forge.examples.example import Example, Scale, stable_hash
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import VIEWS, phrasings
from phoenix_forge.questions.gaps import thinned
from phoenix_forge.questions.language import first_person

if TYPE_CHECKING:  # a teacher's libraries are loaded where there is one
    from phoenix_forge.chat.template import Message
    from phoenix_forge.dataset.open_book import Opened
    from phoenix_forge.exam.freeze import Examined
    from phoenix_forge.teacher import Asked, Completion, Excerpt, Tally, Teacher

SHOWN = 20  # findings that an error lists
PLACES = 3  # of what was redacted, that a line names
COMMIT_SECONDS = 2.0  # work that a kill can cost
GENERAL = "phoenix_forge/dataset/general.json"
ASKED_TOO = 3  # of so many of an exam's answers one is asked for in training, too, about as what people ask for is
LONG, FEW = (
    200,
    10,
)  # tokens of a file that should give something to ask for; facts a thousand tokens that are few
PACKED = 5  # times that a document is larger than its extract, at most
CHUNK = 2000  # general questions that are kept together

Workers = Local | RayCluster


@dataclass(frozen=True)
class Models:
    """`teacher` writes further examples, `base` answers the general questions; `cache` keeps what they said. A teacher
    gets at most so many requests, about, and for the exam as many; `slow`: prompts of three passages would take most of
    its time."""

    teacher: Teacher | None = None
    base: Teacher | None = None
    cache: Path | None = None
    most: float = math.inf
    slow: bool = False


NO_MODELS = Models()


def build(
    cfg: Config,
    root: Path,
    encoder: Encoder,
    out: dict[str, Path],
    report: Reporter,
    *,
    cache: Path | None = None,
    digest: Callable[[Path], str] = sha256_file,
    models: Models = NO_MODELS,
) -> dict:
    """Writes the files `dataset`, `validation`, `probes` and `card` of `out`; returns the stage's metrics.

    Bytes depend on the corpus, the config and the base's tokenizer only, never on `cache` (where results are kept
    between runs) or on where the work was done. `digest` gives a file's SHA-256, from memory where it can; `models`
    are those that write along. Raises UsageError for a corpus that is missing or empty, StageFailed for secrets under
    the policy `fail` and for text that no example teaches.
    """
    began = time.monotonic()
    context = WorkerContext.of(cfg, encoder)
    walked = walk(cfg.corpus, root, Workspace(root, cfg).artifacts)
    for notice in walked.notices:
        report.info(notice)
    with Store(cache) as store, engine(cfg, context, encoder) as workers, _without_cycle_search():
        basis = _basis(cfg, context, encoder)
        extracts = Extracts(
            store, _extracted(walked.files, basis, cfg.dataset.seed, workers, store, digest, report)
        )
        _tell(extracts.heads, cfg, report)  # before a teacher is sent anything
        used, teacher_tokens, exam = list(extracts.keys), 0, None
        if models.teacher:
            from phoenix_forge.teacher import Tally

            tally = Tally()
            taught, exam = _taught(
                extracts, context, models, store, cfg, root, encoder, digest, tally, report
            )
            extracts = Extracts(store, taught)
            used += extracts.keys
            teacher_tokens = tally.prompt_tokens + tally.completion_tokens
        resolved = resolve(extracts, cfg.dataset, exam)
        recipe, line_keys = (
            Recipe.of(cfg, context.system),
            list[str](),
        )  # the keys of the lines that were written

        def lines() -> Iterator[ExampleLines]:
            examples = 0
            for key, own in _emitted(
                extracts, resolved.resolutions, basis, recipe, workers, store, report
            ):
                line_keys.append(key)
                examples += own.examples
                yield own
            for key, own in _general(
                cfg, store, examples, basis, resolved, context.scale, workers, models, report
            ):
                line_keys.append(key)
                yield own

        written = _write(cfg, extracts.heads, lines(), resolved, out)
        metrics = _metrics(extracts.heads, resolved, written) | {"teacher_tokens": teacher_tokens}
        left_out = [
            *walked.skipped,
            *written.lost,
            *ignored(cfg.corpus, root, Workspace(root, cfg).artifacts),
        ]
        write_json(
            out["card"],
            _card(cfg, models.teacher, extracts, left_out, resolved, written, metrics, out, digest),
        )
        _forget(store, used, line_keys)
    return {**metrics, "seconds": round(time.monotonic() - began, 2)}


@contextlib.contextmanager
def _without_cycle_search() -> Iterator[None]:
    """What is made here holds next to no reference cycles; looking for some takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _basis(cfg: Config, context: WorkerContext, encoder: Encoder) -> str:
    """What every document's result depends on beside itself."""
    own = cfg.dataset
    tokenizer = sha256_bytes(encoder.description or encoder.tokenizer.to_str().encode())
    return stable_hash(
        code_digest(),
        own.style,
        own.secrets,
        own.personal_data,
        own.seed,
        context.limit,
        context.system,
        context.most_wordings,
        cfg.train.max_length,
        tokenizer,
        encoder.template.source,
        encoder.stop,
    )


# -- the three steps ---------------------------------------------------------------------------------------------------


def _extracted(
    files: Sequence[File],
    basis: str,
    seed: int,
    workers: Workers,
    store: Store,
    digest: Callable[[Path], str],
    report: Reporter,
) -> list[str]:
    """Extracts what is not known yet; returns the key of each document's extract."""
    keys = [_key(basis, file, digest(file.path)) for file in files]
    stored_keys = store.has("extract", keys)
    missing = [i for i, key in enumerate(keys) if key not in stored_keys]
    items = ((files[i], read(files[i])) if workers.ships else (files[i],) for i in missing)
    results: Iterator[Packed] = workers.map(
        extract, items, len(missing), limits, partial(lost, seed)
    )
    clock = _Clock(store)
    for done, (i, packed) in enumerate(zip(missing, results, strict=True), 1):
        # By what was read: a file may have changed since its digest was taken.
        keys[i] = _key(basis, files[i], orjson.loads(packed.head)["sha256"])
        store.put_extract(keys[i], packed)
        clock.tick()
        report.progress("reading", done, len(missing), "files")
    store.commit()
    return keys


def _key(basis: str, file: File, digest: str) -> str:
    return stable_hash(basis, file.relative, file.name, file.given, digest)


def _taught(
    extracts: Extracts,
    context: WorkerContext,
    models: Models,
    store: Store,
    cfg: Config,
    root: Path,
    encoder: Encoder,
    digest: Callable[[Path], str],
    tally: Tally,
    report: Reporter,
) -> tuple[list[str], list[Probe]]:
    """Adds to each extract what the teacher asks about its sections; returns the keys of the results, and the exam,
    which is frozen before."""
    from phoenix_forge.corpus.index import ensure
    from phoenix_forge.dataset.open_book import open_book
    from phoenix_forge.exam.freeze import freeze
    from phoenix_forge.teacher import Cache, completed, per_passage, write

    teacher = models.teacher
    assert teacher is not None
    assert models.cache is not None
    own, place = cfg.dataset, Workspace(root, cfg).index
    with (
        Cache(models.cache) as cache,
        ensure(cfg, root, encoder.fast_counts, place, digest, report) as index,
    ):
        owners, passages = _passages(extracts, range(len(extracts.heads)))
        examined = freeze(
            passages,
            teacher,
            cache,
            own.teacher_workers,
            report,
            tally,
            wanted=own.probes,
            seed=own.seed,
            most=models.most,
        )
        exam = [_probe(one, *owners[one.passage], extracts) for one in examined]
        frozen = frozenset(one.frozen for i, one in enumerate(examined) if i % ASKED_TOO)
        corpus = stable_hash(
            *extracts.keys
        )  # any document's passages may stand before any question
        share = per_passage(models.most, len(passages))
        keys = [
            stable_hash(
                "asked",
                key,
                corpus,
                teacher.identity,
                own.per_sentence,
                own.wordings,
                own.open_book,
                share,
                sorted(frozen),
            )
            for key in extracts.keys
        ]
        stored_keys = store.has("extract", keys)
        missing = [i for i, key in enumerate(keys) if key not in stored_keys]
        owners, passages = _passages(extracts, missing)
        written = list(
            write(
                passages,
                teacher,
                cache,
                own.teacher_workers,
                report,
                tally,
                per_sentence=own.per_sentence,
                wordings=own.wordings,
                frozen=frozen,
                share=share,
            )
        )

        def ask(conversations: Sequence[Sequence[Message]], tokens: int) -> list[Completion]:
            return completed(
                conversations,
                tokens,
                teacher,
                cache,
                own.teacher_workers,
                tally,
                report,
                "open book",
            )

        paths = [extracts.heads[i].path for i, _ in owners]
        opened = open_book(
            passages, paths, written, index, own.open_book, None if models.slow else ask
        )
        by_part = iter(written)
        for i in missing:
            own_extract = extracts.extract(i)
            facts = [
                [_asked(one, part, next(opened), own.wordings) for one in next(by_part)]
                for part in own_extract.parts
            ]
            store.put_extract(keys[i], pack(with_facts(own_extract, facts, context), own.seed))
            store.commit()
        report.info(f"teacher {teacher.name}: {tally.told()}")
    return keys, exam


def _passages(
    extracts: Extracts, documents: Iterable[int]
) -> tuple[list[tuple[int, int]], list[Excerpt]]:
    """What a teacher reads of documents, and which (document, part) each of it is."""
    from phoenix_forge.teacher import Excerpt

    owners, passages = [], []
    for i in documents:
        head = extracts.heads[i]
        for n, part in enumerate(extracts.extract(i).parts):
            owners.append((i, n))
            passages.append(
                Excerpt(
                    f"{head.path} part {n + 1}", head.title, part.headings, part.body, part.prose
                )
            )
    return owners, passages


def _probe(one: Examined, document: int, part: int, extracts: Extracts) -> Probe:
    own_extract = extracts.extract(document)
    return Probe(
        EXAM,
        one.question,
        one.answer,
        one.distractors,
        document,
        own_extract.path,
        own_extract.parts[part].span,
        own_extract.sha256,
    )


def _asked(asked: Asked, part: Part, opened: Opened, times: int) -> Fact:
    """Asked for so many times: where fewer questions were kept, again by these with fewer of their words."""
    missing = max(0, times - len(asked.questions))
    turns = zip_longest(*(thinned(one, missing) for one in asked.questions))
    fewer = [wording for turn in turns for wording in turn if wording][:missing]
    return Fact(
        "asked",
        (*asked.questions, *fewer),
        asked.sentence,
        0,
        len(part.body),
        asked.answer,
        opened=opened,
    )


def _emitted(
    extracts: Extracts,
    resolutions: Sequence[Resolution],
    basis: str,
    recipe: Recipe,
    workers: Workers,
    store: Store,
    report: Reporter,
) -> Iterator[tuple[str, ExampleLines]]:
    """Each document's lines with their key, in order, as soon as it is there; what was not known yet is kept."""
    made_by = stable_hash(basis, recipe)
    keys = [
        stable_hash(made_by, key, sha256_bytes(resolution.packed()))
        for key, resolution in zip(extracts.keys, resolutions, strict=True)
    ]
    stored_keys = store.has("lines", keys)
    missing = [i for i, key in enumerate(keys) if key not in stored_keys]
    items = ((extracts.record(i), resolutions[i].packed(), recipe) for i in missing)
    results: Iterator[ExampleLines] = workers.map(
        emitted, items, len(missing), _emit_limits, _without_lines
    )
    return _kept(store, keys, stored_keys, _told(results, len(missing), report))


def _told(results: Iterator[ExampleLines], total: int, report: Reporter) -> Iterator[ExampleLines]:
    for done, result in enumerate(results, 1):
        report.progress("writing", done, total, "files")
        yield result


def _kept(
    store: Store, keys: Sequence[str], stored_keys: set[str], results: Iterator[ExampleLines]
) -> Iterator[tuple[str, ExampleLines]]:
    """Each key with its lines: the store's where it is known, else the next result, which the store then keeps."""
    clock = _Clock(store)
    for key in keys:
        own = store.lines(key) if key in stored_keys else next(results)
        if key not in stored_keys:
            store.put_lines(key, own)
            clock.tick()
        yield key, own
    store.commit()


def emitted(
    context: WorkerContext, record: bytes, resolution: bytes, recipe: Recipe
) -> ExampleLines:
    return emit(unpack(record), Resolution.unpacked(resolution), recipe, context.scale)


def _emit_limits(record: bytes, *_: object) -> Limits:
    """By the extract, which is packed."""
    return Limits.of(len(record) * PACKED)


def _without_lines(lost: Lost, *_: object) -> ExampleLines:
    return ExampleLines(lost=lost.reason)


class _Clock:
    """Commits now and then."""

    def __init__(self, store: Store) -> None:
        self.store, self.last = store, time.monotonic()

    def tick(self) -> None:
        if time.monotonic() - self.last > COMMIT_SECONDS:
            self.store.commit()
            self.last = time.monotonic()


def _tell(heads: Sequence[Head], cfg: Config, report: Reporter) -> None:
    """Notes and redactions; raises StageFailed where the policy or the corpus leaves nothing to teach."""
    for head in heads:
        for note in head.notes:
            report.warn(f"{head.path}: {note}")
    redactions = [f"{head.path}:{line}: {kind}" for head in heads for line, kind in head.redactions]
    if redactions and cfg.dataset.secrets == "fail":
        raise StageFailed(
            f"{len(redactions)} secrets in the corpus:\n  " + "\n  ".join(redactions[:SHOWN]),
            fix="remove them, or --set dataset.secrets=redact",
        )
    if redactions and cfg.dataset.secrets == "redact":
        kinds = Counter(kind for head in heads for _, kind in head.redactions)
        report.warn(
            f"redacted, and taught to nobody: {', '.join(f'{n} x {kind}' for kind, n in kinds.most_common())} "
            f"({', '.join(redactions[:PLACES])}{', …' if len(redactions) > PLACES else ''})"
        )
    if all(head.skipped for head in heads):
        why = "\n  ".join(f"{head.path}: {head.skipped}" for head in heads[:SHOWN])
        raise StageFailed(
            f"no document of the corpus can be used:\n  {why}",
            fix="--set dataset.secrets=redact" if redactions else "add documents to corpus.roots",
        )


# -- writing -----------------------------------------------------------------------------------------------------------


@dataclass
class Written:
    """Counts of what was written. `kinds` maps a kind to [examples, trained tokens], `files` a path to its figures."""

    examples: int
    held: int
    trained: int
    kinds: dict[str, list[int]]
    files: dict[str, dict[str, int]]
    lost: list[Skipped]


def _write(
    cfg: Config,
    heads: Sequence[Head],
    lines: Iterable[ExampleLines],
    resolved: Resolved,
    out: dict[str, Path],
) -> Written:
    """Writes the lines, those of the documents first, as they come."""
    written = Written(0, 0, 0, {}, {}, [])
    spare = ("", "")
    for path in out.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
        train, validation = (
            opened.enter_context(open(out[role], "wb")) for role in ("dataset", "validation")
        )
        for head, own in zip_longest(heads, lines):
            train.write(own.train)
            validation.write(own.validation)
            if own.spare and (not spare[1] or own.spare_order < spare[0]):
                spare = (own.spare_order, own.spare)
            _add(written, own)
            if own.lost:
                written.lost.append(Skipped(head.path, own.lost))
            if own.tokens:
                written.files[head.path] = {
                    "taught": own.covered,
                    "tokens": own.tokens,
                    "trained": own.trained,
                    "facts": own.facts,
                    "examples": own.examples,
                }
        _check_coverage(written.files)
        if not written.held and spare[1] and cfg.dataset.validation:
            validation.write(spare[1].encode())
            written.held = 1
    out["probes"].write_bytes(
        b"".join(
            orjson.dumps(probe.record(), option=orjson.OPT_APPEND_NEWLINE)
            for probe in resolved.probes
        )
    )
    return written


def _add(written: Written, lines: ExampleLines) -> None:
    written.held += lines.held
    written.examples += lines.examples
    written.trained += lines.trained
    for kind, counts in lines.kinds.items():
        totals = written.kinds.setdefault(kind, [0, 0])
        written.kinds[kind] = [a + b for a, b in zip(totals, counts, strict=True)]


def _check_coverage(files: dict[str, dict[str, int]]) -> None:
    """Every token of the text that is to be taught was seen among the trained ids of an example, or the stage fails."""
    lacking = [
        f"{path}: {f['taught']} of {f['tokens']} tokens"
        for path, f in files.items()
        if f["taught"] < f["tokens"]
    ]
    if lacking:
        raise StageFailed(
            "not everything in the corpus is taught:\n  " + "\n  ".join(lacking[:SHOWN]),
            fix="report this as a bug, with the first of these files",
        )


def _general(
    cfg: Config,
    store: Store,
    others: int,
    basis: str,
    resolved: Resolved,
    scale: Scale,
    workers: Workers,
    models: Models,
    report: Reporter,
) -> Iterator[tuple[str, ExampleLines]]:
    """Examples of no document beside the `others`: who the model is, and general questions against forgetting. Their
    lines with their keys; none for a style that asks nothing.

    Their number is rounded, so that a small change of the corpus leaves them as they are, and each chunk stands for
    itself, so that more of them are only more chunks.
    """
    share, asked = cfg.dataset.replay, [probe.question for probe in resolved.probes]
    total = int(float(f"{others * share / (1 - share) if share < 1 else others:.3g}"))
    sizes = (
        [*([CHUNK] * (total // CHUNK)), total % CHUNK] if style_of(cfg.dataset.style).asks else []
    )
    own = stable_hash(
        basis,
        "general",
        cfg.dataset.identity,
        cfg.deploy.system,
        asked,
        models.base.identity if models.base else None,
    )
    keys = [stable_hash(own, i, size) for i, size in enumerate(sizes)]
    stored_keys = store.has("lines", keys)
    missing, stream, guard = (
        [key for key in keys if key not in stored_keys],
        pairs(total, cfg.dataset.seed),
        Guard(asked),
    )

    def examples() -> Iterator[tuple[list[Example]]]:
        for i, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            some = list(islice(stream, size))
            if key not in stored_keys:
                identities = (
                    identity(cfg.deploy.system, cfg.dataset.identity, scale, report)
                    if i == 0
                    else []
                )
                yield (
                    identities
                    + replay(some, max(0, hand_written() - i * CHUNK), cfg, guard, models, report),
                )

    results: Iterator[ExampleLines] = (
        workers.map(general, examples(), len(missing)) if missing else iter(())
    )
    return _kept(store, keys, stored_keys, results)


def general(context: WorkerContext, examples: list[Example]) -> ExampleLines:
    counted = zip(
        examples, context.scale.counts([example.answer for example in examples]), strict=True
    )
    return lines_of(
        [
            (example, tokens + 1)
            for example, tokens in counted
            if example.kind == "identity" or context.scale.fits(example, tokens + 1)
        ]
    )


def identity(system: str | None, count: int, scale: Scale, report: Reporter) -> list[Example]:
    """'Who are you?' in many wordings, answered by the system prompt's first sentence; half of them without it."""
    answer = first_person(system) if system else None
    if system and not answer and count:
        report.info(
            "deploy.system does not begin with 'You are …': no identity examples are made from it"
        )
    if not system or not answer:
        return []
    data = system.encode()
    examples = []
    for i, prompt in enumerate(phrasings.IDENTITY[:count]):
        shown = system if i % 2 else None
        example = Example(
            "identity", prompt, answer, "deploy.system", (0, len(data)), sha256_bytes(data), shown
        )
        # A system prompt longer than a training row cannot be shown; who the model is, is taught all the same.
        fits = scale.fits(example, scale.encoder.count(answer) + 1)
        examples.append(example if fits else example._replace(system=None))
    return examples


def replay(
    asked: Sequence[tuple[str, str]],
    open_ended: int,
    cfg: Config,
    guard: Guard,
    models: Models,
    report: Reporter,
) -> list[Example]:
    """General questions. With the base at hand the `open_ended` ones, which come first, get its own answers, which move
    it least; tasks with one right answer keep theirs."""
    written, computed = asked[:open_ended], asked[open_ended:]
    if models.base and models.cache and written:
        from phoenix_forge.teacher import Cache, self_answers

        with Cache(models.cache) as cache:
            own = self_answers(
                [question for question, _ in written],
                models.base,
                cache,
                cfg.dataset.teacher_workers,
                report,
            )
        written = [(question, own[question]) for question, _ in written if question in own]
    every = [*written, *computed]
    digest = sha256_bytes(orjson.dumps(every))
    leaks = guard.leaks([question for question, _ in every]).tolist()
    return [
        Example("replay", question, answer, GENERAL, (0, 0), digest)
        for (question, answer), leaking in zip(every, leaks, strict=True)
        if not leaking
    ]


# -- telling -----------------------------------------------------------------------------------------------------------


def _metrics(heads: Sequence[Head], resolved: Resolved, written: Written) -> dict:
    documents = [head for head in heads if head.skipped is None]
    to_teach = sum(f["tokens"] for f in written.files.values())
    taught = sum(f["taught"] for f in written.files.values())
    return {
        "documents": len(documents) - len(written.lost),
        "sections": sum(len(head.tokens) for head in documents),
        "examples": written.examples,
        "source_tokens": sum(sum(head.tokens) for head in documents),
        "trained_tokens": written.trained,
        "coverage": taught / to_teach if to_teach else 0.0,
        "facts": sum(f["facts"] for f in written.files.values()),
        "duplicates": len(resolved.repeats),
        "redactions": sum(len(head.redactions) for head in heads),
    }


def _card(
    cfg: Config,
    teacher: Teacher | None,
    extracts: Extracts,
    skipped: Iterable[Skipped],
    resolved: Resolved,
    written: Written,
    metrics: dict,
    out: dict[str, Path],
    digest: Callable[[Path], str],
) -> dict:
    """What the dataset is made of, and what was left out and why."""
    heads, order = extracts.heads, ["text", *(view.kind for view in VIEWS)]

    def place(document: int, part: int) -> dict:
        return {
            "path": heads[document].path,
            "span": list(extracts.extract(document).parts[part].span),
        }

    def position(kind: str) -> tuple[int, str]:
        return (order.index(kind) if kind in order else len(order), kind)

    ordered = {kind: written.kinds[kind] for kind in sorted(written.kinds, key=position)}
    return {
        **metrics,
        "name": cfg.model.name,
        "style": cfg.dataset.style,
        "amplification": cfg.dataset.amplification,
        "teacher": teacher.name if teacher else "none",
        "kinds": {kind: examples for kind, (examples, _) in ordered.items()},
        "kind_tokens": {kind: tokens for kind, (_, tokens) in ordered.items()},
        "splits": {
            "train": written.examples,
            "validation": written.held,
            "probes": len(resolved.probes),
        },
        "files": {
            role: {"sha256": digest(out[role]), "bytes": out[role].stat().st_size}
            for role in ("dataset", "validation", "probes")
        },
        "coverage_by_file": written.files,
        "little_asked": _little_asked(written.files),
        "probe_kinds": dict(Counter(probe.kind for probe in resolved.probes)),
        "duplicated": [
            {**place(r.document, r.part), "of": place(r.of, r.of_part), "exact": r.exact}
            for r in resolved.repeats
        ],
        "held_out": [heads[i].path for i in resolved.held_out],
        "linked": sum(len(resolution.links_to) for resolution in resolved.resolutions),
        "redacted": [
            {"path": head.path, "line": line, "kind": kind}
            for head in heads
            for line, kind in head.redactions
        ],
        "skipped": [{"path": s.path, "reason": s.reason} for s in skipped]
        + [{"path": head.path, "reason": head.skipped} for head in heads if head.skipped],
        "notes": [{"path": head.path, "note": note} for head in heads for note in head.notes],
        "held": [
            {"path": head.path, "kind": kind, "total": total, "read": read}
            for head in heads
            for kind, total, read in head.held
        ],
    }


def _little_asked(files: dict[str, dict[str, int]]) -> list[str]:
    """Files of some length that gave few facts to ask for a thousand tokens, the poorest first."""
    rates = {
        path: f["facts"] * 1000 / f["tokens"] for path, f in files.items() if f["tokens"] >= LONG
    }
    return sorted(
        (path for path, rate in rates.items() if rate < FEW), key=lambda path: (rates[path], path)
    )


def _forget(store: Store, extracts: Sequence[str], lines: Sequence[str]) -> None:
    """Drops what this corpus does not use."""
    for table, keys in (("extract", extracts), ("record", extracts), ("lines", lines)):
        store.keep(table, keys)
