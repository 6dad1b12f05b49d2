"""Bytes → text. What is known of a file's bytes is kept: a guess decides only over those that nothing else explains."""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

import regex

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MULTIBYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{1,3}")  # nearly what UTF-8 is made of beyond ASCII
NO_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff\ue000-\uf8ff]")
HIGH = bytes(range(0x80, 0x100))  # bytes beyond ASCII
STRAY = re.compile(
    "[\udcc2-\udcf4][\udc80-\udcbf]+|[\udc80-\udcff]"
)  # half a character, or one byte, escaped
SAMPLE = 8192  # bytes that tell whether a text is UTF-16
FEW = 100  # one byte of so many, at most, is a slip; more are a language with letters of its own
# Of the 86 encodings that chardet tells apart, those that people's files are in: each one less is one less to be
# mistaken for. What ISO 8859-1 and -13 have is in Windows' own as well.
LIKELY = (
    "cp1250",
    "cp1251",
    "cp1252",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp1258",
    "cp874",
    "iso8859-2",
    "iso8859-5",
    "iso8859-6",
    "iso8859-7",
    "iso8859-8",
    "iso8859-9",
    "iso8859-15",
    "koi8-r",
    "koi8-u",
    "cp850",
    "cp852",
    "cp857",
    "cp866",
    "mac-roman",
    "mac-latin2",
    "mac-cyrillic",
    "cp932",
    "euc_jis_2004",
    "gb18030",
    "big5hkscs",
    "cp949",
    "euc_kr",
)
ESCAPED = re.compile(
    rb"\x1b\$(?:[@AB]|[()][A-D])"
)  # what East Asian mail of seven bits a byte begins its letters with
SEVEN_BITS = ("iso2022_jp_2", "iso2022_kr")
TELLING = 3  # bytes beyond ASCII; what most files are in is taken before fewer tell otherwise
JUDGED = 16384  # bytes that candidates are compared by
CLOSE = 0.3  # of what the best is believed, from which others are compared
# What no language writes: a capital after a small letter, a letter between digits, two scripts in one word, a sign
# within one, control characters.
ALIEN = r"\p{Greek}\p{Cyrillic}\p{Hebrew}\p{Arabic}\uff66-\uff9f"
SIGN = r"[\p{S}\p{No}¡¿‚„†‡…•‰‹¶§]--[\x00-\x7f]"
ODD = regex.compile(
    rf"(?<=\p{{Ll}})[\p{{Lu}}--[A-Z]]|[\p{{Ll}}--[a-z]](?=\p{{Lu}})|(?<=\d)[\p{{L}}--[A-Za-z]](?=\d)|"
    rf"(?<=[A-Za-z])[{ALIEN}]|[{ALIEN}](?=[A-Za-z])|(?<=\p{{L}})[{SIGN}](?=\p{{L}})|[\x80-\x9f]",
    regex.VERSION1,
)


class Decoded(NamedTuple):
    """`skip` is the bytes of a byte order mark; `note` says what had to be assumed, and is empty for sound UTF-8."""

    text: str
    skip: int
    note: str


def decode(data: bytes, named: str | None = None) -> Decoded:
    """The text of a file. `named` is the encoding that the file itself claims, believed only where it is not UTF-8.

    UTF-16 is told by its mark, or by where its zero bytes lie. In UTF-8 with some broken bytes these alone are read
    as Windows-1252, where most of them come from, and half a character becomes U+FFFD. Anything else is guessed by
    its letters.
    """
    mark, name = next(
        ((mark, name) for mark, name in BOMS if data.startswith(mark)), (b"", "utf-8")
    )
    if name != "utf-8":
        return Decoded(
            data[len(mark) :].decode(name, "replace"), 0, f"{name.upper()} with a byte order mark"
        )
    body = data[len(mark) :]
    if b"\0" in body[:SAMPLE] and (unmarked := utf16(body[:SAMPLE])):
        return Decoded(
            body.decode(unmarked, "replace"), 0, f"no byte order mark: read as {unmarked.upper()}"
        )
    if (escape := ESCAPED.search(body)) and (escaped := _escaped(body)):
        return Decoded(
            escaped[0],
            0,
            f"escapes of East Asian letters (byte {escape.start()}): read as {escaped[1]}",
        )
    try:
        return Decoded(body.decode("utf-8"), len(mark), "")
    except UnicodeDecodeError as error:
        return _broken(body, f"not UTF-8 (byte {len(mark) + error.start})", named)


