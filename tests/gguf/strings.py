"""Texts that tokenizers stumble over: random Unicode, white space, code, and lines of this project's own files."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

_RANGES = (
    (0x20, 0x7F),
    (0x20, 0x7F),
    (0x09, 0x0E),
    (0xA0, 0x250),
    (0x300, 0x370),
    (0x370, 0x530),
    (0x5D0, 0x5EB),
    (0x620, 0x64B),
    (0x905, 0x93A),
    (0xE01, 0xE3B),
    (0x1100, 0x1160),
    (0x2000, 0x2070),
    (0x2190, 0x2200),
    (0x3041, 0x3097),
    (0x4E00, 0x9FA6),
    (0xAC00, 0xD7A4),
    (0x1F300, 0x1F650),
)
_ROOT = Path(__file__).parents[2]


@cache
def _lines() -> list[str]:
    kinds = ("docs/*.md", "src/phoenix_forge/*/*.py", "tests/*/*.py")
    files = [file for kind in kinds for file in sorted(_ROOT.glob(kind))]
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def strings(count: int, seed: int = 0, special: tuple[str, ...] = ()) -> list[str]:
    """`count` texts; some have one of the `special` tokens in them. The same for the same arguments."""
    draw = random.Random(seed)

    def unicode() -> str:
        return "".join(
            chr(draw.randrange(*draw.choice(_RANGES))) for _ in range(draw.randrange(1, 40))
        )

    def spaces() -> str:
        return "".join(draw.choice("    \t\n\r\u00a0ab1.") for _ in range(draw.randrange(0, 60)))

    def code() -> str:
        start = draw.randrange(len(_lines()))
        return "\n".join(_lines()[start : start + draw.randrange(1, 6)])

    def line() -> str:
        return (
            draw.choice(["", " ", "  ", "\n"])
            + draw.choice(_lines())
            + draw.choice(["", " ", "\n", "\r\n"])
        )

    def few() -> str:
        return "".join(draw.choice("aaab bel'sLR12 ") for _ in range(draw.randrange(0, 40)))

    def marked() -> str:
        return "".join(
            draw.choice([unicode, line, few])() + draw.choice(special)
            for _ in range(draw.randrange(1, 4))
        )

    kinds = [unicode, spaces, code, line, few, *([marked] if special else [])]
    return [draw.choice(kinds)() for _ in range(count)]
