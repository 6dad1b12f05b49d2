"""What of reStructuredText nobody sees on the page: comments, targets, settings, and the names of roles and directives.

Roles and directives: https://docutils.sourceforge.io/docs/ref/rst/ and https://www.sphinx-doc.org/en/master/usage/
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Generator, Iterator
from itertools import accumulate, chain

from phoenix_forge.corpus.document import Cut
from phoenix_forge.corpus.readers.lines import starts

EXPLICIT = re.compile(r"\.\.(?:[ \t]+|$)(?P<rest>.*)$")
DIRECTIVE = re.compile(
    r"(?P<substitution>\|[^|]+\|[ \t]+)?(?P<name>[\w.:+-]+?)[ \t]*::(?:[ \t]+(?P<argument>.*))?$"
)
TARGET = re.compile(r"(?:_.+:|__:)(?:\s|$)")
NOTE = re.compile(r"\[[^\]]+\]\s")
OPTION = re.compile(r":[\w-]+:(?:\s|$)")
ROLE = re.compile(r"(?<![\w`:]):(?P<role>(?:[\w+.-]+:)*[\w+.-]+):`(?P<body>[^`]{1,500})`")
TITLED = re.compile(r"(?P<said>.*?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)
# Fields at the top that only Sphinx reads, and texts that a page gives names to.
SETTINGS = re.compile(
    r"\A(?:\s*\n)?(?::(?:tocdepth|orphan|nocomments|nosearch|no-search|"
    r"hide-toc)\b[^\n]*\n)+",
    re.IGNORECASE,
)
REPLACED = re.compile(
    r"^\.\. \|(?P<name>[^|\n]+)\| replace::[ \t]*(?P<said>[^\n]*(?:\n[ \t]+\S[^\n]*)*)",
    re.MULTILINE,
)
SUBSTITUTED = re.compile(r"(?<![|\w])\|(?P<name>[^|\s](?:[^|\n]*[^|\s])?)\|(?:__?(?!\w))?(?![|\w])")
LITERAL = re.compile(r"``[^\n]+?``")
UNSEEN = {
    "index",
    "meta",
    "highlight",
    "highlightlang",
    "currentmodule",
    "module",
    "default-role",
    "role",
    "raw",
    "contents",
    "sectnum",
    "tabularcolumns",
    "image",
    "testsetup",
    "testcleanup",
    "ifconfig",
    "target-notes",
    "header",
    "footer",
    "class",
    "rst-class",
    "py:module",
    "py:currentmodule",
    "c:namespace",
}
CODE = {
    "code",
    "code-block",
    "sourcecode",
    "parsed-literal",
    "literalinclude",
    "prompt",
    "doctest",
    "testcode",
    "testoutput",
    "ipython",
    "productionlist",
    "math",
    "graphviz",
    "mermaid",
    "uml",
    "digraph",
    "plantuml",
}
# What a directive shows before its text; its argument takes the place of {}.
LABELS = {
    "attention": "Attention: {}",
    "caution": "Caution: {}",
    "danger": "Danger: {}",
    "error": "Error: {}",
    "hint": "Hint: {}",
    "important": "Important: {}",
    "note": "Note: {}",
    "tip": "Tip: {}",
    "warning": "Warning: {}",
    "seealso": "See also: {}",
    "todo": "To do: {}",
    "versionadded": "New in version {}",
    "versionchanged": "Changed in version {}",
    "deprecated": "Deprecated since version {}",
    "versionremoved": "Removed in version {}",
    "deprecated-removed": "Deprecated since version {}",
    "admonition": "**{}**",
    "topic": "**{}**",
    "sidebar": "**{}**",
    "rubric": "**{}**",
    "centered": "**{}**",
    "container": "",
    "compound": "",
    "epigraph": "",
    "highlights": "",
    "pull-quote": "",
    "only": "",
    "figure": "",
    "glossary": "",
    "tab": "**{}**",
    "tabs": "",
    "tab-set": "",
    "tab-item": "**{}**",
    "grid": "",
    "card": "**{}**",
    "dropdown": "**{}**",
    "details": "**{}**",
    "collapse": "**{}**",
}
NAMING = {"include", "toctree"}  # what leads to other files, and is followed
OBJECTS = {
    "function",
    "class",
    "method",
    "attribute",
    "data",
    "exception",
    "classmethod",
    "staticmethod",
    "property",
    "decorator",
    "macro",
    "type",
    "struct",
    "enum",
    "member",
    "option",
    "envvar",
    "confval",
    "cmdoption",
    "var",
    "describe",
    "object",
    "opcode",
    "program",
}
NAMES = {
    "func",
    "class",
    "meth",
    "attr",
    "mod",
    "data",
    "exc",
    "obj",
    "const",
    "any",
    "file",
    "command",
    "program",
    "option",
    "envvar",
    "kbd",
    "samp",
    "macro",
    "type",
    "member",
    "struct",
    "enum",
    "keyword",
    "token",
    "code",
    "literal",
    "confval",
    "regexp",
    "makevar",
    "mimetype",
    "opcode",
    "var",
    "enumerator",
    "expr",
}
CALLED = ("func", "meth")


def hidden(text: str) -> list[Cut]:
    page = _Page(text)
    made = list(page.blocks())
    made += [Cut(*found.span()) for found in SETTINGS.finditer(text)]
    return made + [
        cut for cut in chain(_roles(text), _substituted(text)) if not page.literal(cut.start)
    ]


class _Page:
    """The lines of a text, gone over once. `shielded` are characters of literal text, in which nothing is hidden."""

    def __init__(self, text: str) -> None:
        self.bounds = [*starts(text), len(text)]
        self.lines = [
            text[a:b].rstrip() for a, b in zip(self.bounds, self.bounds[1:], strict=False)
        ]
        self.shielded = [found.span() for found in LITERAL.finditer(text)]
        self.begins: list[int] = []
        self.ends: list[int] = []

    def literal(self, at: int) -> bool:
        """Whether a character is of literal text; after `blocks` alone."""
        i = bisect_right(self.begins, at)
        return bool(i) and at < self.ends[i - 1]

    def blocks(self) -> Iterator[Cut]:
        at = 0
        while at < len(self.lines):
            line = self.lines[at]
            found = EXPLICIT.match(line.lstrip())
            end = at + 1
            if found:
                margin = len(line) - len(line.lstrip())
                end = yield from self._explicit(at, margin, found["rest"])
            elif line.lstrip().startswith("__ "):
                yield self._lines(at, end)
            elif line.endswith("::"):
                end = self._shield(end, self._past(end, len(line) - len(line.lstrip())))
            at = end
        self.shielded.sort()
        self.begins = [start for start, _ in self.shielded]
        self.ends = list(
            accumulate((end for _, end in self.shielded), max)
        )  # one may lie within another

    def _past(self, at: int, margin: int) -> int:
        """After the lines from `at` on that are set in by more than `margin`, blank ones among them."""
        end = at
        for i in range(at, len(self.lines)):
            line = self.lines[i]
            if line and len(line) - len(line.lstrip()) <= margin:
                break
            if line:
                end = i + 1
        return end

    def _lines(self, at: int, end: int) -> Cut:
        return Cut(self.bounds[at], self.bounds[end])

    def _shield(self, at: int, end: int) -> int:
        if end > at:
            self.shielded.append((self.bounds[at], self.bounds[end]))
        return end

    def _explicit(self, at: int, margin: int, rest: str) -> Generator[Cut, None, int]:
        """The cuts of what begins with two dots; returns the line to go on with."""
        end = max(self._past(at + 1, margin), at + 1)
        directive = DIRECTIVE.match(rest)
        name = directive["name"].lower() if directive else ""
        short = name.rpartition(":")[2]
        if directive and directive["substitution"]:
            yield self._lines(at, end)
        elif name in CODE or short in CODE:
            return self._shield(at, end)
        elif directive and short in OBJECTS and name != "class":
            yield from self._signature(at, end, margin, directive["argument"] or "")
            return at + 1
        elif name in UNSEEN:
            yield self._lines(at, end)
        elif directive and name in LABELS:
            yield from self._labelled(at, end, margin, name, directive["argument"] or "")
            return at + 1
        elif directive and end == at + 1 and name not in NAMING and not name.startswith("auto"):
            yield self._lines(at, end)  # an extension's setting, or a place that it may name
        elif directive:
            return at + 1  # tables, lists of contents, and what an extension brings: as they are
        elif NOTE.match(rest):
            yield Cut(self.bounds[at] + margin, self.bounds[at] + self.lines[at].index("["))
            yield from self._dedented(at + 1, end, margin)
            return at + 1
        elif TARGET.match(rest):
            yield self._lines(at, at + 1)
            return at + 1
        else:
            yield self._lines(at, end)  # a comment
        return end

    def _labelled(self, at: int, end: int, margin: int, name: str, argument: str) -> Iterator[Cut]:
        """The directive's label in place of its name; its text loses its margin, and its options go."""
        wanted = "" if name == "figure" else argument
        label = LABELS[name].format(wanted).strip() if wanted or "**" not in LABELS[name] else ""
        start = self.bounds[at]
        if label and wanted:  # the argument stays, since it may hold roles
            ahead, behind = LABELS[name].split("{}")
            told = start + len(self.lines[at]) - len(wanted)
            yield Cut(start + margin, told, ahead)
            yield Cut(told + len(wanted), told + len(wanted), behind)
        elif label:
            yield Cut(start + margin, start + len(self.lines[at]), label)
        else:
            yield self._lines(at, at + 1)
        yield from self._body(at, end, margin)

    def _signature(self, at: int, end: int, margin: int, argument: str) -> Iterator[Cut]:
        start = self.bounds[at]
        yield Cut(
            start + margin, start + len(self.lines[at]), f"``{argument}``" if argument else ""
        )
        yield from self._body(at, end, margin)

    def _body(self, at: int, end: int, margin: int) -> Iterator[Cut]:
        first = at + 1
        while first < end and OPTION.match(self.lines[first].lstrip()):
            yield self._lines(first, first + 1)
            first += 1
        yield from self._dedented(first, end, margin)

    def _dedented(self, at: int, end: int, margin: int) -> Iterator[Cut]:
        filled = [i for i in range(at, end) if self.lines[i]]
        inner = min(
            (len(self.lines[i]) - len(self.lines[i].lstrip()) for i in filled), default=margin
        )
        yield from (
            Cut(self.bounds[i] + margin, self.bounds[i] + inner) for i in filled if inner > margin
        )