def utf16(head: bytes) -> str | None:
    """The kind of UTF-16 that bytes without a mark are in; None where they are something else.

    Spaces, line ends and Latin letters have a zero byte, always on the same side: no other text has any.
    """
    zeros = [head[side::2].count(0) for side in (0, 1)]
    if (
        len(head) % 2
        or not any(zeros)
        or min(zeros) * 20 > max(zeros)
        or max(zeros) * 20 < len(head) // 2
    ):
        return None
    name = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    text = head[: len(head) // 2 * 2].decode(name, "ignore")
    return None if NO_TEXT.search(text) else name


def _broken(body: bytes, where: str, named: str | None) -> Decoded:
    text, slips = _mended(body)
    whole = len(MULTIBYTE.findall(body))
    if slips * 2 <= whole or (whole and not named and _beyond(body) * FEW <= len(body)):
        message = "one byte was" if slips == 1 else f"{slips} bytes were"
        return Decoded(text, 0, f"{where}: {message} read as Windows-1252")
    if named and (claimed := _claimed(body, named)) is not None:
        return Decoded(claimed, 0, f"{where}: read as {named}, which it names")
    return _guess(body, where)


def _beyond(body: bytes) -> int:
    return len(body) - len(body.translate(None, HIGH))


def _mended(body: bytes) -> tuple[str, int]:
    """As UTF-8 with each stray byte by itself, and how many there were."""
    return STRAY.subn(_stray, body.decode("utf-8", "surrogateescape"))


def _stray(match: re.Match[str]) -> str:
    stray = match[0].encode("utf-8", "surrogateescape")
    return stray.decode("cp1252", "replace") if len(stray) == 1 else "\ufffd"


def _claimed(body: bytes, named: str) -> str | None:
    try:
        return body.decode(named, "replace")
    except LookupError:
        return None


def _escaped(body: bytes) -> tuple[str, str] | None:
    for name in SEVEN_BITS:
        try:
            return body.decode(name), name
        except UnicodeDecodeError:
            continue
    return None


def _guess(body: bytes, where: str) -> Decoded:
    """As what chardet believes most, less so where letters stand where no language has them."""
    import chardet

    ranked = chardet.detect_all(
        body, ignore_threshold=True, compat_names=False, include_encodings=LIKELY
    )
    believed = {
        each["encoding"]: each["confidence"] for each in ranked if each["encoding"] in LIKELY
    }
    if not believed:
        text = body.decode("utf-8", "replace")
        return Decoded(text, 0, f"{where}, no other encoding fits: broken bytes were replaced")
    if _beyond(body) < TELLING:
        believed = {"cp1252": max(believed.values()), **believed}
    least = CLOSE * max(believed.values())
    close = [name for name, belief in believed.items() if belief >= least]
    best = max(close, key=lambda name: believed[name] * _regular(body[:JUDGED], name) ** 2)
    text = body.decode(best, "replace")
    if best == "cp1258":  # which writes a letter and its tone one after the other
        text = unicodedata.normalize("NFC", text)
    return Decoded(text, 0, f"{where}: read as {best}")


def _regular(body: bytes, name: str) -> float:
    """The share of bytes beyond ASCII that do not stand where no language has what they are in that encoding."""
    odd = len(ODD.findall(body.decode(name, "replace")))
    return max(0.0, 1 - odd / max(1, _beyond(body)))
