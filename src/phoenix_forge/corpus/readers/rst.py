"""reStructuredText by lines: titles, directives, tables, lists and literal blocks, each with its place.

The rules are those of https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence

from phoenix_forge.corpus.document import Block, BlockKind, Structure, tiled
from phoenix_forge.corpus.readers import rst_hidden
from phoenix_forge.corpus.readers.lines import starts

Rows = tuple[tuple[str, ...], ...]
ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*\s*$")
FIELD = re.compile(r":(?![:\s])((?:[^:\\]|\\.|:(?!\s|$))+):(?:\s+(.*)|\s*)$")
BULLET = re.compile(r"([-*+•‣⁃])(?:\s+(?=\S)|\s*$)")
ENUMERATOR = re.compile(
    r"(?:\(?(?:\d+|[a-zA-Z]|[ivxlcdm]+|[IVXLCDM]+|#)\)|(?:\d+|[a-zA-Z]|[ivxlcdm]+|[IVXLCDM]+|#)\.)"
    r"\s+(?=\S)"
)
DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?([\w.:+-]+?)\s*::(?:\s+(.*))?$")
FOOTNOTE = re.compile(r"\.\.\s+\[[^\]]+\]\s")
EXPLICIT = re.compile(r"\.\.(?:\s|$)|__\s")
SIMPLE = re.compile(r"=+(?:\s+=+)+\s*$")
GRID = re.compile(r"\+(?:-+\+)+\s*$")
OPTION = re.compile(r"\s*:([\w-]+):\s*(.*)$")
ROW = re.compile(r"(\s*)\*\s+-(?:\s+(.*)|)$")
PROSE = {
    "admonition",
    "attention",
    "caution",
    "compound",
    "container",
    "danger",
    "deprecated",
    "epigraph",
    "error",
    "glossary",
    "highlights",
    "hint",
    "important",
    "note",
    "pull-quote",
    "rubric",
    "seealso",
    "sidebar",
    "tip",
    "todo",
    "topic",
    "versionadded",
    "versionchanged",
    "warning",
}

hidden = rst_hidden.hidden


def read(text: str) -> Structure:
    bounds = starts(text)
    made = _Reading(
        [
            text[a:b].rstrip().expandtabs(8)
            for a, b in zip(bounds, [*bounds[1:], len(text)], strict=True)
        ]
    )
    made.run()
    blocks = [
        Block(kind, bounds[at], bounds[at], headings, level, rows, items)
        for kind, at, headings, level, rows, items in made.found
    ]
    return Structure(made.title, tiled(blocks, len(text)))


class _Reading:
    """Goes over the lines once; every rule looks at line `at` and returns the line after what it took, or 0."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.found: list[tuple[BlockKind, int, tuple[str, ...], int, Rows, tuple[str, ...]]] = []
        self.title: str | None = None
        self.above: list[tuple[int, str]] = []  # (level, title)
        self.styles: list[
            tuple[str, bool]
        ] = []  # (adornment, with an overline), outermost first, as they appear
        self.literal = False  # the paragraph before ended in `::`
        self.body = False  # something other than titles and fields has been met

    def run(self) -> None:
        rules: Sequence[Callable[[int], int]] = (
            self._indented,
            self._table,
            self._titled,
            self._explicit,
            self._fields,
            self._bullets,
            self._enumerated,
            self._doctest,
            self._definitions,
            self._paragraph,
        )
        at = 0
        while at < len(self.lines):
            if not self.lines[at].strip():
                at += 1
                continue
            expecting = self.literal
            at = next(end for rule in rules if (end := rule(at)))
            self.literal = self.literal and not expecting

    def _add(self, kind: BlockKind, at: int, rows: Rows = (), items: Sequence[str] = ()) -> None:
        self.body = self.body or kind != "front_matter"
        self.found.append(
            (kind, at, tuple(title for _, title in self.above), 0, rows, tuple(items))
        )

    def _line(self, at: int) -> str:
        return self.lines[at] if at < len(self.lines) else ""

    def _past_indented(self, at: int) -> int:
        """The line after the indented lines from `at` on, blank ones among them included."""
        end = at
        for i in range(at, len(self.lines)):
            line = self.lines[i]
            if line and not line[0].isspace():
                break
            if line:
                end = i + 1
        return end

    def _past_filled(self, at: int) -> int:
        while at < len(self.lines) and self.lines[at]:
            at += 1
        return at

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _indented(self, at: int) -> int:
        if not self.lines[at][0].isspace():
            return 0
        after_code = bool(self.found) and self.literal
        self._add("code" if after_code else "paragraph", at)
        return max(self._past_indented(at), at + 1)

    def _titled(self, at: int) -> int:
        line, following, third = self._line(at), self._line(at + 1), self._line(at + 2)
        if ADORNMENT.match(line):
            if following.strip() and third == line:
                return self._heading(at, following.strip(), (line[0], True), at + 3)
            if len(line) >= 4 and not following.strip():
                self._add("other", at)
                return at + 1
            return 0
        mark = ADORNMENT.match(following)
        if (
            not mark
            or line[0].isspace()
            or (len(following) < len(line) and len(following) < 4)
            or following == "::"
        ):
            return 0
        return self._heading(at, line.strip(), (following[0], False), at + 2)

    def _heading(self, at: int, title: str, style: tuple[str, bool], end: int) -> int:
        if style not in self.styles:
            self.styles.append(style)
        level = self.styles.index(style) + 1
        self.above = [*(entry for entry in self.above if entry[0] < level), (level, title)]
        self.title = self.title or title
        self.found.append(("heading", at, tuple(t for _, t in self.above), level, (), ()))
        return end

    def _table(self, at: int) -> int:
        line = self.lines[at]
        if SIMPLE.match(line):
            end = self._simple_end(at)
            if end:
                self._add("table", at, _simple(self.lines[at:end]))
            return end
        if GRID.match(line):
            end = at
            while self._line(end)[:1] in ("+", "|") and self._line(end):
                end += 1
            self._add("table", at, _grid(self.lines[at:end]))
            return end
        return 0

    def _simple_end(self, at: int) -> int:
        """After the border that a blank line follows; 0 where there is none within this block of lines."""
        borders = 0
        for i in range(at, len(self.lines)):
            if SIMPLE.match(self.lines[i]):
                borders += 1
                if borders > 1 and not self._line(i + 1).strip():
                    return i + 1
                if borders > 3:
                    return 0
        return 0

    def _explicit(self, at: int) -> int:
        line = self.lines[at]
        if not EXPLICIT.match(line):
            return 0
        end = self._past_indented(at + 1)
        directive = DIRECTIVE.match(line)
        name = directive[1].rpartition(":")[2].lower() if directive else ""
        body = self.lines[at + 1 : end]
        if name in TABLES:
            self._add("table", at, TABLES[name](body))
        else:
            prose = name in PROSE or bool(FOOTNOTE.match(line))
            self._add("code" if name in rst_hidden.CODE else "paragraph" if prose else "other", at)
        return max(end, at + 1)

    def _fields(self, at: int) -> int:
        """The fields at the top are the document's own; others are a list."""
        items: list[str] = []
        end = at
        while match := FIELD.match(self._line(end)):
            after = self._past_indented(end + 1)
            rest = [line.strip() for line in self.lines[end + 1 : after] if line.strip()]
            items.append(f"{match[1]}: {' '.join([match[2] or '', *rest])}".strip())
            end = max(after, end + 1)
        if items:
            self._add("list" if self.body else "front_matter", at, (), items if self.body else ())
        return end if items else 0

    def _bullets(self, at: int) -> int:
        match = BULLET.match(self.lines[at])
        mark = match[1] if match else ""
        return self._items(
            at,
            lambda line: found.end() if (found := BULLET.match(line)) and found[1] == mark else 0,
        )

    def _enumerated(self, at: int) -> int:
        following = self._line(at + 1)
        if following and not following[0].isspace() and not ENUMERATOR.match(following):
            return 0  # a sentence that starts like an item: "A. Einstein …"
        return self._items(at, lambda line: found.end() if (found := ENUMERATOR.match(line)) else 0)

    def _items(self, at: int, mark: Callable[[str], int]) -> int:
        items: list[str] = []
        i = at
        while i < len(self.lines) and (width := mark(self.lines[i])):
            end = max(self._past_indented(i + 1), i + 1)
            items.append(_first_paragraph(self.lines[i][width:], self.lines[i + 1 : end]))
            i = end
            while i < len(self.lines) and not self.lines[i] and i + 1 < len(self.lines):
                i += 1
        if not items:
            return 0
        self._add("list", at, (), [item for item in items if item])
        return i

    def _definitions(self, at: int) -> int:
        items: list[str] = []
        i = at
        while (
            (line := self._line(i))
            and line[0] != " "
            and self._line(i + 1)[:1] == " "
            and not _other(line)
        ):
            end = self._past_indented(i + 1)
            items.append(f"{line} -- {_first_paragraph('', self.lines[i + 1 : end])}")
            i = end
            while i + 1 < len(self.lines) and not self.lines[i]:
                i += 1
        if items:
            self._add("list", at, (), items)
        return i if items else 0

    def _doctest(self, at: int) -> int:
        if not self.lines[at].startswith(">>>"):
            return 0
        self._add("code", at)
        return self._past_filled(at)

    def _paragraph(self, at: int) -> int:
        end = max(self._past_filled(at), at + 1)
        self.literal = self.lines[end - 1].endswith("::")
        self._add("code" if self.lines[at:end] == ["::"] else "paragraph", at)
        if self.found[-1][0] == "code" and self.literal:  # a bare `::` belongs to what it announces
            end = max(self._past_indented(end), end)
            self.literal = False
        return end


