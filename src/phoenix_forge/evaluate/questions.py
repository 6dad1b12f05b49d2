"""The questions of an evaluation: read, joined with the passages that answer them, and as many chosen as there is time
for."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from phoenix_forge.core.fsio import read_limited, unread
from phoenix_forge.corpus.index import Index, Passage
from phoenix_forge.errors import UsageError
from phoenix_forge.examples.compare import contained
from phoenix_forge.examples.example import stable_hash

BOM = b"\xef\xbb\xbf"
LIMIT = 256_000_000  # bytes of a file of questions, which is read at once
SHOWN = 30  # problems that an error lists
OWN = "own"  # kind of a question that names none
NEAR = 3  # passages of a changed document that are looked at for an answer
LEFT, UNKNOWN = "passage left the corpus", "path is not in the corpus"
EXAMPLE = '{"question": "…", "answer": "…", "aliases": [], "distractors": ["…", "…", "…"], "path": "docs/a.md"}'


@dataclass(frozen=True)
class Question:
    """`aliases` are right as well, `distractors` wrong. `span` counts bytes of the file at `path`, which had the digest
    `sha256` when the question was made."""

    id: str
    kind: str
    question: str
    answer: str
    aliases: tuple[str, ...]
    distractors: tuple[str, ...]
    path: str | None
    span: tuple[int, int] | None
    sha256: str | None


@dataclass(frozen=True)
class Placed:
    """A question with the passages that answer it, the best first, and where in its document that is (0 to 1).

    The question's path is the document's, as the index has it. Without a path there are no passages and no position.
    """

    question: Question
    passages: tuple[Passage, ...]
    position: float | None


# -- reading -----------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Question]:
    """Reads JSON Lines as a dataset's probes have them, or with as little as question and answer (which an
    instruction dataset calls instruction and output).

    Raises one UsageError with everything that is wrong with the file.
    """
    try:
        data = read_limited(path, LIMIT, fix="ask fewer questions")
    except OSError as error:
        raise UsageError(
            f"the questions {path} cannot be read: {error.strerror}",
            fix=unread(error, path, "--questions FILE.jsonl, one JSON object a line"),
        ) from None
    problems: list[str] = []
    found: list[tuple[int, Question]] = []
    for number, line in enumerate(data.removeprefix(BOM).split(b"\n"), 1):
        if line.strip():
            question, wrong = _question(line)
            problems += [f"line {number}: {what}" for what in wrong]
            found += [(number, question)] if question else []
    problems += _repeats(found)
    if not found and not problems:
        problems.append("it holds no question")
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise UsageError(
            f"the questions {path}:\n  " + "\n  ".join(problems[:SHOWN] + more),
            fix=f"write one object a line, of which only question and answer must be there: {EXAMPLE}",
        )
    return [question for _, question in found]


def _question(line: bytes) -> tuple[Question | None, list[str]]:
    """A line's question, or what is wrong with it."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return None, [f"not JSON: {error}"]
    if not isinstance(record, dict):
        return None, [f"a JSON {type(record).__name__}, not an object"]
    if "instruction" in record:
        record = _instruction_line(record)
    given = {key: value for key, value in record.items() if value is not None}
    wrong = [_unknown(key) for key in given if key not in KEYS]
    wrong += [
        f"{key} {needed}, found {given[key]!r:.80}"
        for key, (needed, good) in KEYS.items()
        if key in given and not good(given[key])
    ]
    wrong += [f"{key} is missing" for key in ("question", "answer") if key not in given]
    wrong = wrong or _contradictions(given)
    return (None, wrong) if wrong else (_made(given), [])


def _instruction_line(record: dict[str, Any]) -> dict[str, Any]:
    """A line of an instruction dataset, whose input is empty, as one of ours."""
    rest = {
        key: value
        for key, value in record.items()
        if key not in ("instruction", "input", "output", "source")
    }
    source = record.get("source")
    return {
        "question": record["instruction"],
        "answer": record.get("output"),
        **rest,
        **(source if isinstance(source, dict) else {}),
    }


def _made(given: dict[str, Any]) -> Question:
    asked, answer = given["question"], given["answer"]
    span = given.get("span")
    return Question(
        given.get("id") or stable_hash(asked, answer)[:16],
        given.get("kind", OWN),
        asked,
        answer,
        tuple(given.get("aliases", ())),
        tuple(given.get("distractors", ())),
        given.get("path"),
        (span[0], span[1]) if span else None,
        given.get("sha256"),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_span(value: object) -> bool:
    return (
        isinstance(value, list)
        and [type(end) for end in value] == [int, int]
        and 0 <= value[0] < value[1] < 2**62
    )


TEXT, TEXTS = ("has to be text", _is_text), ("has to be a list of texts", _are_texts)
KEYS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "id": TEXT,
    "kind": TEXT,
    "question": TEXT,
    "answer": TEXT,
    "aliases": TEXTS,
    "distractors": TEXTS,
    "path": TEXT,
    "span": ("has to be [start, end], bytes of the file", _is_span),
    "sha256": TEXT,
}


