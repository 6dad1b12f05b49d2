"""Words on a page → lines in reading order, and tables: white space tells columns apart (after recursive XY-cut).

A page is a stack of strips of words. Strips that leave the same corridor white form a band; the band's columns are read
one after the other where they hold running text, and row by row where they are a table's. Places are in points, y up.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, count, groupby, pairwise
from statistics import fmean, median

MARKED = re.compile(
    r"(?:[•▪●◦‣∙■□○–*-]|\(?(?:\d{1,3}|[A-Za-z])[.)])$"
)  # a list item's mark, all of a piece
LEADER = re.compile(r"[.·…_]+")
LEADING = 4  # dots, from which they lead from one word to another
MARKED_GAP = 2.5  # line heights between a mark and its item, at most
NARROW = 0.7  # line heights; what is narrower separates words
EVIDENCE = 6.0  # a corridor's width in line heights, times the lines beside it: two lines must be far apart
PATIENCE = 2  # lines on the left alone, more than those beside the corridor so far, that may come before the next
ACROSS = 0.9  # of a table's width, that a line between its rows has at least
RULED_ROWS = 3  # that lines across all columns part, for columns of text to be a table
COUNTED = 5  # steps from a number to the next, from which numbers count lines
COUNTED_SHARE = 0.75  # of a column's steps: there may be a mark of the printer among them
STRAY = 0.2  # of a band's strips may cross a corridor: cells that span columns
LONG = 3.2  # words a line, from which a column holds running text and no cells
LONG_LETTERS = 12  # a line, where a script writes no spaces
CONTINUED = 0.6  # of a column's lines that start in the middle of a sentence
ALIGNED = 0.7  # of a column's lines that stand level with those of another
APART = 1.4  # line pitches, above which a line below a column is no longer part of it

Interval = tuple[float, float]
Rules = Sequence[
    tuple[float, float, float]
]  # drawn lines: left, right, height above the page's foot


@dataclass(slots=True)
class Word:
    """`order` is its place among the page's words as drawn; `tight`: no space parts it from the word drawn before.

    `low` to `high` is its middle half: lines set close together overlap, their middles do not.
    """

    text: str
    left: float
    right: float
    top: float
    bottom: float
    order: int = 0
    tight: bool = False
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        quarter = self.height / 4
        self.low, self.high = self.bottom + quarter, self.top - quarter

    @property
    def height(self) -> float:
        return self.top - self.bottom


@dataclass(frozen=True, slots=True)
class Line:
    """`edge` is how far right its column goes; lines of one `region` of a page stand below each other.

    All places are 0 where the page does not say.
    """

    text: str
    page: int
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0
    edge: float = 0.0
    region: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """`cells`: row → column → the lines of a cell."""

    page: int
    cells: tuple[tuple[tuple[str, ...], ...], ...]


@dataclass(frozen=True)
class _Column:
    words: list[Word]

    @cached_property
    def rows(self) -> list[list[Word]]:
        return rows(self.words)

    @cached_property
    def lines(self) -> list[str]:
        return [text_of(row) for row in self.rows]


@dataclass(frozen=True, slots=True)
class _Strip:
    words: list[Word]
    pieces: list[Interval]  # what it covers from left to right, where no narrow gap parts it

    @property
    def top(self) -> float:
        return max(word.top for word in self.words)

    @property
    def gaps(self) -> list[Interval]:
        return [(a[1], b[0]) for a, b in pairwise(self.pieces)]

    def crosses(self, corridor: Interval) -> bool:
        return any(left < corridor[1] and right > corridor[0] for left, right in self.pieces)


def arranged(words: list[Word], page: int, rules: Rules = ()) -> list[Line | Table]:
    """A page's words, column by column and table by table; without the dots that lead from one to another."""
    written = _without_leaders(words)
    return _arranged(written, page, count(1), rules) if written else []


