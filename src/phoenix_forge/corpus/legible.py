"""What of a text nobody can read: base64, hashes, dumps, path data, minified code, wrong encodings, broken fonts.

Rather a little rubbish is taught than a real text lost. So nothing is judged by how unusual it is: each kind of rubbish
has a form of its own, a row of `KINDS`, which language, code and data in no script take by chance. A stretch is left
out where such runs make up LEAST characters with hardly a letter between them; a hash in a sentence, a log or a table
stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from phoenix_forge.core.fsio import human
from phoenix_forge.corpus.document import Cut, cut

LEAST = (
    400  # characters of a stretch: shorter ones are examples, which a reader of the text looks at
)
BETWEEN = 3  # times as long as the letters between two runs is the shorter of both, where they are one stretch
LEFT = 200  # letters; a file that keeps fewer, and little beside what it loses, is no document
SHOWN = 8  # places that a note lists
WORDED = 0.4  # of a run's characters, in parts that are spelt as words: chance gives base64 0.2 and hex 0.06
LETTERED = 0.15  # of a run's characters: what has fewer letters is a number
LONG = 400  # characters of a line that may be minified
BYTES = 400  # of an array in source code; tables of values have 256
ODD = 0.3  # of a paragraph's words that no script writes so
JUDGED = 20  # words; fewer say nothing
OTHER = {"Cc", "Co", "Cn", "Cs"}  # kinds of character that no text has
SIGNS = {
    "So",
    "Sc",
    "Sk",
    "No",
}  # and those that a font which names no letters often has in their place
BASIC = [chr(code) for code in range(0x80, 0x10000) if not 0xD800 <= code <= 0xDFFF]
# What stands between letters only where a font has lost them: not signs of units, names and prices, no boxes or arrows.
ODD_SIGNS = frozenset(
    sign
    for sign in BASIC
    if unicodedata.category(sign) in OTHER
    or sign in "¶§"
    or (unicodedata.category(sign) in SIGNS and sign < "\u0250" and sign not in "°©®£¥")
)
CODES = "".join(sign for sign in BASIC if "\ue000" <= sign <= "\uf8ff") + "\ufffd"
CONTROLS = "".join(chr(code) for code in range(32) if chr(code) not in "\t\n\v\f\r\x1b")
LETTER = re.compile(r"[^\W\d_]")
PARAGRAPH = re.compile(
    r"\S[^\n]*(?:\n(?![^\S\n]*\n)[^\n]*)*"
)  # by lines: a step a letter would keep 100 bytes each
SPELT = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")
ZEROS = re.compile(r"A{4,}")  # bytes of zero in base64
HEXADECIMAL = re.compile(r"[0-9a-fA-F\s]+")
ESCAPED = re.compile(r"&#?\w{1,8};|\x1b\[[\d;]*m")  # characters of XML, colours of a terminal
# What bytes beyond ASCII become in Windows-1252 and Latin-1; and of these, what a text may have many of in a row.
WESTERN = "".join(map(chr, range(0x80, 0x100))) + "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
CYRILLIC = f"\u0400-\u04ff№\ufffd{WESTERN}"  # the same in Windows-1251
RULED = re.compile("[\u00a0€…‘’“”•–—·°«»¯¬\u00ad]")


class Stretch(NamedTuple):
    """Characters `start` to `end` of a text, and what they are."""

    start: int
    end: int
    kind: str


class Kind(NamedTuple):
    """`pattern` finds runs that may be of this kind, `is_one` tells of each. It is only looked for in texts that have
    one of `signs`, where these are given."""

    name: str
    pattern: re.Pattern[str]
    is_one: Callable[[str], bool]
    signs: frozenset[str] = frozenset()


class Gated(NamedTuple):
    """`text` is what can be read, with the byte where each character starts; `notes` say what else there was.

    `fault` is empty where the text is a document, and else says what nearly all of it is.
    """

    text: str
    offsets: np.ndarray
    notes: tuple[str, ...] = ()
    fault: str = ""


def gated(text: str, offsets: np.ndarray, whole: str) -> Gated:
    """A text without its unreadable stretches, for each of which an ellipsis stands.

    `whole` is the file's text, whose lines the notes name; `offsets` are its bytes where each character starts.
    """
    stretches = unreadable(text)
    if not stretches:
        return Gated(text, offsets)
    lost = sum(stretch.end - stretch.start for stretch in stretches)
    legible_text, places = cut(
        text, offsets, [Cut(stretch.start, stretch.end, "…") for stretch in stretches]
    )
    letters = len(LETTER.findall(legible_text))
    fault = ""
    if letters < LEFT and letters * 10 < lost:
        fault = f"cannot be read: {_most(stretches)}, {lost * 100 // len(text)} % of it"
    return Gated(
        legible_text,
        places,
        tuple(_notes(stretches, offsets, whole.encode(errors="surrogatepass"))),
        fault,
    )


def unreadable(text: str) -> list[Stretch]:
    """Stretches of a text that nobody can read, in order."""
    runs = sorted(_runs(text), key=lambda run: (run.start, -run.end))
    stretches: list[Stretch] = []
    group: list[Stretch] = []
    size = 0  # of the group's runs
    for run in runs:
        if group and run.start < group[-1].end:
            continue
        if group and not _is_near(text, group[-1].end, size, run):
            stretches += _stretch(text, group)
            group, size = [], 0
        group.append(run)
        size += run.end - run.start
    return [*stretches, *_stretch(text, group)]


def hidden(text: str, whole: str) -> tuple[str, ...]:
    """A note where a format hides most of a file, of whose text `whole` a reader sees `text`."""
    if text is whole or len(text) * 2 > len(whole):
        return ()
    shown, all_of_it = len(LETTER.findall(text)), len(LETTER.findall(whole))
    if all_of_it < LEFT or shown * 2 > all_of_it:
        return ()
    return (
        f"{100 - shown * 100 // all_of_it} % of the file's letters are comments, settings, commands or pictures "
        "that its format does not show; not taught",
    )


def is_broken(text: str) -> bool:
    """Whether many words are such as no script writes: what a font without a character map leaves."""
    words = [word for word in text.split() if any(map(str.isalpha, word))]
    return len(words) >= JUDGED and sum(map(is_odd, words)) > ODD * len(words)


def is_odd(word: str) -> bool:
    """Whether a sign other than ASCII's stands between letters, or before one: `T¶cy`, but not `5µm`, `m²`, `20°C`."""
    return not word.isascii() and any(
        sign in ODD_SIGNS and after.isalpha() for sign, after in pairwise(word)
    )


