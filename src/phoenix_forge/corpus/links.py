"""Links between documents: where a document names another file, and which document that is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.readers import READERS

# Every pattern is bounded, so that a line of a megabyte takes no longer than a page of a megabyte.
TOKEN = re.compile(
    r"\\.|(?P<ticks>`+)|!?\[\[(?P<note>[^\[\]\n]{1,300})\]\]|(?P<open>!?\[)|"
    r"(?P<close>\])|(?P<auto><[^<>\s]{1,300}>)|"
    r"<a\s[^<>]{0,300}?\bhref\s{0,5}=\s{0,5}[\"'](?P<href>[^\"'<>]{1,500})[\"']",
    re.DOTALL,
)
DESTINATION = re.compile(
    r"\(\s{0,50}(?:<(?P<angled>[^<>\n]{0,1000})>|(?P<bare>[^\s()<>]{1,1000}"
    r"(?:\([^\s()]{0,300}\)[^\s()]{0,300}){0,9}))"
    r"(?:\s{1,50}(?:\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'|\([^()\n]{0,500}\)))?\s{0,50}\)"
)
LABEL = re.compile(r"\[([^\[\]]{0,300})\]")
DEFINITION = re.compile(
    r"^ {0,3}\[([^\[\]\n]{1,300})\]:[ \t]{0,50}(?:<([^<>\n]{1,1000})>|([^\s<]\S{0,1000}))",
    re.MULTILINE,
)
RST = re.compile(
    r"``(?P<literal>[^`\n]{1,300})``|(?::(?P<role>[\w+.-]{1,40}):)?`(?P<text>[^`<]{0,300})"
    r"(?:<(?P<target>[^`<>]{1,500})>)?`(?P<end>__?)?|"
    r"^\.\.[ \t]{1,20}(?:include|literalinclude)::[ \t]{1,20}(?P<include>\S{1,500})",
    re.MULTILINE,
)
TOCTREE = re.compile(r"^\.\.[ \t]{1,20}toctree::")
ENTRY = re.compile(
    r"^[ \t]{1,20}(?!:)(?:(?P<text>[^<\n]{1,300}?)[ \t]{0,20}<(?P<titled>[^<>\n]{1,500})>|"
    r"(?P<target>\S{1,500}))[ \t]*\r?$",
    re.MULTILINE,
)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,40}:|//|[#?]")
PATH = re.compile(r"[\w.@~+-]+(?:/[\w.@~+-]+)*")
LONG = 1000  # characters of a link's text that are looked at
ANYWHERE = "*/"  # before the name of a note, which may lie in any folder
TRIED = ("", ".md", ".rst", "/README.md", "/index.md", "/README.rst", "/index.rst", "/index.html")


@dataclass(frozen=True, slots=True)
class Link:
    """Characters `start` to `end` of the document name the file `target`, a path from the corpus root.

    A note that Obsidian finds by its name alone has `*/` before it, for any folder.
    A path in backticks can be meant from its document's folder or from the root: it gives a link for each, in that
    order, with the same span.
    """

    start: int
    end: int
    text: str
    target: str


def links(document: Document) -> list[Link]:
    """Links of a document to other files, in order. Whether the files exist is for `resolved` to say."""
    reader = READERS.get(PurePosixPath(document.name).suffix.lower())
    find = FINDERS.get(reader.module) if reader else None
    return list(dict.fromkeys(find(document))) if find else []


def resolve(target: str, paths: set[str]) -> str | None:
    """The document that a target names: itself, without its suffix, or as a folder."""
    return next(
        (name for ending in TRIED if (name := (target + ending).lstrip("/")) in paths), None
    )


def resolved(
    links: Sequence[Link], paths: set[str], notes: Notes | None = None
) -> list[tuple[Link, str]]:
    """The links that lead to a known document, with its name; one a place."""
    notes = notes or Notes(paths)
    targets: dict[tuple[int, int], tuple[Link, str]] = {}
    for link in links:
        name = (
            notes.find(link.target)
            if link.target.startswith(ANYWHERE)
            else resolve(link.target, paths)
        )
        if name is not None:
            targets.setdefault((link.start, link.end), (link, name))
    return list(targets.values())


def graph(
    documents: Iterable[tuple[str, Sequence[Link]]], paths: set[str]
) -> Iterator[tuple[str, list[str]]]:
    """Each document with the other documents, of those at `paths`, that it links to, in the order it names them."""
    notes = Notes(paths)
    for name, out in documents:
        yield name, list(dict.fromkeys(to for _, to in resolved(out, paths, notes) if to != name))


class Notes:
    """Documents by their names without folder and suffix, whatever their case; made when the first one is sought."""

    def __init__(self, paths: set[str]) -> None:
        self.known = paths
        self.named: dict[str, str] | None = None

    def find(self, target: str) -> str | None:
        """Of several notes of that name the one that lies highest, then the first by its path, as Obsidian has it."""
        if self.named is None:
            ordered = sorted(self.known, key=lambda name: (name.count("/"), name), reverse=True)
            self.named = {PurePosixPath(name).stem.casefold(): name for name in ordered}
        return self.named.get(target.removeprefix(ANYWHERE).casefold())


def normalised(target: str, folder: PurePosixPath) -> str | None:
    """A path from the corpus root; None for what is not a file in the corpus: addresses, anchors, places above it."""
    target = target.strip()
    if not target or SCHEME.match(target):
        return None
    path = unquote(re.split(r"[#?]", target, maxsplit=1)[0])
    parts: list[str] = (
        [] if path.startswith("/") else [part for part in folder.parts if part != "."]
    )
    for part in path.split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) if parts and path.isprintable() else None


def _link(document: Document, start: int, end: int, text: str, target: str) -> Iterator[Link]:
    path = normalised(target, PurePosixPath(document.name).parent)
    if path and path != document.name:
        yield Link(start, end, " ".join(text.split()), path)


def _named(document: Document, start: int, end: int, text: str) -> Iterator[Link]:
    """A path in backticks, where it ends like a document's."""
    text = text.strip()
    if (
        PATH.fullmatch(text)
        and PurePosixPath(text).suffix.lower() in READERS
        and PurePosixPath(text).suffix
    ):
        yield from _link(document, start, end, text, text)
        if not text.startswith(("./", "../")):
            yield from _link(document, start, end, text, "/" + text)


