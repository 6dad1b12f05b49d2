"""Checks any JSONL dataset, line by line: what would make training fail or suffer, and where."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path

from forge.chat.encode import Encoder
from forge.chat.template import Message
from forge.dataset import formats
from forge.errors import UsageError

LISTED = 200  # findings kept in the result; the counts are of all
PERCENTILES = (0, 5, 25, 50, 75, 95, 99, 100)


def validate(path: Path, *, encoder: Encoder | None, max_length: int | None) -> dict:
    """Counts, token figures and findings of a dataset of any known format; memory does not grow with its texts.

    Keys: `lines` and `valid_json` (lines that parse), `examples` (lines that can be trained), `errors`, `warnings`,
    `tokens` ({"p50": …}), `total_tokens`, `truncated` (examples above `max_length`), `trained_share` (of all tokens),
    these four None without an encoder, and `findings` ([{line, level, kind, message}], the first 200).
    Raises UsageError where there is no file.
    """
    check = _Check(encoder, max_length)
    for line in formats.lines(path):
        check.line(line)
    if not check.count:
        check.note(1, "error", "empty", "the file has no lines")
    return check.result()


class _Check:
    def __init__(self, encoder: Encoder | None, max_length: int | None) -> None:
        self.encoder, self.max_length = encoder, max_length
        self.count = self.parsed = self.good = self.trained = self.truncated = 0
        self.levels = {"error": 0, "warning": 0}
        self.findings: list[dict] = []
        self.tokens = array("I")
        self.seen: dict[bytes, int] = {}  # 16-byte digest of a conversation → its line

    def note(self, line: int, level: str, kind: str, message: str) -> None:
        self.levels[level] += 1
        if len(self.findings) < LISTED:
            self.findings.append({"line": line, "level": level, "kind": kind, "message": message})

    def line(self, line: formats.Line) -> None:
        self.count += 1
        self.parsed += line.json
        if line.messages is None:
            self.note(line.number, "error", "schema" if line.json else "syntax", line.error or "")
            return
        wrong = formats.problems(line.messages)
        for message in wrong:
            self.note(line.number, "error", "turns", message)
        if wrong:
            return
        self.good += 1
        self._duplicate(line.number, line.messages)
        if self.encoder:
            self._encode(line.number, line.messages, self.encoder)

    def _duplicate(self, number: int, messages: list[Message]) -> None:
        whole = "\x00".join(f"{message['role']}\x01{message['content']}" for message in messages)
        digest = hashlib.blake2b(whole.encode(errors="surrogatepass"), digest_size=16).digest()
        first = self.seen.setdefault(digest, number)
        if first != number:
            self.note(number, "warning", "duplicate", f"the same conversation as line {first}")

    def _encode(self, number: int, messages: list[Message], encoder: Encoder) -> None:
        try:
            encoded = encoder.conversation(messages)
        except UsageError as error:
            self.note(number, "error", "template", error.message)
            return
        self.tokens.append(len(encoded.ids))
        self.trained += sum(encoded.trained)
        if self.max_length and len(encoded.ids) > self.max_length:
            self.truncated += 1
            self.note(
                number, "error", "truncated", f"{len(encoded.ids)} tokens do not fit train.max_length {self.max_length}"
            )

    def result(self) -> dict:
        ordered = sorted(self.tokens)
        total = sum(ordered)
        known = self.encoder is not None
        return {
            "lines": self.count,
            "valid_json": self.parsed,
            "examples": self.good,
            "errors": self.levels["error"],
            "warnings": self.levels["warning"],
            "tokens": {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in PERCENTILES}
            if ordered
            else None,
            "total_tokens": total if known else None,
            "truncated": self.truncated if known else None,
            "trained_share": round(self.trained / total, 4) if total else None,
            "findings": self.findings,
        }
