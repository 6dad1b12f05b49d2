"""Org as the Markdown that says the same: headings, listings, quotes, tables, links; drawers and settings are hidden.

https://orgmode.org/manual/
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from phoenix_forge.corpus.document import Cut
from phoenix_forge.corpus.readers import markdown
from phoenix_forge.corpus.readers.lines import starts

HEADING = re.compile(
    r"(?P<stars>\*+)[ \t]+(?P<todo>(?:COMMENT[ \t]+)?)(?P<title>.*?)(?P<tags>[ \t]+:[\w@#%:]+:)?$"
)
KEYWORD = re.compile(
    r"[ \t]*#\+(?P<key>[\w-]+)(?:\[[^\]]*\])?:(?:[ \t]+(?P<value>.*))?$", re.IGNORECASE
)
BEGIN = re.compile(
    r"(?P<margin>[ \t]*)#\+begin_(?P<kind>\w+)(?:[ \t]+(?P<rest>.*))?$", re.IGNORECASE
)
DRAWER = re.compile(r"[ \t]*:[A-Z][\w-]*:[ \t]*$")
END = re.compile(r"[ \t]*:END:[ \t]*$", re.IGNORECASE)
COMMENT = re.compile(r"[ \t]*#(?:[ \t]|$)")
FIXED = re.compile(r"(?P<margin>[ \t]*):(?:[ ](?P<said>.*))?$")
RULE = re.compile(r"[ \t]*\|[-+|: ]*-[-+|: ]*$")
# A line that begins something of its own.
APART = re.compile(
    r"\*+[ \t]|[ \t]*(?:#\+|#[ \t]|[-+][ \t]|\d+[.)][ \t]|\||:(?:[ \t]|$)|:[A-Z][\w-]*:[ \t]*$)"
)
TERM = re.compile(r"[ \t]*[-+][ \t]+(?P<term>.+?)(?P<mark>[ \t]+::)(?:[ \t]|$)")
VERBATIM = {"src", "example", "export", "latex", "html"}
SHOWN = {"title": "# {}", "caption": "**{}**", "author": "{}", "subtitle": "{}"}
LINK = re.compile(
    r"\[\[(?P<to>[^\[\]\n]+)\](?:\[(?P<said>(?:[^\[\]\n]|\n(?!\s*\n)|\[[^\[\]\n]*\])*?)\])?\]"
)
PICTURE = re.compile(r"\.(?:png|jpe?g|gif|svg|webp)$", re.IGNORECASE)
# A mark stands after a space or an opening sign, and before a space or what ends a clause.
MARKUP = re.compile(
    r"(?:(?<=[\s({'\"\[])|(?<=\A)|(?<=[-—]))(?P<mark>[=~*/_+])"
    r"(?P<said>(?!(?P=mark))\S(?:(?:[^\n]|\n(?!\s*\n)){0,200}?\S)??)(?P=mark)"
    r"(?=[\s).,;:!?'\"}\]\\-]|\Z)"
)
SIGNS = {"=": "`", "~": "`", "*": "**", "/": "*", "_": "", "+": "~~"}
read = markdown.read


def hidden(text: str) -> list[Cut]:
    return list(_Page(text).cuts())


class _Page:
    def __init__(self, text: str) -> None:
        self.text = text
        self.bounds = [*starts(text), len(text)]
        self.lines = [
            text[a:b].rstrip() for a, b in zip(self.bounds, self.bounds[1:], strict=False)
        ]
        keys = (KEYWORD.match(line) for line in self.lines[:40])
        self.below = int(
            any(each and each["key"].lower() == "title" and each["value"] for each in keys)
        )

    def cuts(self) -> Iterator[Cut]:
        at = 0
        while at < len(self.lines):
            line = self.lines[at]
            end = at + 1
            if begin := BEGIN.match(line):
                end = self._closing(at, begin["kind"])
                yield from self._block(at, end, begin)
                end = end if begin["kind"].lower() in VERBATIM | {"comment"} else at + 1
            elif DRAWER.match(line) and (closing := self._drawer(at)):
                end = closing
                yield self._gone(at, end)
            elif line.lower().lstrip().startswith("#+end_"):
                yield self._line(at)
            elif keyword := KEYWORD.match(line):
                yield self._keyword(at, keyword)
            elif COMMENT.match(line):
                yield self._gone(at, end)
            elif heading := HEADING.match(line):
                yield from self._heading(at, heading)
            elif RULE.match(line):
                yield from self._rule(at, line)
            elif (fixed := FIXED.match(line)) and not DRAWER.match(line):
                yield Cut(self.bounds[at], self.bounds[at] + fixed.end("margin") + 1, "    ")
            else:
                made, end = self._prose(at, line)
                yield from made
            at = end

    def _line(self, at: int, shown: str = "") -> Cut:
        return Cut(self.bounds[at], self.bounds[at] + len(self.lines[at]), shown)

    def _gone(self, at: int, end: int) -> Cut:
        return Cut(self.bounds[at], self.bounds[end])

    def _closing(self, at: int, kind: str) -> int:
        """After the line that ends a block; the next line where none does."""
        wanted = f"#+end_{kind}".lower()
        return next(
            (
                i + 1
                for i in range(at + 1, len(self.lines))
                if self.lines[i].strip().lower() == wanted
            ),
            at + 1,
        )

    def _drawer(self, at: int) -> int | None:
        for i in range(at + 1, min(at + 100, len(self.lines))):
            if END.match(self.lines[i]):
                return i + 1
            if self.lines[i].startswith("*"):
                return None
        return None

    def _block(self, at: int, end: int, begin: re.Match[str]) -> Iterator[Cut]:
        """Listings in fences, without the commas that guard their stars; the text of other blocks stands by itself."""
        kind = begin["kind"].lower()
        if kind == "comment" or (kind == "export" and end > at + 1):
            yield self._gone(at, end)
        elif kind not in VERBATIM or end == at + 1:
            yield self._line(at)
        else:
            inside = "".join(self.lines[at + 1 : end - 1])
            fence = begin["margin"] + ("~~~~" if "```" in inside else "```")
            word = (begin["rest"] or "").split()[:1] if kind == "src" else []
            yield self._line(at, fence + "".join(word))
            for i in range(at + 1, end - 1):
                if guard := re.match(r"[ \t]*,(?=\*|#\+)", self.lines[i]):
                    yield Cut(self.bounds[i] + guard.end() - 1, self.bounds[i] + guard.end())
            yield self._line(end - 1, fence)

    def _keyword(self, at: int, keyword: re.Match[str]) -> Cut:
        shown = SHOWN.get(keyword["key"].lower(), "")
        value = (keyword["value"] or "").strip()
        return (
            self._line(at, shown.format(value) + "\n")
            if shown and value
            else self._gone(at, at + 1)
        )

    def _heading(self, at: int, heading: re.Match[str]) -> Iterator[Cut]:
        start = self.bounds[at]
        marks = "#" * min(len(heading["stars"]) + self.below, 6)
        yield Cut(start, start + heading.start("title"), f"{marks} ")
        yield from self._inline(start + heading.start("title"), start + heading.end("title"))
        if heading["tags"]:
            yield Cut(start + heading.start("tags"), start + heading.end("tags"))

    def _rule(self, at: int, line: str) -> Iterator[Cut]:
        """The line below a table's head; others between its rows are none of its text."""
        first = not at or not self.lines[at - 1].lstrip().startswith("|")
        second = not first and (at < 2 or not self.lines[at - 2].lstrip().startswith("|"))
        if second:
            yield from (
                Cut(self.bounds[at] + i, self.bounds[at] + i + 1, "|")
                for i, sign in enumerate(line)
                if sign == "+"
            )
        else:
            yield self._gone(at, at + 1)

    def _prose(self, at: int, line: str) -> tuple[list[Cut], int]:
        """A paragraph, whose marks and links may run over its lines."""
        end = at + 1
        while (
            line and end < len(self.lines) and self.lines[end] and not APART.match(self.lines[end])
        ):
            end += 1
        start = self.bounds[at]
        made = list(self._inline(start, self.bounds[end - 1] + len(self.lines[end - 1])))
        if term := TERM.match(line):
            made.append(Cut(start + term.start("mark"), start + term.end("mark"), ":"))
        return made, end

    def _inline(self, start: int, end: int) -> Iterator[Cut]:
        text = self.text[start:end]
        taken: list[tuple[int, int]] = []
        for found in MARKUP.finditer(text):
            if found["mark"] in "=~":
                taken.append(found.span())
                yield from _pair(found, start)
        for found in LINK.finditer(text):
            if not any(a <= found.start() < b for a, b in taken):
                taken.append(found.span())
                yield Cut(start + found.start(), start + found.end(), _link(found))
        for found in MARKUP.finditer(text):
            if found["mark"] not in "=~" and not any(a <= found.start() < b for a, b in taken):
                yield from _pair(found, start)


def _pair(found: re.Match[str], start: int) -> Iterator[Cut]:
    sign = SIGNS[found["mark"]]
    yield Cut(start + found.start(), start + found.start() + 1, sign)
    yield Cut(start + found.end() - 1, start + found.end(), sign)


def _link(found: re.Match[str]) -> str:
    to = (
        re.sub(r"^(?:file|https?:/{0,2}$):?", "", found["to"])
        if found["to"].startswith("file:")
        else found["to"]
    )
    path, _, part = to.partition("::")
    said = MARKUP.sub(
        lambda each: f"{SIGNS[each['mark']]}{each['said']}{SIGNS[each['mark']]}",
        found["said"] or "",
    )
    said = " ".join(said.split())
    if PICTURE.search(path):
        return f"![{said}]({path})"
    if path.startswith(("*", "#")) or not re.search(
        r"[./]", path
    ):  # within the page, or a kind of its own
        return said or part.lstrip("*#") or path.lstrip("*#")
    return f"[{said}]({path})" if said else path