def _substituted(text: str) -> Iterator[Cut]:
    """What the page has given a name is shown in the place of that name."""
    if "replace::" not in text:
        return
    known = {
        " ".join(found["name"].split()): " ".join(found["said"].split())
        for found in REPLACED.finditer(text)
    }
    for found in SUBSTITUTED.finditer(text):
        said = known.get(" ".join(found["name"].split()))
        if said is not None:
            yield Cut(*found.span(), said)


def _roles(text: str) -> Iterator[Cut]:
    for found in ROLE.finditer(text):
        role = found["role"].lower().rpartition(":")[2]
        yield Cut(*found.span(), _shown(role, " ".join(found["body"].split())))


def _shown(role: str, body: str) -> str:
    """What a role shows: its text, in backticks where it is a name; a document stays a link."""
    titled = TITLED.match(body)
    said = titled["said"] if titled else body
    if role in ("doc", "download"):
        return f"`{said} <{titled['target'] if titled else body}>`_"
    if role in ("pep", "rfc"):
        return said if titled else f"{role.upper()} {said}"
    if role == "math":
        return f"${body}$"
    if role not in NAMES:
        return said.lstrip("~!")
    bare = said.rpartition(".")[2] if said.startswith("~") else said.lstrip("!")
    return f"``{bare}{'()' if role in CALLED and not titled and not bare.endswith(')') else ''}``"