def _other(line: str) -> bool:
    return bool(EXPLICIT.match(line) or BULLET.match(line) or FIELD.match(line))


def _first_paragraph(first: str, rest: list[str]) -> str:
    """The lines up to the first blank one, joined."""
    lines = [first.strip()] if first.strip() else []
    for line in rest:
        if not line.strip():
            if lines:
                break
            continue
        lines.append(line.strip())
    return " ".join(lines)


# -- tables ------------------------------------------------------------------------------------------------------------


def _simple(lines: list[str]) -> Rows:
    """Columns as the border marks them; without a header there are no rows to name."""
    columns = [(m.start(), m.end()) for m in re.finditer(r"=+", lines[0])]
    ends = [start for start, _ in columns[1:]] + [None]
    rows: list[list[str]] = []
    borders = 0
    header: list[list[str]] = []
    for line in lines:
        if SIMPLE.match(line):
            borders += 1
            if borders == 2:
                header, rows = rows, []
            continue
        if not line or set(line) <= {"-", " "}:
            continue
        cells = [line[a:b].strip() for (a, _), b in zip(columns, ends, strict=True)]
        if cells[0] or not rows:
            rows.append(cells)
        else:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    if borders < 3 or not header:
        return ()
    titles = [" ".join(cells).strip() for cells in zip(*header, strict=True)]
    return (tuple(titles), *(tuple(row) for row in rows))