def _without_leaders(words: list[Word]) -> list[Word]:
    runs = groupby(sorted(words, key=lambda w: w.order), lambda w: bool(LEADER.fullmatch(w.text)))
    listed = [(leads, list(run)) for leads, run in runs]
    return [
        word
        for leads, run in listed
        if not leads or sum(len(w.text) for w in run) < LEADING
        for word in run
    ]


def rows(words: list[Word]) -> list[list[Word]]:
    """Words that stand on one line, from the page's top; each line's in reading order."""
    found: list[list[Word]] = []
    low = high = 0.0  # of the line
    for word in sorted(words, key=lambda w: (-w.low - w.high, w.left)):
        shared = min(high, word.high) - max(low, word.low)
        if found and shared > 0.5 * min(
            high - low, word.high - word.low
        ):  # a raised or lowered sign is level as well
            found[-1].append(word)
            low, high = min(low, word.low), max(high, word.high)
        else:
            found.append([word])
            low, high = word.low, word.high
    return [_in_order(row) for row in found]


def text_of(row: list[Word]) -> str:
    """A line's words with the spaces between them."""
    text = ""
    for before, word in zip([None, *row], row, strict=False):
        text += ("" if before is None or _touches(before, word) else " ") + word.text
    return text


def _in_order(row: list[Word]) -> list[Word]:
    """From left to right; a line that is written from right to left keeps the order in which it was drawn."""
    if not "".join([word.text for word in row]).isascii():
        kinds = Counter(unicodedata.bidirectional(letter) for word in row for letter in word.text)
        if kinds["R"] + kinds["AL"] > kinds["L"]:
            return sorted(row, key=lambda w: w.order)
    return sorted(row, key=lambda w: (w.left, w.order))


def _touches(before: Word, word: Word) -> bool:
    if word.order == before.order + 1:
        return word.tight
    return (
        abs(word.left - before.right) < 0.05 * word.height
    )  # parts of a word that were drawn at different times


# -- bands -------------------------------------------------------------------------------------------------------------


def _arranged(
    words: list[Word], page: int, regions: count[int], rules: Rules
) -> list[Line | Table]:
    size = median(word.height for word in words)
    strips = _strips(words, size)
    edge = max(word.right for word in words)
    made: list[Line | Table] = []
    plain: list[Word] = []
    at = 0
    while at < len(strips):
        end, corridors = _band(strips, at, size)
        if not corridors:
            plain += strips[at].words
            at += 1
            continue
        made += _lines(rows(plain), page, edge, next(regions))
        plain = []
        found, used = _columns(strips[at:], end - at, corridors, page, regions, rules)
        made += found
        at += used
    return made + _lines(rows(plain), page, edge, next(regions))


def _lines(level: list[list[Word]], page: int, edge: float, region: int) -> list[Line | Table]:
    """Rows of words as lines."""
    made: list[Line | Table] = []
    for row in level:
        tallest = max(
            row, key=lambda w: w.height
        )  # a raised sign says nothing of where the line stands
        made.append(
            Line(
                text_of(row),
                page,
                min(w.left for w in row),
                max(w.right for w in row),
                tallest.top,
                tallest.bottom,
                edge,
                region,
            )
        )
    return made


def _strips(words: list[Word], size: float) -> list[_Strip]:
    """Words one below the other; lines of two columns that stand beside each other, though not level, are one strip."""
    found: list[list[Word]] = []
    last: list[Word] = []  # the line that came last
    low = 0.0  # of the strip
    for row in rows(words):
        if found and (max(w.high for w in row) > low or _beside(last, row, size)):
            found[-1] += row
            low = min(low, *(w.low for w in row))
        else:
            found.append(row[:])
            low = min(w.low for w in row)
        last = row
    return [_Strip(strip, _pieces(strip, size)) for strip in found]


def _beside(above: list[Word], below: list[Word], size: float) -> bool:
    overlap = max(w.top for w in below) - min(w.bottom for w in above)
    apart = max(
        min(w.left for w in below) - max(w.right for w in above),
        min(w.left for w in above) - max(w.right for w in below),
    )
    return overlap > 0.15 * size and apart > NARROW * size


