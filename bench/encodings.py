"""Is a file that is not UTF-8 read in its own encoding? Texts of many languages, in each encoding that they come in.

Texts are files of UTF-8 whose names begin with the code of their language and a hyphen (`fr-progit.txt`). Pieces of
100, 300, 1,000 and 5,000 bytes are drawn by a seed, encoded, and decoded again; right is what gives the same letters.
Signs that an encoding lacks (curly quotes, dashes) are written as people did in it; a line with other letters that it
lacks is left out.

Usage: python bench/encodings.py FOLDER [--pieces 4] [--wrong] [--forge DIR]
"""

from __future__ import annotations

import argparse
import random
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZES = (100, 300, 1000, 5000)  # bytes
TEXT = 400_000  # characters of a file that are drawn from
ENCODINGS = {
    "en fr de es pt it sv da no nl fi ca is": "cp1252 iso8859_15 mac_roman cp850",
    "sq": "cp1252",
    "cs pl hu sk sl hr ro": "cp1250 iso8859_2 cp852 mac_latin2",
    "ru bg be mk sr": "cp1251 koi8_r iso8859_5 cp866 mac_cyrillic",
    "uk": "cp1251 koi8_u iso8859_5 mac_cyrillic",
    "el": "cp1253 iso8859_7",
    "tr": "cp1254 cp857",
    "he": "cp1255 iso8859_8",
    "ar": "cp1256 iso8859_6",
    "fa": "cp1256",
    "lt lv": "cp1257 iso8859_13",
    "et": "cp1257 cp1252",
    "vi": "cp1258",
    "th": "cp874",
    "ja": "cp932 euc_jp iso2022_jp",
    "zh": "gb18030 gb2312",
    "zhtw": "big5",
    "ko": "cp949 euc_kr",
}
SIGNS = str.maketrans(
    {
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "–": "-",
        "—": "-",
        "…": "...",
        "\xa0": " ",
        "\u202f": " ",
        "•": "*",
        "\u200b": "",
        "\u200e": "",
        "ș": "ş",
        "ț": "ţ",
        "Ș": "Ş",
        "Ț": "Ţ",
    }
)
TONES = "\u0300\u0301\u0303\u0309\u0323"


def main() -> None:
    args = _arguments()
    sys.path.insert(0, str(args.forge / "src"))
    from phoenix_forge.corpus.encodings import decode

    drawn: Counter[tuple[str, int]] = Counter()
    right: Counter[tuple[str, int]] = Counter()
    for source, encoding, size, text in pieces(args.folder, args.pieces):
        made = decode(text.encode(encoding))
        good = unicodedata.normalize("NFC", made.text) == unicodedata.normalize("NFC", text)
        for row in (encoding, "all"):
            drawn[row, size] += 1
            right[row, size] += good
        if args.wrong and not good:
            print(f"{source} {encoding} {size}: {made.note}: {made.text[:60]!r}")
    print(table(drawn, right))


def table(drawn: Counter[tuple[str, int]], right: Counter[tuple[str, int]]) -> str:
    head = [
        "| encoding | " + " | ".join(f"{size:,} bytes" for size in SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    rows = dict.fromkeys(row for row, _ in drawn)
    return "\n".join(
        [
            *head,
            *(
                f"| {row} | "
                + " | ".join(f"{right[row, size]} of {drawn[row, size]}" for size in SIZES)
                + " |"
                for row in rows
            ),
        ]
    )


def pieces(folder: Path, number: int) -> Iterator[tuple[str, str, int, str]]:
    """(source, encoding, size in bytes, text), of each text and each encoding of its language."""
    encodings = {
        language: names.split()
        for languages, names in ENCODINGS.items()
        for language in languages.split()
    }
    for path in sorted(folder.glob("*.txt")):
        whole = path.read_text("utf-8")[:TEXT]
        for encoding in encodings.get(path.stem.split("-")[0], ()):
            text = _encodable(whole, encoding)
            chance = random.Random(f"1 {path.stem} {encoding}")
            for size in SIZES:
                length = size * len(text) // max(1, len(text.encode(encoding)))
                for _ in range(number if 0 < length < len(text) else 0):
                    start = chance.randrange(len(text) - length)
                    piece = text[start : start + length]
                    if _is_telling(piece.encode(encoding)):
                        yield path.stem, encoding, size, piece


def _is_telling(data: bytes) -> bool:
    """Whether bytes are not UTF-8, or have escapes."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return b"\x1b" in data


def _encodable(text: str, encoding: str) -> str:
    kept = []
    for line in text.split("\n"):
        forms = (
            line,
            "".join(each if _fits(each, encoding) else each.translate(SIGNS) for each in line),
            "".join(map(_toned, line)),
        )
        kept += [form for form in forms if _fits(form, encoding)][:1]
    return "\n".join(kept)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _toned(letter: str) -> str:
    """A Vietnamese letter with its tone by itself, as in Windows-1258."""
    parts = unicodedata.normalize("NFD", letter)
    bare = unicodedata.normalize("NFC", "".join(part for part in parts if part not in TONES))
    return bare + "".join(part for part in parts if part in TONES)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--pieces", type=int, default=4, help="of each size, of each text and encoding"
    )
    parser.add_argument("--wrong", action="store_true", help="print what is read wrongly")
    parser.add_argument(
        "--forge", type=Path, default=HERE.parent, help="another checkout, to compare with"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
