"""AsciiDoc as the Markdown that says the same: headings, lists, listings, boxes, tables, links; settings are hidden.

https://docs.asciidoctor.org/asciidoc/latest/syntax-quick-reference/
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator

import numpy as np

from phoenix_forge.corpus.document import Cut, cut
from phoenix_forge.corpus.readers import dialects, markdown, writing
from phoenix_forge.corpus.readers.lines import starts

ATTRIBUTE = re.compile(r":(?P<name>!?[\w][\w-]*!?):(?:[ \t]+(?P<value>.*))?$")
PREPROCESSOR = re.compile(
    r"(?:ifdef|ifndef|ifeval|endif|include|toc|video|audio)::\S*?\[(?P<said>.*)\]$"
)
IMAGE = re.compile(r"image::(?P<path>[^\[\]]+)\[(?P<alt>[^\]]*)\]$")
ANCHOR = re.compile(r"\[\[(?P<id>[^\],]+)(?:,[^\]]*)?\]\]$|\[#(?P<short>[^\],.%]+)[^\]]*\]$")
STYLE = re.compile(r"\[(?P<style>[^\[\]]*)\]$")
HEADING = re.compile(r"(?P<marks>={1,6})[ \t]+(?P<title>\S.*)$")
UNDERLINE = re.compile(r"([=\-~^+])\1{2,}$")
UNDERLINES = "=-~^+"
TITLE = re.compile(r"\.(?P<title>[^\s.].*)$")
BULLET = re.compile(r"(?P<space>[ \t]*)(?P<mark>\*{1,6}|-|\.{1,6}|\d{1,3}\.)[ \t]+(?=\S)")
TERM = re.compile(r"(?P<space>[ \t]*)(?P<term>\S.*?)(?P<mark>:{2,4}|;;)(?:[ \t]+(?=\S)|$)")
ADMONITION = re.compile(r"(?P<kind>NOTE|TIP|IMPORTANT|WARNING|CAUTION):[ \t]+")
DELIMITER = re.compile(
    r"(?:-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|--|`{3,}[\w+-]*|[|,:!]={3,})$"
)
RULE = {"'''": "***", "---": "***", "***": "***", "<<<": ""}
LABELS = {kind: kind.capitalize() for kind in ("NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION")}
LINK = re.compile(
    r"(?:link:(?P<path>[^\s\[\]]{1,1000})|xref:(?P<xref>[^\s\[\]]{0,1000})|"
    r"(?P<url>(?:(?:https?|ftp|irc)://|mailto:)[^\s\[\]<>]{1,1000}|\{[\w-]+\}[^\s\[\]<>{}]{0,1000}))"
    r"\[(?P<said>(?:[^\[\]\\]|\\.|\[[^\[\]]{0,300}\]){0,1000})\]"
)
CODE = re.compile(r"(?<![\"'])`[^`\n]{1,500}`(?![\"'])")
CELL = re.compile(r"(?:(?P<wide>\d+)?(?:\.\d+)?\+|(?P<times>\d+)\*)?[<^>.]*[adehlmsv]?(?<!\\)\|")
KNOWN = {
    "nbsp": " ",
    "sp": " ",
    "empty": "",
    "blank": "",
    "zwsp": "",
    "plus": "+",
    "asterisk": "*",
    "amp": "&",
    "lt": "<",
    "gt": ">",
    "vbar": "|",
    "startsb": "[",
    "endsb": "]",
    "tilde": "~",
    "backtick": "`",
    "caret": "^",
    "backslash": "\\",
    "two-colons": "::",
    "two-semicolons": ";;",
    "apos": "'",
    "quot": '"',
    "cpp": "C++",
}
read = markdown.read


def hidden(text: str) -> list[Cut]:
    return list(_Page(text).cuts())


class _Page:
    """The lines of a text, gone over once, with what has been said of the block that comes next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.bounds = [*starts(text), len(text)]
        self.lines = [
            text[a:b].rstrip() for a, b in zip(self.bounds, self.bounds[1:], strict=False)
        ]
        self.known = dict(KNOWN)
        self.style = ""
        self.levels: list[str] = []  # marks of the lists that are open, outermost first
        self.titles = self._anchors()
        self.attached = ""  # the margin of a block that goes on an item

    def cuts(self) -> Iterator[Cut]:
        at = 0
        while at < len(self.lines):
            line = self.lines[at]
            rules: tuple[Callable[[int, str], tuple[list[Cut], int] | None], ...] = (
                self._blank,
                self._hidden,
                self._delimited,
                self._styled,
                self._headed,
                self._item,
                self._literal,
                self._prose,
            )
            made, at = next(found for rule in rules if (found := rule(at, line)) is not None)
            yield from made

    def _anchors(self) -> dict[str, str]:
        """The title of the heading that each anchor stands above."""
        found: dict[str, str] = {}
        waiting: list[str] = []
        for line in self.lines:
            anchor = ANCHOR.match(line)
            if anchor:
                waiting.append(anchor["id"] or anchor["short"])
            elif heading := HEADING.match(line):
                found |= dict.fromkeys(waiting, heading["title"])
                waiting = []
            elif line and not STYLE.match(line):
                waiting = []
        return found

    def _line(self, at: int, shown: str = "") -> Cut:
        """A whole line, of which its end stays."""
        return Cut(self.bounds[at], self.bounds[at] + len(self.lines[at]), shown)

    def _gone(self, at: int, end: int) -> Cut:
        return Cut(self.bounds[at], self.bounds[end])

    # -- rules: the cuts of what starts in a line, and the line to go on with; None where it is something else ---------

    def _blank(self, at: int, line: str) -> tuple[list[Cut], int] | None:
        return None if line.strip() else ([], at + 1)

    def _hidden(self, at: int, line: str) -> tuple[list[Cut], int] | None:
        if line.startswith("//") and not DELIMITER.match(line) and not line.startswith("///"):
            return [self._gone(at, at + 1)], at + 1
        if attribute := ATTRIBUTE.match(line):
            end, value = at + 1, attribute["value"] or ""
            while value.endswith("\\") and end < len(self.lines):
                value, end = f"{value[:-1].rstrip()} {self.lines[end].strip()}", end + 1
            self.known[attribute["name"].lower()] = self._said(value)
            return [self._gone(at, end)], end
        if PREPROCESSOR.match(line):
            return [self._gone(at, at + 1)], at + 1
        if image := IMAGE.match(line):
            alt = image["alt"].split(",")[0].strip("\"' ")
            return [self._line(at, f"![{alt}]({self._named(image['path'])})")], at + 1
        if line in RULE:
            return [self._line(at, RULE[line])], at + 1
        if line == "+":
            self.attached = "    " * len(self.levels)
            return [self._line(at)], at + 1
        return None

    def _styled(self, at: int, line: str) -> tuple[list[Cut], int] | None:
        """What says something of the block that follows."""
        if ANCHOR.match(line) and not line.startswith("[#"):
            return [self._gone(at, at + 1)], at + 1
        if style := STYLE.match(line):
            self.style = style["style"]
            kind = self.style.split(",")[0].split(".")[0].split("%")[0].strip()
            following = self.lines[at + 1] if at + 1 < len(self.lines) else ""
            if kind in LABELS and not DELIMITER.match(following):
                return [self._line(at, f"**{LABELS[kind]}:**")], at + 1
            return [self._gone(at, at + 1)], at + 1
        if title := TITLE.match(line):
            return [self._line(at, f"**{self._said(title['title'])}**\n")], at + 1
        return None

    def _headed(self, at: int, line: str) -> tuple[list[Cut], int] | None:
        if heading := HEADING.match(line):
            start = self.bounds[at]
            self.levels = []
            marks = Cut(start, start + len(heading["marks"]), "#" * len(heading["marks"]))
            return [marks, *self._inline(start + heading.start("title"), start + len(line))], at + 1
        following = self.lines[at + 1] if at + 1 < len(self.lines) else ""
        first = (
            not at
            or not self.lines[at - 1]
            or STYLE.match(self.lines[at - 1])
            or ANCHOR.match(self.lines[at - 1])
        )
        if (
            first
            and UNDERLINE.match(following)
            and abs(len(following) - len(line)) <= 2
            and not line[0].isspace()
        ):
            level = "#" * (UNDERLINES.index(following[0]) + 1)
            return [Cut(self.bounds[at], self.bounds[at], f"{level} "), self._line(at + 1)], at + 2
        return None

    def _delimited(self, at: int, line: str) -> tuple[list[Cut], int] | None:
        if not DELIMITER.match(line):
            return None
        style, self.style = self.style, ""
        closing = line[:3] if line.startswith("```") else line
        end = next((i for i in range(at + 1, len(self.lines)) if self.lines[i] == closing), None)
        kind = style.split(",")[0].split(".")[0].split("%")[0].strip()
        if line[0] in "=*_" or line == "--":
            if kind in LABELS:
                return [self._line(at, f"**{LABELS[kind]}**\n")], at + 1
            if line != "--" or kind not in ("source", "listing"):
                return [self._line(at)], at + 1
        if end is None:
            return [self._line(at)], at + 1
        if line[0] == "/":
            return [self._gone(at, end + 1)], end + 1
        if line[1] == "=" and line[0] in "|,:!":
            said = self._table(at + 1, end, line[0], style)
            return [Cut(self.bounds[at], self.bounds[end] + len(closing), said)], end + 1
        if line[0] == "+":
            mark = "$$" if kind in ("stem", "latexmath", "asciimath") else None
            return (
                [self._line(at, mark), self._line(end, mark)] if mark else [self._gone(at, end + 1)]
            ), end + 1
        words = style.split(",")
        source = len(words) > 1 and words[0].split("%")[0].strip() in ("", "source", "listing")
        language = words[1].split("%")[0].strip() if source else line.strip("`-.")
        inside = [
            each.start()
            for each in re.finditer(
                r"^[ \t]*`{3,}", self.text[self.bounds[at + 1] : self.bounds[end]], re.MULTILINE
            )
        ]
        fence = "~~~~" if inside else "```"
        margin, self.attached = self.attached, ""
        inner = [
            self._gone(i, i + 1)
            if self.lines[i].startswith("include::")
            else Cut(self.bounds[i], self.bounds[i], margin)
            for i in range(at + 1, end)
        ]
        return [
            self._line(at, f"{margin}{fence}{language}"),
            *inner,
            self._line(end, f"{margin}{fence}"),
        ], end + 1

    def _item(self, at: int, line: str) -> tuple[list[Cut], int] | None:
        start = self.bounds[at]
        if bullet := BULLET.match(line):
            mark = bullet["mark"] if not bullet["mark"][0].isdigit() else "1."
            depth = self._depth(mark)
            sign = "1." if mark[0] in ".1" else "-"
            lead = Cut(start, start + bullet.end(), f"{'    ' * depth}{sign} ")
            return [lead, *self._inline(start + bullet.end(), start + len(line))], at + 1
        term = TERM.match(line)
        if term and "`" not in term["mark"] and not ADMONITION.match(line):
            depth = self._depth(term["mark"])
            lead = Cut(start, start + term.start("term"), f"{'    ' * depth}- **")
            colon = Cut(start + term.start("mark"), start + term.end("mark"), "**:")
            inner = self._inline(start + term.start("term"), start + term.end("term"), bold=False)
            return [
                lead,
                *inner,
                colon,
                *self._inline(start + term.end(), start + len(line)),
            ], at + 1
        return None

    def _depth(self, mark: str) -> int:
        if mark in self.levels:
            del self.levels[self.levels.index(mark) + 1 :]
        else:
            self.levels.append(mark)
        return len(self.levels) - 1

    def _literal(self, at: int, line: str) -> tuple[list[Cut], int] | None:
        """Lines after a blank one that are set in: a listing."""
        if not line[0].isspace() or (at and self.lines[at - 1]):
            return None
        end = at
        while end < len(self.lines) and self.lines[end]:
            end += 1
        return [Cut(self.bounds[i], self.bounds[i], "    ") for i in range(at, end)], end

    def _prose(self, at: int, line: str) -> tuple[list[Cut], int]:
        start = self.bounds[at]
        made = [Cut(start, start, self.attached)] if self.attached and line else []
        first, self.attached, self.style = len(made), "", ""
        if not at or not self.lines[at - 1]:  # a paragraph of its own ends the lists
            self.levels = []
        if admonition := ADMONITION.match(line):
            made.append(Cut(start, start + admonition.end(), f"**{LABELS[admonition['kind']]}:** "))
        made += self._inline(made[-1].end if len(made) > first else start, start + len(line))
        if line.endswith(" +"):
            made.append(Cut(start + len(line) - 2, start + len(line), "\\"))
        return made, at + 1

    # -- tables --------------------------------------------------------------------------------------------------------

    def _table(self, at: int, end: int, sign: str, style: str) -> str:
        lines = self.lines[at:end]
        if sign in ",:" or "format=" in style:
            between = ":" if sign == ":" or "dsv" in style else "\t" if "tsv" in style else ","
            try:
                read = list(csv.reader([line for line in lines if line], delimiter=between))
            except csv.Error:  # an open quote that swallows the rest
                read = [[line] for line in lines if line]
            rows = [[self._said(cell.strip()) for cell in row] for row in read]
        else:
            rows = self._rows("\n".join(lines), self._columns(lines, style))
        return writing.table(rows) if rows else ""

    def _columns(self, lines: list[str], style: str) -> int:
        wide = re.search(r"cols=(?:\"([^\"]+)\"|([\w*]+))", style)
        if wide:
            parts = [each.strip() for each in re.split(r"[,;]", wide[1] or wide[2]) if each.strip()]
            counts = (
                int(found[1]) if (found := re.match(r"(\d{1,3})\*", part)) else 1 for part in parts
            )
            return max(sum(counts), 1)
        first = next((line for line in lines if line.strip() and not line.startswith("//")), "")
        return max(len(CELL.findall(first)), 1)

    def _rows(self, text: str, width: int) -> list[list[str]]:
        cells: list[str] = []
        marks = list(CELL.finditer(text))
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        for mark, end in zip(marks, ends, strict=False):
            said = text[mark.end() : end]
            shown = " ".join(self._said(said.replace("\\|", "|")).split())
            cells += [shown] * min(int(mark["wide"] or mark["times"] or 1), 50)
        return [cells[i : i + width] for i in range(0, len(cells), width)]

    # -- what stands in lines ------------------------------------------------------------------------------------------

    def _said(self, text: str) -> str:
        """A text of its own, with what stands in it."""
        shown, _ = cut(text, np.zeros(len(text) + 1, dtype=np.int64), self._marks(text, True))
        return shown

    def _inline(self, start: int, end: int, bold: bool = True) -> list[Cut]:
        return [
            Cut(start + a, start + b, said)
            for a, b, said in self._marks(self.text[start:end], bold)
        ]

    def _marks(self, text: str, bold: bool) -> Iterator[Cut]:
        code = [found.span() for found in CODE.finditer(text)]
        for pattern, shown in self._inlines(bold):
            for found in pattern.finditer(text):
                literal = any(a < found.start() < b for a, b in code)
                if not literal or pattern in (LITERAL, NAMED):
                    yield Cut(*found.span(), shown(found))

    def _inlines(
        self, bold: bool
    ) -> Iterator[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]]:
        yield LINK, self._link
        yield NAMED, lambda found: self._named(found[0])
        yield dialects.ENTITY, lambda found: dialects.entity(found[0])
        yield from INLINE
        yield CROSS, self._cross
        if bold:
            yield BOLD, lambda found: f"**{found['said']}**"

    def _named(self, text: str) -> str:
        """With the values of the attributes that the page sets."""
        return NAMED.sub(lambda found: self.known.get(found["name"].lower(), found[0]), text)

    def _link(self, found: re.Match[str]) -> str:
        to = self._named(found["path"] or found["xref"] or found["url"] or "")
        said = re.split(r",\s*(?:window|role|opts|title|id|rel)=|\^(?=,|$)", found["said"])[
            0
        ].strip('"')
        said = self._named(said)
        if found["url"] and to.startswith("{"):
            return said or to
        if found["xref"] is not None and not said:
            said = self.titles.get(to.lstrip("#")) or to.rpartition("/")[2].removesuffix(
                ".adoc"
            ).lstrip("#")
        to = to.removeprefix("mailto:") if said == "" else to
        return f"[{said}]({to})" if said and to and not to.startswith("#") else said or to

    def _cross(self, found: re.Match[str]) -> str:
        target = found["id"].rpartition("#")[2] or found["id"]
        said = (
            found["said"]
            or self.titles.get(target)
            or re.sub(r"^_|^(?:ch|s|r)?_+|[_-]+", " ", target)
        )
        return said.strip()