def _pieces(words: list[Word], size: float) -> list[Interval]:
    """A list item's mark is of one piece with the item."""
    pieces: list[list[Word]] = []
    ends: list[float] = []
    for word in sorted(words, key=lambda w: w.left):
        gap = word.left - ends[-1] if pieces else 0.0
        if pieces and (gap < NARROW * size or _leads(pieces, ends, gap, size)):
            pieces[-1].append(word)
            ends[-1] = max(ends[-1], word.right)
        else:
            pieces.append([word])
            ends.append(word.right)
    return [(piece[0].left, end) for piece, end in zip(pieces, ends, strict=True)]


def _leads(pieces: list[list[Word]], ends: list[float], gap: float, size: float) -> bool:
    """Whether the last piece is a list item's mark, and what comes behind the gap its item."""
    before = pieces[-1][0].left - ends[-2] if len(pieces) > 1 else math.inf
    near = gap < MARKED_GAP * size and before > 2 * gap
    return near and all(MARKED.match(word.text) for word in pieces[-1])


def _band(strips: list[_Strip], start: int, size: float) -> tuple[int, list[Interval]]:
    """Up to where the strips from `start` on leave a corridor white, and which; none where there is no band.

    The band ends with a strip that has something on both sides. Lines on the left alone may come between, but not many.
    """
    white = strips[start].gaps
    end = start + 1
    divided = lonely = 0
    for at in range(start, len(strips) if white else start):
        strip = strips[at]
        kept = [inner for corridor in white for inner in _white(strip, corridor, size)]
        if not kept or lonely > divided + PATIENCE:
            break
        if len(strip.pieces) > 1:
            white, end, lonely, divided = kept, at + 1, 0, divided + 1
        elif strip.pieces[0][1] <= white[0][0]:
            lonely += 1
    return end, _corridors(strips[start:end], size) if white else []


def _white(strip: _Strip, corridor: Interval, size: float) -> list[Interval]:
    """What a strip leaves of a corridor, where that is wide enough to be one."""
    inner = [corridor]
    for left, right in strip.pieces:
        inner = (
            [
                part
                for low, high in inner
                for part in ((low, min(high, left)), (max(low, right), high))
                if part[1] > part[0]
            ]
            if left < corridor[1] and right > corridor[0]
            else inner
        )
    return [part for part in inner if part[1] - part[0] >= NARROW * size]


def _corridors(strips: list[_Strip], size: float) -> list[Interval]:
    """White from the top to the bottom, but for a few strips, with enough on both sides."""
    edges = sorted({x for strip in strips for piece in strip.pieces for x in piece})
    most = int(STRAY * sum(len(strip.pieces) > 1 for strip in strips))
    covered = Counter(left for strip in strips for left, _ in strip.pieces)
    covered.subtract(right for strip in strips for _, right in strip.pieces)
    crossing = accumulate(
        covered[edge] for edge in edges
    )  # strips, since no two pieces of one overlap
    white: list[Interval] = []
    for (low, high), strips_across in zip(pairwise(edges), crossing, strict=False):
        if strips_across > most:
            continue
        if white and white[-1][1] == low:
            white[-1] = (white[-1][0], high)
        else:
            white.append((low, high))
    return [
        space
        for space in white
        if NARROW * size <= space[1] - space[0] and _evidence(strips, space, size)
    ]


def _evidence(strips: list[_Strip], corridor: Interval, size: float) -> bool:
    """The wider a corridor is, the fewer lines must stand beside it; two at least."""
    width = min(corridor[1] - corridor[0], EVIDENCE / 2 * size)
    beside = accumulate(_both(strip, corridor) for strip in strips)
    return any(width * lines >= EVIDENCE * size for lines in beside)


