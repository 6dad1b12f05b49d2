"""Examples to look at before training: some of each kind, each beside the passage of its source file."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from phoenix_forge.chat.encode import Encoder, Segment, segments
from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import sha256_bytes
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.walk import File
from phoenix_forge.errors import UsageError
from phoenix_forge.examples import formats
from phoenix_forge.examples.scripts import FUNCTION_WORDS

PACKAGE = Path(__file__).parents[1]  # replay examples come from a file that is shipped with Forge
SYSTEM = "deploy.system"  # what identity examples name as their path: a setting, not a file
UNKNOWN = "example"  # the kind of an example that names none

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceText:
    """What a source file holds at an example's span, secrets redacted, or in `note` why that cannot be shown.

    `shared` are (start, end) characters of `text` whose words occur in the answer in the same order.
    """

    text: str
    shared: tuple[tuple[int, int], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One example: `line` in the dataset, span in bytes, the rendered conversation, its tokens and those trained."""

    line: int
    kind: str
    id: str | None
    path: str | None
    span: tuple[int, int] | None
    passage: SourceText
    conversation: tuple[Segment, ...]
    tokens: int
    trained: int

    def record(self) -> dict[str, Any]:
        """For --json."""
        return {
            "line": self.line, "kind": self.kind, "id": self.id, "path": self.path, "span": self.span,
            "passage": self.passage.text, "shared": self.passage.shared, "note": self.passage.note,
            "conversation": [{"text": part.text, "trained": part.trained} for part in self.conversation],
            "tokens": self.tokens, "trained": self.trained,
        }  # fmt: skip


def preview(path: Path, count: int, seed: int, encoder: Encoder, root: Path) -> list[Shown]:
    """`count` examples of a dataset, one of each kind before a second of any; the same for the same seed and content.

    Sources are looked for below the workspace `root`. Raises UsageError where there is no dataset; lines that cannot be
    trained are left out, as `forge validate` is what tells of them.
    """
    if path.is_file() and formats.has_thoughts(path):
        encoder = encoder.thinking()
    sampler: Sampler[formats.Line] = Sampler(count, seed)
    for line in formats.lines(path):
        if line.messages and not formats.problems(line.messages):
            record = line.record or {}
            sampler.offer(kind_of(record), str(record.get("id") or line.messages), line)
    return [_shown(path, line, encoder, root) for _, line in sampler.spread(count)]


def kind_of(record: dict[str, Any]) -> str:
    kind = record.get("kind")
    return kind if isinstance(kind, str) and kind else UNKNOWN


class Sampler(Generic[T]):
    """Keeps the same few items of each kind for the same seed, in whatever order they come."""

    def __init__(self, each: int, seed: int) -> None:
        self.each, self.seed = each, seed
        self._kept: dict[str, list[tuple[int, int, T]]] = defaultdict(list)
        self._offered = 0

    def offer(self, kind: str, key: str, item: T) -> None:
        self._offered += 1
        rank = -self._rank(key)
        kept = self._kept[kind]
        if len(kept) < self.each:
            heapq.heappush(kept, (rank, -self._offered, item))
        elif rank > kept[0][0]:
            heapq.heapreplace(kept, (rank, -self._offered, item))

    def kinds(self) -> dict[str, list[T]]:
        """What was kept of each kind, in the order of the kinds' names."""
        return {
            kind: [
                item for _, _, item in sorted(self._kept[kind], reverse=True, key=lambda e: e[:2])
            ]
            for kind in sorted(self._kept)
        }

    def spread(self, count: int) -> list[tuple[str, T]]:
        """`count` items: one of each kind, then a second of each, and so on; which kinds come first is random."""
        kinds = self.kinds()
        order = sorted(kinds, key=self._rank)
        turns = (
            (kind, kinds[kind][i])
            for i in range(self.each)
            for kind in order
            if i < len(kinds[kind])
        )
        chosen = [turn for turn, _ in zip(turns, range(count), strict=False)]
        return sorted(chosen, key=lambda turn: turn[0])

    def _rank(self, key: str) -> int:
        text = f"{self.seed}\x00{key}".encode(errors="surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def _shown(path: Path, line: formats.Line, encoder: Encoder, root: Path) -> Shown:
    messages, record = line.messages or [], line.record or {}
    source = formats.provenance(record) or {}
    answer = "\n".join(message["content"] for message in messages if message["role"] == "assistant")
    try:
        encoded = encoder.conversation(messages)
    except UsageError as error:
        raise UsageError(f"{path}:{line.number}: {error.message}", fix=error.fix) from None
    name, identity = source.get("path"), record.get("id")
    return Shown(
        line.number,
        kind_of(record),
        identity if isinstance(identity, str) else None,
        name if isinstance(name, str) else None,
        formats.span_of(source),
        passage(source, root, answer, messages),
        tuple(part for part in segments(encoder.template, messages, encoder.stop) if part.text),
        len(encoded.ids),
        sum(encoded.trained),
    )


def passage(source: dict[str, Any], root: Path, answer: str, messages: list[Message]) -> SourceText:
    """The bytes a source names, as text. Nothing is guessed: a file that is not the one the example was made from is
    said to be another."""
    name, span = source.get("path"), formats.span_of(source)
    if not isinstance(name, str) or span is None:
        return SourceText("", note="the example names no source")
    if name == SYSTEM:
        system, _ = formats.split_system(messages)
        return SourceText(system or "", note="the system prompt in the config")
    file = _find(name, root)
    if file is None:
        return SourceText("", note=f"{name} is not in the workspace")
    data = file.read_bytes()
    if sha256_bytes(data) != source.get("sha256"):
        return SourceText(
            "", note=f"{name} has changed since the example was made (its SHA-256 differs)"
        )
    loaded = load(File(file, name, file.name), "redact", data)
    if loaded.document is None:
        return SourceText("", note=f"{name} cannot be read any more: {loaded.skipped}")
    start, end = np.searchsorted(loaded.document.offsets, span, side="left").tolist()
    text = loaded.document.text[start:end]
    return SourceText(text, tuple(shared(text, answer)))


def _find(name: str, root: Path) -> Path | None:
    """A file of the workspace, or one shipped with Forge. Paths may lead out: a corpus may lie elsewhere, and what is
    read must have the digest that the example names."""
    return next((base / name for base in (root, PACKAGE.parent) if (base / name).is_file()), None)


def shared(text: str, answer: str) -> Iterator[tuple[int, int]]:
    """Runs of two or more words of a text that stand together in the answer too, wherever; of a one-word answer, it.

    Case and punctuation do not count. A run must hold more than function words: "of the" is in everything.
    """
    words = list(re.finditer(r"\w+", text))
    said = [word[0].lower() for word in re.finditer(r"\w+", answer)]
    if len(said) == 1:
        yield from (word.span() for word in words if word[0].lower() == said[0])
        return
    pairs = set(pairwise(said))
    run: list[re.Match[str]] = []
    for word in [*words, None]:
        if word is not None and run and (run[-1][0].lower(), word[0].lower()) in pairs:
            run.append(word)
            continue
        if len(run) > 1 and any(member[0].lower() not in FUNCTION_WORDS for member in run):
            yield run[0].start(), run[-1].end()
        run = [word] if word is not None else []