def _runs(text: str) -> Iterator[Stretch]:
    alphabet = set(text)
    for kind in KINDS:
        if kind.signs and alphabet.isdisjoint(kind.signs):
            continue
        for run in kind.pattern.finditer(text):
            if kind.is_one(run[0]):
                yield Stretch(*run.span(), kind.name)


def _is_near(text: str, end: int, size: int, run: Stretch) -> bool:
    """Whether a run goes on with what a group of them began, of `size` characters up to `end`."""
    if run.start - end >= LEAST:
        return False
    shorter = min(run.end - run.start, size)
    return len(LETTER.findall(text, end, run.start)) * BETWEEN <= shorter


def _stretch(text: str, group: list[Stretch]) -> list[Stretch]:
    if sum(run.end - run.start for run in group) < LEAST:
        return []
    start, end = group[0].start, group[-1].end
    return [Stretch(start, start + len(text[start:end].rstrip()), _most(group))]


def _most(stretches: list[Stretch]) -> str:
    """The kind that has most of the characters."""
    sizes: Counter[str] = Counter()
    for stretch in stretches:
        sizes[stretch.kind] += stretch.end - stretch.start
    return sizes.most_common(1)[0][0]


def _notes(stretches: list[Stretch], offsets: np.ndarray, data: bytes) -> Iterator[str]:
    """What is left out, by kind, with the lines where it stands."""
    for kind in dict.fromkeys(stretch.kind for stretch in stretches):
        some = [stretch for stretch in stretches if stretch.kind == kind]
        places = [
            _lines(data, int(offsets[stretch.start]), int(offsets[stretch.end])) for stretch in some
        ]
        more = f" and {len(places) - SHOWN} more places" if len(places) > SHOWN else ""
        one = len(places) == 1 and "-" not in places[0]
        size = human(sum(stretch.end - stretch.start for stretch in some))
        yield f"{'line' if one else 'lines'} {', '.join(places[:SHOWN])}{more}: {kind} ({size}); not taught"


def _lines(data: bytes, start: int, end: int) -> str:
    first = data.count(b"\n", 0, start) + 1
    last = first + data.count(b"\n", start, end)
    return str(first) if first == last else f"{first}-{last}"


# -- kinds -------------------------------------------------------------------------------------------------------------


def _is_encoded(run: str) -> bool:
    """Letters and digits as chance has them, which make no words."""
    bare = ZEROS.sub("", run)
    letters = sum(map(str.isalpha, bare))
    if HEXADECIMAL.fullmatch(bare):
        return letters * 50 >= len(bare)  # zeros are most of many a file
    return letters >= LETTERED * len(bare) and sum(map(len, SPELT.findall(bare))) < WORDED * len(
        bare
    )


