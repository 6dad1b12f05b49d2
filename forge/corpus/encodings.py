"""Bytes → text. What is known of a file's bytes is kept: a guess decides only over those that nothing else explains."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import NamedTuple

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
MULTIBYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{1,3}")  # nearly what UTF-8 is made of beyond ASCII
NO_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff\ue000-\uf8ff]")
STRAY = re.compile("[\udcc2-\udcf4][\udc80-\udcbf]+|[\udc80-\udcff]")  # half a character, or one byte, escaped
SAMPLE = 8192  # bytes that tell whether a text is UTF-16
FEW = 100  # one byte of so many, at most, is a slip in an English text; more are a language with letters of its own
# What people's files are in: of all that charset-normalizer knows, a page of German is DOS's Baltic letters as well.
LIKELY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "koi8_r",
          "koi8_u", "cp866", "cp932", "euc_jp", "gb18030", "big5", "cp949"]
BEYOND = re.compile("[^\x00-\x7f]+")
KANA, HANGUL, HAN = map(re.compile, ("[\u3040-\u30ff]+", "[\uac00-\ud7a3]+", "[\u4e00-\u9fff]+"))
# Encodings of East Asia share their bytes. Which letters are how much of a text beyond ASCII, at least: in another's
# hardly any are. Only Japanese has kana, so its encodings are sure before anything is guessed.
JAPANESE = (("cp932", KANA, 0.2), ("euc_jp", KANA, 0.2))
EASTERN = (("cp949", HANGUL, 0.5), ("gb18030", HAN, 0.5), ("big5", HAN, 0.5))


class Decoded(NamedTuple):
    """`skip` is the bytes of a byte order mark; `note` says what had to be assumed, and is empty for sound UTF-8."""

    text: str
    skip: int
    note: str


def decode(data: bytes, named: str | None = None) -> Decoded:
    """The text of a file. `named` is the encoding that the file itself claims, believed only where it is not UTF-8.

    UTF-16 is told by its mark, or by where its zero bytes lie. In UTF-8 with some broken bytes these alone are read
    as Windows-1252, where most of them come from, and half a character becomes U+FFFD. Anything else is what
    charset-normalizer finds, where it is installed.
    """
    mark, name = next(((mark, name) for mark, name in BOMS if data.startswith(mark)), (b"", "utf-8"))
    if name != "utf-8":
        return Decoded(data[len(mark):].decode(name, "replace"), 0, f"{name.upper()} with a byte order mark")
    body = data[len(mark):]
    if b"\0" in body[:SAMPLE] and (unmarked := utf16(body[:SAMPLE])):
        return Decoded(body.decode(unmarked, "replace"), 0, f"no byte order mark: read as {unmarked.upper()}")
    try:
        return Decoded(body.decode("utf-8"), len(mark), "")
    except UnicodeDecodeError as error:
        return _broken(body, f"not UTF-8 (byte {len(mark) + error.start})", named)


def utf16(head: bytes) -> str | None:
    """The kind of UTF-16 that bytes without a mark are in; None where they are something else.

    Spaces, line ends and Latin letters have a zero byte, always on the same side: no other text has any.
    """
    zeros = [head[side::2].count(0) for side in (0, 1)]
    if len(head) % 2 or not any(zeros) or min(zeros) * 20 > max(zeros) or max(zeros) * 20 < len(head) // 2:
        return None
    name = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    text = head[:len(head) // 2 * 2].decode(name, "ignore")
    return None if NO_TEXT.search(text) else name


def _broken(body: bytes, where: str, named: str | None) -> Decoded:
    text, slips = _mended(body)
    whole = len(MULTIBYTE.findall(body))
    beyond = sum(len(part) for part in re.findall(rb"[\x80-\xff]+", body))
    if slips * 2 <= whole or (not named and beyond * FEW <= len(body)):
        told = "one byte was" if slips == 1 else f"{slips} bytes were"
        return Decoded(text, 0, f"{where}: {told} read as Windows-1252")
    if named and (claimed := _claimed(body, named)) is not None:
        return Decoded(claimed, 0, f"{where}: read as {named}, which it names")
    return _guess(body, where)


def _mended(body: bytes) -> tuple[str, int]:
    """As UTF-8 with each stray byte by itself, and how many there were."""
    return STRAY.subn(_stray, body.decode("utf-8", "surrogateescape"))


def _stray(found: re.Match[str]) -> str:
    stray = found[0].encode("utf-8", "surrogateescape")
    return stray.decode("cp1252", "replace") if len(stray) == 1 else "\ufffd"


def _claimed(body: bytes, named: str) -> str | None:
    try:
        return body.decode(named, "replace")
    except LookupError:
        return None


def _guess(body: bytes, where: str) -> Decoded:
    if found := _eastern(body, JAPANESE):
        return Decoded(found[0], 0, f"{where}: read as {found[1]}")
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return Decoded(body.decode("utf-8", "replace"), 0, f"{where}: broken bytes were replaced")
    best = from_bytes(body, cp_isolation=LIKELY).best()
    if best is None and (found := _eastern(body, EASTERN)):
        return Decoded(found[0], 0, f"{where}: read as {found[1]}")
    if best is None:
        text = body.decode("utf-8", "replace")
        return Decoded(text, 0, f"{where}, no other encoding fits: broken bytes were replaced")
    return Decoded(str(best), 0, f"{where}: read as {best.encoding}")


def _eastern(body: bytes, rows: Sequence[tuple[str, re.Pattern[str], float]]) -> tuple[str, str] | None:
    """As the first encoding that decodes it whole, and into the letters of its own language."""
    for name, letters, least in rows:
        try:
            text = body.decode(name)
        except UnicodeDecodeError:
            continue
        beyond = sum(map(len, BEYOND.findall(text)))
        if sum(map(len, letters.findall(text))) >= least * beyond:
            return text, name
    return None