# -- Markdown ----------------------------------------------------------------------------------------------------------


def _markdown(document: Document) -> Iterator[Link]:
    text = document.text
    if "[" not in text and "`" not in text and "<" not in text:
        return
    defined = (
        {_label(match[1]): match[2] or match[3] for match in DEFINITION.finditer(text)}
        if "]:" in text
        else {}
    )
    for block in document.blocks:
        if block.kind not in ("code", "front_matter"):
            yield from _inline(document, block.start, block.end, defined)


def _inline(document: Document, start: int, end: int, defined: dict[str, str]) -> Iterator[Link]:
    text = document.text
    tokens = list(TOKEN.finditer(text, start, end))
    closing = _closing_ticks(tokens)
    opened: list[tuple[int, bool]] = []  # (character after the bracket, whether it opens an image)
    after = start  # characters before are part of a code span or of a link's target
    for i, token in enumerate(tokens):
        if token.start() < after:
            continue
        if token["ticks"] and i in closing:
            last = closing[i]
            after = last.end()
            yield from _named(
                document,
                token.start(),
                after,
                text[token.end() : min(last.start(), token.end() + LONG)],
            )
        elif token["note"]:
            after = token.end()
            yield from _note(document, token.start(), after, token["note"])
        elif token["open"]:
            opened.append((token.end(), token["open"] == "!["))
        elif token["close"] and opened:
            inner, image = opened.pop()
            label = text[inner : token.start()] if token.start() - inner <= LONG else ""
            to, after = _target(text, token.end(), end, label, defined)
            if to and not image:
                yield from _link(document, inner - 1, after, label, to)
        elif token["auto"] and PurePosixPath(token["auto"][1:-1]).suffix.lower() in READERS:
            yield from _named(document, token.start(), token.end(), token["auto"][1:-1])
        elif token["href"]:
            yield from _link(document, token.start(), token.end(), "", token["href"])


def _note(document: Document, start: int, end: int, inner: str) -> Iterator[Link]:
    """`[[folder/Note#part|words]]`, from the note's folder or the root, or the note of that name wherever it lies."""
    target, _, words = inner.partition("|")
    target = target.partition("#")[0].strip().removesuffix(".md")
    label = words.strip() or target
    if not target or not PurePosixPath(target).name:
        return
    yield from _link(document, start, end, label, target)
    yield from _link(document, start, end, label, f"/{target}")
    if target.isprintable() and ".." not in target:
        yield Link(start, end, " ".join(label.split()), f"{ANYWHERE}{PurePosixPath(target).name}")


def _target(
    text: str, at: int, end: int, words: str, defined: dict[str, str]
) -> tuple[str | None, int]:
    """Where a bracketed text leads, and the character after the link."""
    if text.startswith("(", at) and (match := DESTINATION.match(text, at, end)):
        return match["angled"] or match["bare"], match.end()
    if not defined:
        return None, at
    label = LABEL.match(text, at, end) if text.startswith("[", at) else None
    to = defined.get(_label((label[1] if label else "") or words))
    return (to, label.end() if label else at) if to and not text.startswith(":", at) else (None, at)


def _closing_ticks(tokens: list[re.Match[str]]) -> dict[int, re.Match[str]]:
    """Index of each run of backticks → the next run of the same length, which closes it."""
    following: dict[int, re.Match[str]] = {}
    runs: dict[int, re.Match[str]] = {}
    for i in range(len(tokens) - 1, -1, -1):
        if ticks := tokens[i]["ticks"]:
            if len(ticks) in following:
                runs[i] = following[len(ticks)]
            following[len(ticks)] = tokens[i]
    return runs


def _label(text: str) -> str:
    return " ".join(text.split()).casefold()


# -- reStructuredText --------------------------------------------------------------------------------------------------


def _rst(document: Document) -> Iterator[Link]:
    text = document.text
    for block in document.blocks:
        if TOCTREE.match(text[block.start : block.start + 60]):
            for entry in ENTRY.finditer(text, block.start, block.end):
                target = entry["titled"] or entry["target"]
                yield from _link(document, entry.start(), entry.end(), entry["text"] or "", target)
        for match in RST.finditer(text, block.start, block.end):
            span = match.span()
            if match["include"]:
                yield from _link(document, *span, "", match["include"])
            elif match["literal"]:
                yield from _named(document, *span, match["literal"])
            elif match["role"] in ("doc", "download") or (
                match["target"] and match["end"] and not match["role"]
            ):
                yield from _link(document, *span, match["text"], match["target"] or match["text"])


FINDERS: dict[str, Callable[[Document], Iterator[Link]]] = {
    "markdown": _markdown,
    "html": _markdown,
    "notebook": _markdown,
    "docx": _markdown,
    "pdf": _markdown,
    "rst": _rst,
    "mdx": _markdown,
    "latex": _markdown,
    "asciidoc": _markdown,
    "org": _markdown,
}