def _is_dump(run: str) -> bool:
    """Bytes, not numbers: some have letters."""
    groups = re.split(r"[\s,:]+", run.strip(" ,:\t"))
    return sum(not group.isdigit() for group in groups) * 5 >= len(groups)


def _is_addressed(lines: str) -> bool:
    """Whether the first column counts bytes, a line's at a time."""
    first, second = (int(line.split()[0].rstrip(":"), 16) for line in lines.splitlines()[:2])
    return second - first in (8, 16, 32)


def _is_path(run: str) -> bool:
    return len(run) >= 60 and sum(map(str.isdigit, run)) * 5 >= len(run) * 2


def _is_minified(line: str) -> bool:
    """Signs of code without spaces around them. JSON is data, however dense; LaTeX has backslashes, tables have neither
    semicolons nor calls."""
    line = ESCAPED.sub("", line)
    size = len(line)
    if line.count(" ") * 12 > size or line.count('":') * 50 > size or line.count("\\") * 50 > size:
        return False
    return line.count(";") * 200 >= size and sum(map(line.count, "(){};=")) * 12 >= size >= LONG


def _is_garbled(run: str) -> bool:
    return len(RULED.findall(run)) * 3 < len(run) * 2


def _is_broken(paragraph: str) -> bool:
    """What has hardly an ASCII letter left is rather of another encoding."""
    return sum(map(str.isascii, paragraph)) * 2 > len(paragraph) and is_broken(paragraph)


def _always(_: str) -> bool:
    return True


ENCODING = "letters of another encoding than the file's (open it and save it as UTF-8)"
FONT = "text in a font that does not say which letters its shapes are"
CODELESS = "characters without a meaning"
HEX = "[0-9A-Fa-f]"
# A pattern that begins with one letter of a few is looked for several times as fast.
KINDS = (
    Kind(
        "base64 or hashes",
        re.compile(r"[A-Za-z0-9+/]{32,}={0,2}(?:\r?\n[ \t]*[A-Za-z0-9+/]{32,}={0,2})*"),
        _is_encoded,
    ),
    Kind(
        "a hex dump",
        re.compile(
            rf"{HEX}{HEX}[ ,:\t](?:[ ,:\t]?{HEX}{HEX}\b){{7,}}|"
            rf"{HEX}{HEX}{HEX}{HEX} (?:{HEX}{{4}}\b ?){{5,}}"
        ),
        _is_dump,
    ),
    Kind(
        "a hex dump",
        re.compile(
            rf"^(?:[ \t]*{HEX}{{4,16}}:?[ \t]+(?:{HEX}{{2,8}}[ \t]+){{4,}}[^\n]*(?:\n|\Z)){{4,}}",
            re.MULTILINE,
        ),
        _is_addressed,
    ),
    Kind(
        "bytes of a file as code",
        re.compile(rf"(?:0x{HEX}{{1,2}}\s*,\s*){{{BYTES},}}|(?:\\x{HEX}{HEX}){{{BYTES},}}"),
        _always,
    ),
    Kind(
        "hashes of files",
        re.compile(rf"^(?:{HEX}{{32,128}} [ *]\S+[ \t]*(?:\n|\Z)){{4,}}", re.MULTILINE),
        _always,
    ),
    Kind(
        "path data of a drawing",
        re.compile(r"[Mm][-\d.,\s]{3,}(?:[LlHhVvCcSsQqTtAaMm][-\d.,\s]+|[Zz]\s*){3,}"),
        _is_path,
    ),
    Kind(
        "minified script or styles", re.compile(rf"^[^\n]{{{LONG},}}", re.MULTILINE), _is_minified
    ),
    Kind(FONT, re.compile(r"\(cid:\d+\)(?:\s*\(cid:\d+\)){3,}"), _always),
    Kind(
        ENCODING,
        re.compile(rf"[{WESTERN}]{{4,}}(?:[\s,.-]{{1,3}}[{WESTERN}]+)*"),
        _is_garbled,
        frozenset(WESTERN),
    ),
    Kind(
        ENCODING,
        re.compile(
            rf"[РС][{CYRILLIC}](?:[РС][{CYRILLIC}]){{3,}}(?:[\s,.-]{{1,3}}(?:[РС][{CYRILLIC}])+)*"
        ),
        _always,
        frozenset("РС"),
    ),
    Kind(CODELESS, re.compile(f"[{CODES}]+"), _always, frozenset(CODES)),
    Kind(CODELESS, re.compile(f"[{CONTROLS}]+"), _always, frozenset(CONTROLS)),
    Kind(FONT, PARAGRAPH, _is_broken, ODD_SIGNS),
)