def _both(strip: _Strip, corridor: Interval) -> int:
    """Lines that a strip has on both sides of a corridor."""
    if strip.crosses(corridor):
        return 0
    left = [word for word in strip.words if word.right <= corridor[0]]
    right = [word for word in strip.words if word.left >= corridor[1]]
    return min(len(rows(left)), len(rows(right))) if left and right else 0


# -- columns -----------------------------------------------------------------------------------------------------------


def _columns(
    strips: list[_Strip],
    end: int,
    corridors: list[Interval],
    page: int,
    regions: count[int],
    rules: Rules,
) -> tuple[list[Line | Table], int]:
    """What the band of the first `end` strips holds, and how many strips were part of it in the end."""
    size = median(word.height for strip in strips[:end] for word in strip.words)
    reach = _reach(strips, end, corridors, size, below=True)
    whole = _without_line_numbers(_parted(strips[:reach], corridors))
    if _is_table(whole):
        return [Table(page, _cells(whole))], reach
    if texts := _ruled(strips[:reach], corridors, rules, len(whole)):
        return [Table(page, texts)], reach
    reach = _reach(strips, end, corridors, size)
    columns = _grouped(_without_line_numbers(_parted(strips[:reach], corridors)))
    if len(columns) < 2:  # all that spans the columns starts in the first
        edge = max(word.right for word in columns[0].words)
        return _lines(columns[0].rows, page, edge, next(regions)), reach
    return [
        part for column in columns for part in _arranged(column.words, page, regions, rules)
    ], reach


def _reach(
    strips: list[_Strip], end: int, corridors: list[Interval], size: float, below: bool = False
) -> int:
    """The longer column goes on below the other, at its own pace; of a table (`below`), any but the first."""
    pitches = [a.top - b.top for a, b in pairwise(strips[:end])]
    pitch = median(pitches) if pitches else 1.2 * size
    while end < len(strips) and all(_white(strips[end], corridor, size) for corridor in corridors):
        right = strips[end].pieces[0][0] >= corridors[0][1]
        far = strips[end - 1].top - strips[end].top > APART * pitch
        if (far or not right) if below else (far and not right):
            break
        end += 1
    return end


def _parted(strips: list[_Strip], corridors: list[Interval]) -> list[_Column]:
    """Words by column; of those that span columns, a few stand in the one they cover most, a line where it starts."""
    bounds = [-math.inf, *(x for corridor in corridors for x in corridor), math.inf]
    spaces = list(zip(bounds[::2], bounds[1::2], strict=True))
    columns: list[list[Word]] = [[] for _ in spaces]
    for strip in strips:
        for left, right in strip.pieces:
            words = [word for word in strip.words if left <= word.left <= right]
            crossed = [i for i, (low, high) in enumerate(spaces) if left < high and right > low]
            for word in words:
                columns[
                    crossed[0] if len(words) > len(crossed) > 1 else _covered(word, spaces)
                ].append(word)
    return [_Column(column) for column in columns if column]


def _covered(word: Word, spaces: list[Interval]) -> int:
    covered = [min(word.right, high) - max(word.left, low) for low, high in spaces]
    return covered.index(max(covered))


def _is_table(columns: list[_Column]) -> bool:
    if len(columns) < 2 or all(_is_long(column.lines) for column in columns):
        return False
    if sum(_is_list(column.lines) for column in columns) > 1:
        return False
    places = _places(columns)
    level = [len({places[word.order] for word in row}) for row in _rows_across(columns)]
    return sum(filled > 1 for filled in level) >= max(
        2, ALIGNED * min(len(column.lines) for column in columns)
    )


def _rows_across(columns: list[_Column]) -> list[list[Word]]:
    return rows([word for column in columns for word in column.words])


def _is_long(lines: list[str]) -> bool:
    words = fmean(len(line.split()) for line in lines)
    spaceless = fmean(
        sum(unicodedata.east_asian_width(letter) in "WF" for letter in line) for line in lines
    )
    return words >= LONG or spaceless >= LONG_LETTERS