def _unknown(key: str) -> str:
    close = get_close_matches(key.lower(), KEYS, 1, 0.6)
    return f"unknown key {key!r:.80}" + (
        f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(KEYS)}"
    )


def _contradictions(given: dict[str, Any]) -> list[str]:
    right = {_folded(text) for text in (given["answer"], *given.get("aliases", ()))}
    wrong = [
        f"distractor {text!r:.80} is the answer, or an alias of it"
        for text in given.get("distractors", ())
        if _folded(text) in right
    ]
    repeated = [
        text for text, n in Counter(map(_folded, given.get("distractors", ()))).items() if n > 1
    ]
    wrong += [f"distractor {text!r:.80} is there more than once" for text in repeated]
    return wrong + (["span without path"] if "span" in given and "path" not in given else [])


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _repeats(found: Sequence[tuple[int, Question]]) -> list[str]:
    """Questions, and ids, that an earlier line has."""
    first: dict[tuple[str, str], int] = {}
    wrong = []
    for number, question in found:
        asked = first.setdefault(("question", _folded(question.question)), number)
        named = first.setdefault(("id", question.id), number)
        if asked != number:
            wrong.append(
                f"line {number}: the question of line {asked} again: {question.question!r:.80}"
            )
        elif named != number:
            wrong.append(f"line {number}: the id of line {named} again: {question.id!r:.80}")
    return wrong


def options(question: Question) -> list[str]:
    """The answer and the distractors, in an order that the id fixes: the right one can stand anywhere."""
    return sorted(
        (question.answer, *question.distractors), key=lambda text: stable_hash(question.id, text)
    )


# -- placing -----------------------------------------------------------------------------------------------------------


def placed(questions: Sequence[Question], index: Index) -> tuple[list[Placed], dict[str, int]]:
    """The questions with their passages, and how many were left out, by reason.

    Where the document has changed since its question was made, the passage has to hold the answer, at its place or
    where the document speaks of the question.
    """
    kept: list[Placed] = []
    left: Counter[str] = Counter()
    for question in questions:
        passages = _passages(question, index) if question.path else []
        if passages:
            kept.append(
                Placed(
                    replace(question, path=passages[0].path),
                    tuple(passages),
                    _position(question.span, passages[0]),
                )
            )
        elif question.path is None:
            kept.append(Placed(question, (), None))
        else:
            left[LEFT if question.sha256 or index.document(question.path) else UNKNOWN] += 1
    return kept, dict(left)


def _passages(question: Question, index: Index) -> list[Passage]:
    """Those that answer a question which names its document."""
    assert question.path is not None
    document = index.document(question.path)
    if document is None:
        return []
    answer_keys = (question.answer, *question.aliases)
    there = index.at(question.path, question.span) if question.span else []
    if there and question.sha256 in (None, document[0]):
        return sorted(there, key=lambda passage: not contained(passage.text, answer_keys))
    near = index.search(question.question, NEAR, within=question.path)
    holding = [
        passage
        for passage in dict.fromkeys((*there, *near))
        if contained(passage.text, answer_keys)
    ]
    if holding or question.span or question.sha256:
        return holding
    return near or index.sections(question.path)


def _position(span: tuple[int, int] | None, passage: Passage) -> float:
    """The middle of the span, where it still is in the passage, else of the passage."""
    start, end = (
        span if span and span[0] < passage.span[1] and span[1] > passage.span[0] else passage.span
    )
    return min(1.0, (start + end) / 2 / passage.document_bytes)


def chosen(placed: Sequence[Placed], count: int, seed: int) -> list[Placed]:
    """At most `count` of the questions: kinds take turns, and documents are asked about as often as they are long.

    Of a smaller count the choice is the beginning of that of a larger one. Each turn takes the question of its kind
    with the least (n + u) / bytes, of which n is how many its document has been asked already and u its fixed random
    number from 0 to 1: one draw a document makes that proportional to size (sequential Poisson sampling, Ohlsson 1998),
    n keeps it so.
    """
    sizes = [one.passages[0].document_bytes for one in placed if one.passages]
    usual = sum(sizes) / len(sizes) if sizes else 1.0
    taken: Counter[str] = Counter()

    def key(i: int) -> tuple[float, str, int]:
        one = placed[i]
        document = one.question.path or one.question.id
        share = int(stable_hash(seed, document)[:13], 16) / 16**13
        size = one.passages[0].document_bytes if one.passages else usual
        return (taken[document] + share) / size, stable_hash(seed, one.question.id), i

    kinds: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for i, one in enumerate(placed):
        kinds[one.question.kind].append(key(i))
    for entries in kinds.values():
        heapq.heapify(entries)
    turns = sorted(kinds, key=lambda kind: stable_hash(seed, kind))
    found: list[Placed] = []
    while turns and len(found) < count:
        kind = turns.pop(0)
        entries = kinds[kind]
        while (now := key(entries[0][2])) > entries[
            0
        ]:  # its document was asked since: keys only grow
            heapq.heapreplace(entries, now)
        one = placed[heapq.heappop(entries)[2]]
        taken[one.question.path or one.question.id] += 1
        found.append(one)
        turns += [kind] if entries else []
    return found