NAMED = re.compile(r"(?<!\\)\{(?P<name>[\w][\w-]*)\}")
CROSS = re.compile(r"<<(?P<id>[^<>,\n]{1,300})(?:,\s*(?P<said>[^<>\n]{1,300}))?>>")
LITERAL = re.compile(r"(?<=`)\+(?P<said>[^`\n]{1,300})\+(?=`)")
BOLD = re.compile(r"(?<![\w*\\])\*(?=[^\s*])(?P<said>[^*\n]{1,500}?)(?<=[^\s*])\*(?![\w*])")
INLINE: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (LITERAL, lambda found: found["said"]),
    (
        re.compile(
            r"\(\(\([^()]{0,300}\)\)\)|indexterm:\[[^\]]{0,300}\]|\[\[[^\[\]]{1,300}\]\]|"
            r"anchor:[^\s\[]{1,300}\[[^\]]{0,300}\]|icon:[\w-]+\[[^\]]{0,300}\]"
        ),
        lambda _: "",
    ),
    (re.compile(r"\(\((?P<said>[^()]{1,300})\)\)"), lambda found: found["said"]),
    (
        re.compile(r"(?:kbd|btn|indexterm2):\[(?P<said>[^\]]{0,1000})\]"),
        lambda found: found["said"],
    ),
    (
        re.compile(r"menu:(?P<top>[^\s\[]{1,300})\[(?P<said>[^\]]{0,1000})\]"),
        lambda found: f"{found['top']} > {found['said']}",
    ),
    (
        re.compile(r"footnote(?:ref)?:[\w-]*\[(?P<said>[^\]]{0,1000})\]"),
        lambda found: f" ({found['said']})",
    ),
    (
        re.compile(r"pass:[a-z,]*\[(?P<said>[^\]]{0,1000})\]|\+\+\+(?P<raw>.{1,300}?)\+\+\+"),
        lambda found: found["said"] or found["raw"] or "",
    ),
    (
        re.compile(r"(?:stem|latexmath|asciimath):\[(?P<said>[^\]]{0,1000})\]"),
        lambda found: f"${found['said']}$",
    ),
    (
        re.compile(r"image:(?!:)(?P<path>[^\s\[\]]{1,500})\[(?P<alt>[^\],]{0,300})[^\]]{0,300}\]"),
        lambda found: f"![{found['alt']}]({found['path']})",
    ),
    (re.compile(r"\[[.#][\w.#-]+\](?=[_*`#+])"), lambda _: ""),
    (re.compile(r"(?<=\")`(?=[^`\n]{1,300}`\")|(?<=\S)`(?=\")"), lambda _: ""),
    (
        re.compile(r"(?<![\w#])#(?=[^\s#])(?P<said>[^#\n]{1,300}?)(?<=\S)#(?![\w#])"),
        lambda found: found["said"],
    ),
)