def _is_list(lines: list[str]) -> bool:
    return sum(bool(MARKED.match(line.split()[0])) for line in lines if line.split()) * 2 >= len(
        lines
    )


def _ruled(
    strips: list[_Strip], corridors: list[Interval], rules: Rules, width: int
) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Rows of a table whose cells all hold text, where rules across all columns part them. Else nothing."""
    words = [word for strip in strips for word in strip.words]
    low, high = (
        min(word.high for word in strips[-1].words),
        max(word.low for word in strips[0].words),
    )
    span = max(word.right for word in words) - min(word.left for word in words)
    across = sorted(
        {
            round(y)
            for left, right, y in rules
            if low < y < high
            and right - left >= ACROSS * span
            and left <= corridors[0][0]
            and right >= corridors[-1][1]
        },
        reverse=True,
    )
    if len(across) < RULED_ROWS - 1:
        return ()
    bounds = [math.inf, *across, -math.inf]
    cells = []
    for top, bottom in pairwise(bounds):
        inside = [word for word in words if bottom < (word.low + word.high) / 2 <= top]
        block = (
            _parted([_Strip(inside, _pieces(inside, words[0].height))], corridors) if inside else []
        )
        if block and len(block) != width:
            return ()
        cells += [tuple(tuple(column.lines) for column in block)] if block else []
    return tuple(cells) if len(cells) >= RULED_ROWS else ()


def _runs_on(column: _Column) -> bool:
    """Whether it holds running text: long lines, most of which start within a sentence."""
    within = sum(not line[:1].isupper() for line in column.lines)
    return within >= CONTINUED * len(column.lines) and _is_long(column.lines)


def _without_line_numbers(columns: list[_Column]) -> list[_Column]:
    """Beside running text, the outermost column may count its lines: that is no text."""
    for side in (0, -1):
        rest = columns[1:] if side == 0 else columns[:-1]
        if rest and _counts(columns[side]) and all(map(_runs_on, rest)):
            return rest
    return columns


def _counts(column: _Column) -> bool:
    """Whether it holds numbers that go up by one from line to line."""
    numbers = [
        int(text) if text.isascii() and text.isdigit() and len(text) < 5 else None
        for text in column.lines
    ]
    steps = [a is not None and b == a + 1 for a, b in pairwise(numbers)]
    return len(steps) >= COUNTED and sum(steps) >= COUNTED_SHARE * len(steps)


def _grouped(columns: list[_Column]) -> list[_Column]:
    """A table beside running text is one column with its columns."""
    running = [_runs_on(column) for column in columns]
    if not any(running) or all(running):
        return columns
    groups: list[list[Word]] = []
    for i, column in enumerate(columns):
        if i and not running[i] and not running[i - 1]:
            groups[-1] += column.words
        else:
            groups.append(column.words[:])
    return [_Column(group) for group in groups]


def _cells(columns: list[_Column]) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Rows of a table; a line whose first cell is empty goes on with the row above."""
    made: list[list[list[str]]] = []
    places = _places(columns)
    for row in _rows_across(columns):
        filled = _filled(row, places)
        goes_on = made and 0 not in filled and len(filled) < max(2, len(columns) - 1)
        if not goes_on:
            made.append([[] for _ in columns])
        for i, text in filled.items():
            made[-1][i].append(text)
    return tuple(tuple(tuple(cell) for cell in row) for row in made)


def _places(columns: list[_Column]) -> dict[int, int]:
    """By a word's order, the number of its column."""
    return {word.order: i for i, column in enumerate(columns) for word in column.words}


def _filled(row: list[Word], places: dict[int, int]) -> dict[int, str]:
    """Column → text, of those that a line has something in."""
    parts: dict[int, list[Word]] = {}
    for word in row:
        parts.setdefault(places[word.order], []).append(word)
    return {i: text_of(parts[i]) for i in sorted(parts)}