def _grid(lines: list[str]) -> Rows:
    """Rows of a grid table; none where cells span or there is no header."""
    marks = [i for i, c in enumerate(lines[0].rstrip()) if c == "+"]
    rows: list[list[str]] = []
    current: list[list[str]] = [[] for _ in marks[1:]]
    header = 0
    for line in lines[1:]:
        if any(len(line) <= at or line[at] not in "+|" for at in marks):
            return ()
        if line[0] == "+":
            if set(line) - set("+-="):
                return ()
            rows.append([" ".join(cell).strip() for cell in current])
            current = [[] for _ in marks[1:]]
            header = header or ("=" in line) * len(rows)
        else:
            for cell, a, b in zip(current, marks, marks[1:], strict=False):
                cell.append(line[a + 1 : b].strip())
    return tuple(tuple(row) for row in rows) if header == 1 else ()


def _options(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """A directive's options, and what follows them."""
    options: dict[str, str] = {}
    for i, line in enumerate(lines):
        match = OPTION.match(line)
        if not match:
            return options, lines[i:]
        options[match[1]] = match[2].strip()
    return options, []


def _list_table(lines: list[str]) -> Rows:
    options, body = _options(lines)
    rows: list[list[str]] = []
    inner = 0
    for line in body:
        row = ROW.match(line)
        if row and (not rows or len(row[1]) < inner):
            inner = line.index("-", len(row[1]) + 1)
            rows.append([(row[2] or "").strip()])
        elif rows and line[inner : inner + 1] == "-" and not line[:inner].strip():
            rows[-1].append(line[inner + 1 :].strip())
        elif rows and line.strip():
            rows[-1][-1] = f"{rows[-1][-1]} {line.strip()}".strip()
    return _with_header(rows, options)


def _csv_table(lines: list[str]) -> Rows:
    options, body = _options(lines)
    delimiter = options.get("delim", ",")
    header = options.get("header")
    try:
        reader = csv.reader(
            [line.strip() for line in body if line.strip()],
            skipinitialspace=True,
            delimiter=delimiter if len(delimiter) == 1 and delimiter not in '"\r\n ' else ",",
        )
        rows = [[cell.strip() for cell in row] for row in reader]
        if header:
            rows = [
                [cell.strip() for cell in next(csv.reader([header], skipinitialspace=True))],
                *rows,
            ]
    except csv.Error:
        return ()
    return _with_header(rows, {"header-rows": "1"} if header else options)


def _with_header(rows: list[list[str]], options: dict[str, str]) -> Rows:
    if options.get("header-rows") != "1" or not rows:
        return ()
    width = len(rows[0])
    return tuple(tuple((row + [""] * width)[:width]) for row in rows)


def _inner(lines: list[str]) -> Rows:
    """The simple or grid table in a table directive."""
    _, body = _options(lines)
    body = [line for line in body if line]
    indent = min((len(line) - len(line.lstrip()) for line in body), default=0)
    body = [line[indent:] for line in body]
    return (
        _simple(body)
        if body and SIMPLE.match(body[0])
        else _grid(body)
        if body and GRID.match(body[0])
        else ()
    )


TABLES: dict[str, Callable[[list[str]], Rows]] = {
    "list-table": _list_table,
    "csv-table": _csv_table,
    "table": _inner,
    "flat-table": _list_table,
}
