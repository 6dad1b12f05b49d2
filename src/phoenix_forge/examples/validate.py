"""Checks a dataset of any known format, line by line: what would make training fail or suffer, and where."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_forge.chat.encode import Encoder, learned, segments
from phoenix_forge.chat.template import Message, thought
from phoenix_forge.core.report import Reporter, Silent
from phoenix_forge.examples import formats
from phoenix_forge.examples.scripts import OTHER, language, script
from phoenix_forge.examples.tokens import BATCH, Tally

LISTED = 200  # findings of one kind kept in the result; the counts are of all
NAMED = 5  # line numbers that a finding on many lines names
PERCENTILES = (0, 5, 25, 50, 75, 95, 99, 100)
EDGES = (
    0,
    16,
    32,
    48,
    64,
    96,
    128,
    192,
    256,
    384,
    512,
    768,
    1024,
    1536,
    2048,
    3072,
    4096,
    6144,
    8192,
    16384,
    32768,
)
SHA256 = re.compile(r"[0-9a-f]{64}")


def validate(
    path: Path, *, encoder: Encoder | None, max_length: int | None, report: Reporter | None = None
) -> dict:
    """Counts, token figures and findings of a dataset; of each example some 40 bytes are held.

    Keys: `lines` and `valid_json` (lines that parse), `examples` (lines that can be trained), `errors`, `warnings`,
    `found` (findings by kind), `kinds` and `languages` (examples by kind; share of examples by language or script),
    `tokens` ({"p50": …}), `total_tokens`, `truncated` (examples above `max_length`), `trained_share` (of all tokens),
    `histogram` ([{from, below, examples}], by tokens), these five None without an encoder, and `findings` ([{line,
    level, kind, message}], the first 200 of each kind, by line). Raises UsageError where there is no file.
    """
    if encoder and path.is_file() and formats.has_thoughts(path):
        encoder = encoder.thinking()
    check = _Check(encoder, max_length)
    progress = report or Silent()
    rest = formats.lines(path)
    while batch := list(islice(rest, BATCH)):
        check.batch(batch)
        progress.progress("checking", check.count, None, "examples")
    check.finish()
    progress.progress("checking", check.count, check.count, "examples")
    return check.result()


class _Check:
    def __init__(self, encoder: Encoder | None, max_length: int | None) -> None:
        self.encoder, self.max_length = encoder, max_length
        self.tally = Tally(encoder) if encoder else None
        self.count = self.parsed = self.trained = self.truncated = 0
        self.found: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.findings: list[dict] = []
        self.kinds: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.scripts: dict[str, array[int]] = {}  # lines of each script's examples
        self.unsourced = array("Q")
        self.unthought = array(
            "Q"
        )  # lines with answers that are context, for their thoughts are left out
        self.tokens = array("I")
        self.lines = array("Q")  # of the examples, in order, as the digests are
        self.wholes = bytearray()
        self.questions = bytearray()

    def note(self, line: int, level: str, kind: str, message: str) -> None:
        self.levels[level] += 1
        self.found[kind] += 1
        if self.found[kind] <= LISTED:
            self.findings.append({"line": line, "level": level, "kind": kind, "message": message})

    def batch(self, lines: Sequence[formats.Line]) -> None:
        good: list[tuple[int, list[Message]]] = []
        for line in lines:
            self.count += 1
            self.parsed += line.json
            messages = self._sound(line)
            if messages is not None:
                good.append((line.number, messages))
                self._example(line.number, messages, line.record or {})
        if self.tally:
            self._tokens(good, self.tally)

    def _sound(self, line: formats.Line) -> list[Message] | None:
        """The conversation of a line that can be trained."""
        if line.messages is None:
            self.note(line.number, "error", "schema" if line.json else "syntax", line.error or "")
            return None
        wrong = formats.problems(line.messages)
        for message in wrong:
            self.note(line.number, "error", "turns", message)
        return None if wrong else line.messages

    def _example(self, number: int, messages: list[Message], record: dict[str, Any]) -> None:
        self.lines.append(number)
        self.wholes += _digest(messages)
        self.questions += _digest(messages[:-1])
        kind = record.get("kind")
        if isinstance(kind, str):
            self.kinds[kind] += 1
        if passed := [i for i, message in enumerate(messages, 1) if message.get("weight") == "0"]:
            self.note(
                number, "warning", "weight", f"turn {passed[0]} is not learned: its weight is 0"
            )
        self._provenance(number, record)
        words = " ".join(
            [message["content"][:400] for message in messages if message["role"] != "tool"][-2:]
        )
        written = script(words)
        self.languages[language(words, written)] += 1
        self.scripts.setdefault(written, array("Q")).append(number)

    def _provenance(self, number: int, record: dict[str, Any]) -> None:
        source = formats.provenance(record)
        if source is None:
            if "messages" in record and ("kind" in record or "id" in record):  # our own format
                self.unsourced.append(number)
            return
        if "span" not in source and "sha256" not in source:
            return  # somebody else's notion of a source
        wrong = [name for name, good in (
            ("path", isinstance(source.get("path"), str) and bool(source["path"])),
            ("span", formats.span_of(source) is not None),
            ("sha256", isinstance(source.get("sha256"), str) and bool(SHA256.fullmatch(source["sha256"]))),
        ) if not good]  # fmt: skip
        if wrong:
            said = ", ".join(f"{name} {source.get(name)!r:.80}" for name in wrong)
            self.note(number, "warning", "provenance", f"source cannot be traced: {said}")

    def _tokens(self, examples: Sequence[tuple[int, list[Message]]], tally: Tally) -> None:
        for (number, messages), count in zip(
            examples, tally.counts([m for _, m in examples]), strict=True
        ):
            if count.error:
                self.note(number, "error", "template", count.error)
                continue
            self._control(number, messages, tally)
            self._thoughts(number, messages, tally.encoder)
            self.tokens.append(count.tokens)
            self.trained += count.trained
            if self.max_length and count.tokens > self.max_length:
                self.truncated += 1
                message = f"{count.tokens} tokens do not fit train.max_length {self.max_length}"
                self.note(number, "error", "truncated", message)

    def _thoughts(self, number: int, messages: list[Message], encoder: Encoder) -> None:
        answers = [message for message in messages if message["role"] == "assistant"]
        if not any(map(thought, answers[:-1])):
            return
        trained = sum(cut.trained for cut in segments(encoder.template, messages, encoder.stop))
        if trained < sum(map(learned, answers)):
            self.unthought.append(number)

    def _control(self, number: int, messages: list[Message], tally: Tally) -> None:
        for i, message in enumerate(messages):
            token = next(filter(None, map(tally.special.search, formats.texts(message))), None)
            if token:
                said = f"turn {i + 1} ({message['role']}) holds the control token {token[0]}: it would act as one"
                self.note(number, "error", "control", said)

    # -- what only the whole file tells --------------------------------------------------------------------------------

    def finish(self) -> None:
        if not self.count:
            self.note(1, "error", "empty", "the file has no lines")
        repeats = dict(_repeats(self.wholes))
        for at, first in repeats.items():
            message = f"the same conversation as line {self.lines[first]}"
            self.note(self.lines[at], "warning", "duplicate", message)
        for at, first in _repeats(self.questions):
            if at not in repeats:
                message = f"the same question as line {self.lines[first]}, with another answer"
                self.note(self.lines[at], "warning", "conflict", message)
        if self.unsourced:
            self._many("provenance", self.unsourced, "name no source")
        if self.unthought:
            self._many(
                "thoughts",
                self.unthought,
                "have answers before the last question whose thoughts the base's "
                "template leaves out: these are context and not learned; split them, one question each",
            )
        self._minorities()

    def _many(self, kind: str, lines: Sequence[int], what: str) -> None:
        listed = ", ".join(str(line) for line in lines[:NAMED]) + (
            ", …" if len(lines) > NAMED else ""
        )
        of = f"{len(lines):,} of {len(self.lines):,} examples"
        self.note(lines[0], "warning", kind, f"{of} {what} (lines {listed})")

    def _minorities(self) -> None:
        """Examples in another script than most: a slip in decoding, or text that strayed in."""
        sizes = {name: len(lines) for name, lines in self.scripts.items() if name != OTHER}
        most = max(
            sizes, key=lambda name: sizes[name], default=OTHER
        )  # of equals the one that came first
        for name in sorted(sizes):
            if name != most:
                self._many("script", self.scripts[name], f"are in {name} script, most in {most}")

    def result(self) -> dict:
        ordered = np.sort(np.frombuffer(self.tokens, dtype=np.uint32)).tolist()
        total = sum(ordered)
        known = self.encoder is not None
        return {
            "lines": self.count,
            "valid_json": self.parsed,
            "examples": len(self.lines),
            "errors": self.levels["error"],
            "warnings": self.levels["warning"],
            "found": dict(sorted(self.found.items())),
            "kinds": _by_count(self.kinds),
            "languages": {
                k: round(n / len(self.lines), 4) for k, n in _by_count(self.languages).items()
            },
            "tokens": percentiles(ordered),
            "total_tokens": total if known else None,
            "truncated": self.truncated if known else None,
            "trained_share": round(self.trained / total, 4) if total else None,
            "histogram": histogram(ordered) if known else None,
            "findings": sorted(self.findings, key=lambda finding: finding["line"]),
        }


def percentiles(ordered: Sequence[int]) -> dict[str, int] | None:
    """{"p50": …} of sorted numbers; None of none."""
    if not ordered:
        return None
    return {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in PERCENTILES}


def histogram(lengths: Sequence[int]) -> list[dict[str, int]]:
    """Examples by tokens, from the first bin that has any to the last."""
    top = [*EDGES, max([EDGES[-1] * 2, *(length + 1 for length in lengths)])]
    counts, _ = np.histogram(np.asarray(lengths, dtype=np.int64), bins=top)
    bins = [
        {"from": low, "below": high, "examples": int(count)}
        for (low, high), count in zip(pairwise(top), counts, strict=True)
    ]
    filled = [i for i, one in enumerate(bins) if one["examples"]]
    return bins[filled[0] : filled[-1] + 1] if filled else []


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _digest(messages: Sequence[Message]) -> bytes:
    whole = "\x00".join(
        ["\x01".join([message["role"], *formats.texts(message)]) for message in messages]
    )
    return hashlib.blake2b(whole.encode(errors="surrogatepass"), digest_size=16).digest()


def _repeats(digests: bytearray) -> Iterator[tuple[int, int]]:
    """(place, first place) of every 16-byte digest that came before, in order of place."""
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: equal ones stay in order
    ranked = halves[order]
    again = (
        np.concatenate([[False], (ranked[1:] == ranked[:-1]).all(axis=1)])
        if len(ranked)
        else np.zeros(0, bool)
    )
    starts = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
    places = order[again]
    firsts = order[starts[again]]
    for i in np.argsort(places):
        yield int(places[i]), int(firsts[i])
