"""PDF through pypdfium2: words put back together into lines, columns, tables and paragraphs, by where they stand."""

from __future__ import annotations

import ctypes
import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from statistics import median
from typing import Any

from phoenix_forge.corpus import legible
from phoenix_forge.corpus.document import Held
from phoenix_forge.corpus.readers import Unreadable, grid, layout, markdown, ocr, writing
from phoenix_forge.corpus.readers.layout import Line, Table, Word
from phoenix_forge.corpus.readers.noted import Noted

HYPHENS = "\x02\ufffe\xad"  # what PDFium gives for a hyphen that only breaks a word
BULLET = re.compile(r"[•▪●◦‣∙■□○–]\s+")
LISTED = re.compile(r"(?:[•▪●◦‣∙■□○–]|\(?\d{1,3}[.)]|[-*])\s+\S")
NUMBERING = re.compile(
    r"^(?:(?:chapter|section|appendix)\s+)?[\dIVX]+(?:\.\d+)*\.?\s+", re.IGNORECASE
)
SENTENCE_END = re.compile(r"[.!?:;…]['\"”’)\]]*$")
LINE = re.compile(
    f"(\r\n|\r|\n|(?<=[{HYPHENS}]))"
)  # PDFium itself joins a word that a hyphen breaks
CONTROL = "\x00-\x08\x0e-\x1f"  # often the space of a font that gives it no meaning
WORD = re.compile(rf"[^\s{CONTROL}{HYPHENS}]+[{HYPHENS}]?|[{HYPHENS}]")
# Ligatures that are one letter, and what symbol fonts have in places that Unicode leaves private: signs and bullets.
LETTERS = (
    {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
    | {0xF000 + ord(sign): sign for sign in "!%()+,./0123456789:;<=>?[]_{|}"}
    | {0xF0B7: "•", 0xF0A7: "▪", 0xF0D8: "‣"}
)
# Codes of shapes without a meaning, where a page has a few: control characters, and the private ones left.
LOST = re.compile("[\x00\x01\x03-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
PAGE_NUMBER = re.compile(
    r"(?:page|p\.|seite|página|pagina|стр\.|第)?\s*[-–—|(\[]?\s*(\d{1,4})\s*[-–—|)\]]?[页頁]?"
    r"(?:\s*(?:/|of|von|de|di|sur|из|共)\s*\d{1,4}\s*[页頁]?)?",
    re.IGNORECASE,
)
EDGE = 2  # lines at the top and bottom of a page that may be a running header or footer
NUMBER = re.compile(r"[0-9]{1,4}")
SAME = 3  # pages that have a line in the same place, from which it is a running one
SAME_PLACE = 3.0  # points between the places of a running line on two pages
UNMAPPED = 0.1  # of a page's letters without a meaning, from which it is not read
ONE_SCRIPT = 0.7  # of a text's letters, at least
VOWELS = 0.25  # of a Latin text's letters, at least: English has 0.38, Polish 0.36, letters by chance 0.19
FREQUENT = "eaionrst"  # in languages in Latin letters, five at least of the eight most frequent; by chance two or three
EAST = {
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "KATAKANA-HIRAGANA",
    "HANGUL",
    "FULLWIDTH",
    "HALFWIDTH",
    "IDEOGRAPHIC",
}
WIDE = 0.6  # line heights a letter, from which a word may be several
APART = 0.5  # line heights between the letters of one word, at most
JUDGED = 20  # letters; fewer say nothing
ASKED = 500  # letters of a page, evenly spread, before all of them are: a tenth of a page is not missed by so many
FAR = 1e6  # points from the page's corner
DRAWN = 5000  # shapes of a page that are looked at; a map has more
THICK = 3.0  # points of a drawn line, at most
LEVEL = 10  # degrees from upright; text at a greater angle does not belong to the lines of the page
FEW = 100  # letters of a page that an image fills: a stamp of the scanner's, not the page's text
TWICE = 0.2  # line heights between a word and itself, drawn again
MANY = 50  # words of the same letters that one is compared with
DRAWINGS = re.compile(rb"(?i)(?:wing|web|zapf ?)dings|dingbats")  # fonts
BULLETED = "•"  # what stands for a drawing
LONGEST_NAME = 100  # bytes of a font's
FILLED = 0.7  # of a page, by an image
PICTURE = 30.0  # points of either side, from which an image shows something: a centimetre
SHARP = 300 / 72  # pixels a point, at most, of a page that is drawn to be recognised
Box = tuple[float, float, float, float]  # left, bottom, right, top
read = markdown.read


@dataclass(slots=True)
class Page:
    """`words` by place; `turned` is text at an angle; `plain` are lines as PDFium gives them, where it gives no places.

    `turn` is by how many degrees the page is turned clockwise for its words to stand upright, as `words` and `rules`
    (drawn lines) do. `fault` says why the page cannot be read, `note` what is to be known of it. `pictures` beside its
    text are those of some size.
    """

    number: int
    words: list[Word] = field(default_factory=list)
    turned: list[Word] = field(default_factory=list)
    plain: list[Line] = field(default_factory=list)
    fault: str = ""
    turn: int = 0
    rules: layout.Rules = ()
    note: str = ""
    pictures: int = 0


def extract(data: bytes) -> str:
    """Text of the readable pages as Markdown; Noted: what others there are, and text that was recognised in images.

    Raises Unreadable where the file is damaged, encrypted, or no page can be read: images, or fonts without a meaning.
    """
    import pypdfium2 as pdfium

    try:
        book = pdfium.PdfDocument(data)
        try:
            pages = [_page(book[i], i) for i in range(len(book))]
            headings = _outline(book)
        finally:
            book.close()
    except pdfium.PdfiumError as error:
        locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise Unreadable(
            "encrypted: it opens with a password only" if locked else "damaged, or not a PDF"
        ) from None
    notes = _notes(pages)
    readable = [page for page in pages if not page.fault]
    said = sum(any(any(map(str.isalnum, text)) for text in _texts(page)) for page in readable)
    held = (
        Held("pages", len(pages), said),
        Held("pictures", sum(page.pictures for page in readable), 0),
    )
    if not said:
        raise _unreadable(notes, held)
    return Noted(written(readable, headings), notes, held)


def written(pages: list[Page], headings: dict[tuple[int, str], int]) -> str:
    """Pages as Markdown; `headings` are levels by page and title."""
    parts = [part for page in _without_running(pages) for part in _parts(page)]
    return "\n\n".join(_blocks(parts, headings)) + "\n"


def _unreadable(notes: tuple[str, ...], held: tuple[Held, ...]) -> Unreadable:
    """For its reason, what is the matter with the pages, and the way out that is left."""
    said = "; ".join(notes).replace(f"; fix: {ocr.EXTRA}", "") or "pages without text"
    fix = ocr.EXTRA
    if ocr.is_installed():
        fix = "export it again from the program that made it, or scan it again, sharper"
    return Unreadable(f"no text layer that can be read: {said}", fix=fix, held=held)


# -- pages -------------------------------------------------------------------------------------------------------------

UNNAMED = "text in a font that does not say which letters its shapes are"
IMAGE = "an image without text"
STAMPED = "an image that fills the page, with hardly any text"


def _page(page: Any, number: int) -> Page:
    made = Page(number)
    paths, images = _drawn(page)
    textpage = page.get_textpage()
    count = textpage.count_chars()
    text = textpage.get_text_range(0, count) if count else ""
    if text.strip():
        if _is_meaningless(textpage, text, count):
            made.fault = UNNAMED
        else:
            _fill(made, textpage, text, count)
            made.rules = _rules(paths, made.turn) if made.words else ()
            boxes = [image.get_bounds() for image in images]
            made.pictures = sum(
                min(right - left, top - bottom) >= PICTURE for left, bottom, right, top in boxes
            )
    elif images:
        made.fault = IMAGE
    textpage.close()
    if made.fault or _is_stamped(page, images, text):
        _recognise(page, made, text)
    page.close()
    return made


def _is_stamped(page: Any, images: list[Any], text: str) -> bool:
    """Whether an image fills a page that has hardly any text: a scan with the stamp of a program."""
    if sum(map(str.isalnum, text[: FEW * 4])) >= FEW or sum(map(str.isalnum, text)) >= FEW:
        return False
    width, height = page.get_size()
    for left, bottom, right, top in (image.get_bounds() for image in images):
        if (min(right, width) - max(left, 0)) * (
            min(top, height) - max(bottom, 0)
        ) >= FILLED * width * height:
            return True
    return False


def _recognise(page: Any, made: Page, text: str) -> None:
    """Reads the page as it is drawn, where that says more than its text layer does."""
    why = made.fault or STAMPED
    if not ocr.is_installed():
        made.note = f"{why}; not read; fix: {ocr.EXTRA}"
        return
    scale = min(ocr.SIDE / max(page.get_size()), SHARP)
    found = ocr.recognised(page.render(scale=scale).to_numpy())
    if found is None or (
        not made.fault and sum(len(word.text) for word in found.words) <= len(text)
    ):
        made.note = f"{made.fault}; not read" if made.fault else ""
        return
    made.note = found.note()
    if found.is_legible:
        made.fault, made.turn, made.rules, made.turned, made.plain = "", 0, (), [], []
        made.words, made.pictures = found.words, 0


def _fill(made: Page, textpage: Any, text: str, count: int) -> None:
    places = _indices(text, count)
    spans = [match.span() for match in WORD.finditer(text) if _clean(match[0])]
    angles = (
        [] if places is None else _angles(textpage, text, [start for start, _ in spans], places)
    )
    upright = Counter(angle for angle in angles if angle is not None)
    turn = max(
        sorted(upright), key=lambda angle: upright[angle], default=0
    )  # by which the page is to be turned
    made.turn, box = turn, _boxes(textpage)
    found = (
        []
        if places is None
        else [
            (word, angle == turn)
            for span, angle in zip(spans, angles, strict=True)
            for word in _words(textpage, text, span, places, turn if angle is None else angle, box)
        ]
    )
    found = list(_once(found))
    for order, (word, _) in enumerate(found):
        word.order = order
    if not found or not all(_is_placed(word) for word, _ in found):
        bare = [" ".join(_clean(part).split()) for part in LINE.split(text)]
        made.plain = [Line(part, made.number) for part in bare if part]
        return
    made.words = [word for word, level in found if level]
    made.turned = [word for word, level in found if not level]


def _once(found: list[tuple[Word, bool]]) -> Iterator[tuple[Word, bool]]:
    """Words without those that are drawn over themselves, as programs do that have no bold letters."""
    places: dict[str, list[Word]] = {}
    for word, level in found:
        before = places.setdefault(word.text, [])
        if not (before and _stands_at(word, before[-MANY:])):
            before.append(word)
            yield word, level


def _stands_at(word: Word, others: list[Word]) -> bool:
    near = TWICE * word.height
    return any(
        abs(one.left - word.left) < near and abs(one.bottom - word.bottom) < near for one in others
    )


def _is_placed(word: Word) -> bool:
    """Whether its place is one: a damaged file may say anything."""
    level, high = -FAR < word.left <= word.right < FAR, -FAR < word.bottom < word.top < FAR
    return level and high


def _clean(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return LOST.sub("", text.translate(LETTERS))


def _indices(text: str, count: int) -> list[int] | None:
    """PDFium's index of each character: it counts UTF-16 units. None where that does not come out either."""
    if len(text) == count:
        return list(range(count))
    made = []
    at = 0
    for letter in text:
        made.append(at)
        at += 1 + (ord(letter) > 0xFFFF)
    return made if at == count else None


def _words(
    textpage: Any,
    text: str,
    span: tuple[int, int],
    places: list[int],
    turn: int,
    box: Callable[[int, int], Box],
) -> Iterator[Word]:
    """A word, or several, where PDFium sees no space though there is one. Its height is the font's."""
    start, end = span
    end -= text[end - 1] in HYPHENS and end - start > 1
    tight = start > 0 and not text[start - 1].isspace()
    left, bottom, right, top = box(places[start], turn)
    last = box(places[end - 1], turn) if end - start > 1 else None
    if last is not None and last[2] - left > WIDE * (end - start) * (top - bottom):
        boxes = [box(places[i], turn) for i in range(start, end)]
        cut = next(
            (
                i
                for i in range(1, len(boxes))
                if boxes[i][0] - boxes[i - 1][2] > APART * (top - bottom)
            ),
            None,
        )
        if cut is not None:
            ends = sorted((left, boxes[cut - 1][2]))
            yield Word(
                _clean(text[start : start + cut]), ends[0], ends[1], top, bottom, tight=tight
            )
            yield from (
                replace(word, tight=False) if i == 0 else word
                for i, word in enumerate(
                    _words(textpage, text, (start + cut, span[1]), places, turn, box)
                )
            )
            return
    ends = [
        left,
        right,
        *(last[0:3:2] if last is not None else ()),
    ]  # one from right to left ends at its left
    said = _clean(text[start : span[1]])
    if len(said) == 1 and _is_drawing(textpage, places[start]):
        said = BULLETED
    yield Word(said, min(ends), max(ends), top, bottom, tight=tight)


def _is_drawing(textpage: Any, index: int) -> bool:
    """Whether a letter is of a font that has drawings in the places of letters."""
    import pypdfium2.raw as pdfium

    name = ctypes.create_string_buffer(LONGEST_NAME)
    size = pdfium.FPDFText_GetFontInfo(textpage.raw, index, name, LONGEST_NAME, None)
    return 0 < size <= LONGEST_NAME and bool(DRAWINGS.search(name.value))


def _boxes(textpage: Any) -> Callable[[int, int], Box]:
    """Gives a letter's box, as high as its font, on the page turned so far. Raises PdfiumError where it has none."""
    import pypdfium2 as pdfium

    located, page, found = pdfium.raw.FPDFText_GetLooseCharBox, textpage.raw, pdfium.raw.FS_RECTF()

    def box(index: int, turn: int) -> Box:
        if not located(page, index, found):
            raise pdfium.PdfiumError("a letter without a place")
        made = found.left, found.bottom, found.right, found.top
        return _upright(made, turn) if turn else made

    return box


def _upright(box: Box, turn: int) -> Box:
    """(left, bottom, right, top) on a page that is turned clockwise by 90, 180 or 270 degrees."""
    left, bottom, right, top = box
    if turn == 90:
        return bottom, -right, top, -left
    if turn == 180:
        return -right, -top, -left, -bottom
    return (-top, left, -bottom, right) if turn == 270 else box


def _angles(textpage: Any, text: str, starts: list[int], places: list[int]) -> list[int | None]:
    """Of each word; where a line's first and last stand alike, those between them do."""
    made: list[int | None] = []
    line: list[int] = []
    for start, following in zip_longest(starts, starts[1:]):
        line.append(start)
        if following is None or "\n" in text[start:following]:
            first, last = (_angle(textpage, places[at]) for at in (line[0], line[-1]))
            made += (
                [first] * len(line)
                if first == last
                else [_angle(textpage, places[at]) for at in line]
            )
            line = []
    return made


def _angle(textpage: Any, index: int) -> int | None:
    """By how many degrees a page is to be turned clockwise for a letter to stand upright; None where it never does."""
    import pypdfium2.raw as pdfium

    leaning = math.degrees(
        max(pdfium.FPDFText_GetCharAngle(textpage.raw, index), 0.0)
    )  # clockwise as well
    quarter = round(leaning / 90) * 90
    return (360 - quarter) % 360 if abs(leaning - quarter) < LEVEL else None


def _rules(paths: list[Any], turn: int) -> layout.Rules:
    """Level lines, and the upper and lower edges of boxes; those that meet end to end are one."""
    found: list[tuple[float, float, float]] = []  # height, left, right
    for path in paths:
        left, bottom, right, top = _upright(path.get_bounds(), turn)
        if right - left > THICK:
            found += (
                [(bottom, left, right)]
                if top - bottom <= THICK
                else [(bottom, left, right), (top, left, right)]
            )
    made: list[tuple[float, float, float]] = []
    for height, left, right in sorted(found, key=lambda rule: (round(rule[0]), rule[1])):
        if made and round(made[-1][2]) == round(height) and left <= made[-1][1] + THICK:
            made[-1] = (made[-1][0], max(made[-1][1], right), made[-1][2])
        else:
            made.append((left, right, height))
    return made


def _drawn(page: Any) -> tuple[list[Any], list[Any]]:
    """The page's shapes and its images."""
    import pypdfium2.raw as pdfium

    found: dict[int, list[Any]] = {pdfium.FPDF_PAGEOBJ_PATH: [], pdfium.FPDF_PAGEOBJ_IMAGE: []}
    for drawn in page.get_objects(filter=list(found)):
        if len(found[drawn.type]) < DRAWN:
            found[drawn.type].append(drawn)
    paths, images = found.values()
    return paths, images


def _is_meaningless(textpage: Any, text: str, count: int) -> bool:
    """Whether a page's text is codes of shapes, or words that no script writes.

    PDFium says where a font gives a shape no meaning, and takes its code for a letter then, which may be right.
    """
    import pypdfium2.raw as pdfium

    letters = {
        letter: number
        for letter, number in Counter(text).items()
        if not letter.isspace() and letter not in HYPHENS
    }
    shown = sum(letters.values())
    if shown < JUDGED:
        return False
    lost = {
        letter: number
        for letter, number in letters.items()
        if letter == "\ufffd"
        or (unicodedata.category(letter) in legible.OTHER and ord(letter) not in LETTERS)
    }
    space = max((number for letter, number in lost.items() if ord(letter) < ord(" ")), default=0)
    if sum(lost.values()) - space > UNMAPPED * shown:
        return True
    unmapped_at = pdfium.FPDFText_HasUnicodeMapError
    page, places = textpage.raw, range(count)
    if not any(unmapped_at(page, i) == 1 for i in places[:: max(1, count // ASKED)]):
        places = range(0)
    unmapped = [
        letter
        for i in places
        if unmapped_at(page, i) == 1
        and (letter := _letter(pdfium.FPDFText_GetUnicode(page, i))).isprintable()
        and letter != " "
    ]
    if len(unmapped) > UNMAPPED * shown and not _is_plausible("".join(unmapped)):
        return True
    return legible.is_broken(text)


def _is_plausible(text: str) -> bool:
    """Whether letters may be those of a language: of one script, and where that is Latin as frequent as usual."""
    letters = [letter for letter in text if letter.isalpha()]
    if len(letters) < JUDGED:
        return True
    scripts = Counter(_script(letter) for letter in letters)
    script, most = max(sorted(scripts.items()), key=lambda each: each[1])
    if most < ONE_SCRIPT * len(letters):
        return False
    if script == "LATIN":
        bare = unicodedata.normalize("NFD", "".join(letters)).casefold()
        most_frequent = [
            letter for letter, _ in Counter(filter(str.isalpha, bare)).most_common(len(FREQUENT))
        ]
        usual = sum(letter in FREQUENT for letter in most_frequent) * 2 > len(FREQUENT)
        return usual and sum(letter in "aeiouy" for letter in bare) >= VOWELS * len(letters)
    # Bytes of another encoding, taken two at a time, all begin alike.
    return script != "EAST" or len({ord(letter) >> 8 for letter in letters}) > 2


def _letter(code: int) -> str:
    """A damaged font may name more than Unicode has."""
    return chr(code) if code <= sys.maxunicode else "\ufffd"


def _script(letter: str) -> str:
    first = unicodedata.name(letter, "").partition(" ")[0]
    return "EAST" if first in EAST else first


def _texts(page: Page) -> Iterable[str]:
    yield from (word.text for word in (*page.words, *page.turned))
    yield from (line.text for line in page.plain)


def _notes(pages: list[Page]) -> tuple[str, ...]:
    """What is to be known of the pages, by page number."""
    said: dict[str, list[int]] = {}
    for page in pages:
        if page.note:
            said.setdefault(page.note, []).append(page.number + 1)
    return tuple(f"{_numbered(numbers)}: {note}" for note, numbers in said.items())


def _numbered(numbers: list[int]) -> str:
    """[1, 2, 3, 7] → pages 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    named = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"{'pages' if len(numbers) > 1 else 'page'} {named}"


def _parts(page: Page) -> Iterator[Line | Table]:
    """A page's lines and tables in reading order; what stands at an angle comes last, as it was drawn."""
    yield from page.plain
    yield from layout.arranged(page.words, page.number, page.rules)
    if page.turned:
        yield Line(layout.text_of(page.turned), page.number, region=-1)


def _outline(book: Any) -> dict[tuple[int, str], int]:
    """(page, title) → level, from the file's own bookmarks: the only headings that are certain."""
    found: dict[tuple[int, str], int] = {}
    for mark in book.get_toc():
        target = mark.get_dest()
        page = target.get_index() if target else None
        if page is not None:
            found.setdefault((page, _key(mark.get_title() or "")), mark.level + 1)
    return found


def _key(text: str) -> str:
    return NUMBERING.sub("", " ".join(text.split())).casefold()


# -- running heads and feet --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Edge:
    """A line near a page's top or bottom; `words` are empty where PDFium gives no places."""

    page: int
    text: str
    words: list[Word]
    line: Line | None = None

    @property
    def shape(self) -> str:
        return re.sub(r"\d+|\b[ivxlc]+\b", "#", self.text)

    @property
    def height(self) -> float:
        return round(self.words[0].bottom / SAME_PLACE) if self.words else 0.0


def _without_running(pages: list[Page]) -> list[Page]:
    """Leaves out lines at the edges that many pages share, up to their numbers, and page numbers alone."""
    edges = [edge for page in pages for edge in _edges(page)]
    seen = Counter(
        shape
        for page in pages
        for shape in {edge.shape for edge in edges if edge.page == page.number}
    )
    placed = Counter((edge.shape, edge.height) for edge in edges if edge.words)
    often = max(3, (len(pages) + 1) // 2)
    running = [
        edge
        for edge in edges
        if seen[edge.shape] >= often or placed[edge.shape, edge.height] >= SAME
    ]
    running += _numbered_edges(edges, {edge.height for edge in running if edge.words})
    words = {(edge.page, word.order) for edge in running for word in edge.words}
    lines = {id(edge.line) for edge in running if edge.line}
    kept = [
        replace(
            page,
            words=[w for w in page.words if (page.number, w.order) not in words],
            plain=[line for line in page.plain if id(line) not in lines],
        )
        for page in pages
    ]
    return (
        kept if any(c.isalnum() for page in kept for text in _texts(page) for c in text) else pages
    )


def _edges(page: Page) -> list[_Edge]:
    found: list[list[Word] | Line] = [*layout.rows(_outer(page.words)), *page.plain]
    outer = found if len(found) <= 2 * EDGE else found[:EDGE] + found[-EDGE:]
    return [
        _Edge(page.number, line.text, [], line)
        if isinstance(line, Line)
        else _Edge(page.number, layout.text_of(line), line)
        for line in outer
    ]


def _outer(words: list[Word]) -> list[Word]:
    """Words of the page's upper and lower lines, more of them than are looked at."""
    if len(words) < MANY:
        return words
    tall = max(word.height for word in words) * EDGE * 2
    top, bottom = max(word.top for word in words) - tall, min(word.bottom for word in words) + tall
    return [word for word in words if word.top > top or word.bottom < bottom]


def _numbered_edges(edges: list[_Edge], heights: set[float]) -> list[_Edge]:
    """Page numbers alone, and with other words where running lines stand."""
    shift = _shift(edges)
    if shift is None:
        return []
    found = [edge for edge in edges if _number(edge) == edge.page + shift]
    heights = heights | {edge.height for edge in found}
    for edge in edges:
        ends = (
            {edge.text.split()[0], edge.text.split()[-1]}
            if edge.height in heights and edge.words
            else set()
        )
        if str(edge.page + shift) in ends:
            found.append(edge)
    return found


def _number(edge: _Edge) -> int | None:
    match = PAGE_NUMBER.fullmatch(edge.text)
    return int(match[1]) if match else None


def _shift(edges: list[_Edge]) -> int | None:
    """What two or more pages' numbers, alone or at a line's end, are ahead of their places in the file."""
    ahead: Counter[int] = Counter()
    for edge in edges:
        number = _number(edge)
        ends = (
            [number]
            if number is not None
            else [
                int(end)
                for end in {edge.text.split()[0], edge.text.split()[-1]}
                if NUMBER.fullmatch(end)
            ]
        )
        ahead.update(end - edge.page for end in ends)
    best = max(sorted(ahead), key=lambda shift: ahead[shift], default=None)
    return best if best is not None and ahead[best] >= 2 else None


# -- paragraphs --------------------------------------------------------------------------------------------------------


def _blocks(parts: list[Line | Table], headings: dict[tuple[int, str], int]) -> list[str]:
    lines = [part for part in parts if isinstance(part, Line)]
    gaps = [
        a.bottom - b.top
        for a, b in pairwise(lines)
        if a.page == b.page and a.region == b.region and a.top > b.top
    ]
    gap = median(gaps) if gaps else 0.0
    words = Counter(re.findall(r"\w+-\w+|\w+", "\n".join(line.text for line in lines)))
    groups: list[list[Line]] = []
    made: list[str] = []
    for part in parts:
        level = headings.get((part.page, _key(part.text))) if isinstance(part, Line) else None
        if isinstance(part, Table) or level:
            made += [_paragraph(group, words) for group in groups]
            groups = []
            made += (
                _table(part, words)
                if isinstance(part, Table)
                else [writing.heading(level or 1, _prose([part.text], words))]
            )
        elif groups and not _breaks(groups[-1], part, gap):
            groups[-1].append(part)
        else:
            groups.append([part])
    made += [_paragraph(group, words) for group in groups]
    return _lists_together(made)


def _breaks(group: list[Line], line: Line, gap: float) -> bool:
    """Whether a line starts a paragraph of its own."""
    last = group[-1]
    ended = bool(SENTENCE_END.search(last.text))
    if LISTED.match(line.text) and (
        ended or not line.text[0].isdigit() or bool(LISTED.match(group[0].text))
    ):
        return True
    apart = (last.page, last.region) != (line.page, line.region)
    if apart and (
        ended or not (line.text[0].islower() or last.text.endswith(("-", ",", *HYPHENS)))
    ):
        return True
    if (
        last.page != line.page or line.top > last.top
    ):  # another page or column: geometry says nothing
        return False
    if not line.top:
        return ended and len(last.text) < 45
    height = max(last.top - last.bottom, 1.0)
    if (
        abs((line.top - line.bottom) - height) > 0.2 * height
        or last.bottom - line.top > gap + 0.5 * height
    ):
        return True
    if (
        line.left - group[0].left > height
        and len(group) > 1
        and abs(last.left - line.left) > 0.5 * height
    ):
        return ended  # the next first line is indented
    if len(group) > 1 and line.left - last.left > 0.8 * height and not LISTED.match(group[0].text):
        return ended
    width = last.edge - last.left
    if (
        len(group) == 1
        and not ended
        and last.right < last.edge - 0.4 * width
        and line.text[0].isupper()
    ):
        return True  # a heading, or one line of several that stand for themselves
    return ended and last.right < last.edge - 0.2 * width


def _paragraph(group: list[Line], words: Counter[str]) -> str:
    text = _prose([line.text for line in group], words)
    return (
        BULLET.sub("- ", text, count=1)
        if BULLET.match(text)
        else text
        if LISTED.match(text)
        else writing.line(text)
    )


def _table(table: Table, words: Counter[str]) -> list[str]:
    return grid.tables([[_prose(cell, words) for cell in row] for row in table.cells])


def _prose(lines: Iterable[str], words: Counter[str]) -> str:
    """Lines as one, without the hyphens that only break words."""
    text = ""
    for line in lines:
        text = _joined(text, line, words) if text else line
    return re.sub(f"[{HYPHENS}]", "", text)


def _joined(text: str, following: str, words: Counter[str]) -> str:
    """A hyphen at a line's end goes, unless the document has the hyphenated word elsewhere.

    No space comes where a script writes none.
    """
    if text[-1] not in "-" + HYPHENS or not following[0].islower():
        spaceless = _is_spaceless(text[-1]) and _is_spaceless(following[0])
        return text + following if spaceless else f"{text} {following}"
    before = re.search(r"\w+$", text[-60:-1])
    after = re.match(r"\w+", following)
    if not before or not after:
        return text + following
    whole, parted = before[0] + after[0], f"{before[0]}-{after[0]}"
    keep = words[parted] > words[whole]
    return text[:-1] + ("-" if keep else "") + following


def _is_spaceless(letter: str) -> bool:
    """Whether it is Chinese or Japanese, a letter or a sign; Korean parts its words."""
    return unicodedata.east_asian_width(letter) in "WF" and not unicodedata.name(
        letter, ""
    ).startswith("HANGUL")


def _lists_together(blocks: list[str]) -> list[str]:
    """Items that follow each other are one list."""
    made: list[str] = []
    for block in blocks:
        if made and block.startswith("- ") and made[-1].startswith("- "):
            made[-1] += "\n" + block
        else:
            made.append(block)
    return made
