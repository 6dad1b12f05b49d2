"""A cheap guess at the language of a text: its script by Unicode range, and for Latin script its commonest words."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

READ = 400  # characters that are looked at
OTHER = "other"

# First code points of scripts, from the Unicode Character Database (Blocks.txt); what is between two names no script.
_RANGES = (
    (0x00C0, "Latin"), (0x02B0, ""), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"), (0x0590, "Hebrew"),
    (0x0600, "Arabic"), (0x0700, ""), (0x0750, "Arabic"), (0x0780, ""), (0x0900, "Devanagari"), (0x0980, "Bengali"),
    (0x0A00, ""), (0x0B80, "Tamil"), (0x0C00, "Telugu"), (0x0C80, ""), (0x0E00, "Thai"), (0x0E80, ""),
    (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, ""), (0x1E00, "Latin"), (0x1F00, "Greek"), (0x2000, ""),
    (0x3040, "Kana"), (0x3100, ""), (0x3400, "Han"), (0x4DC0, ""), (0x4E00, "Han"), (0xA000, ""), (0xAC00, "Hangul"),
    (0xD7B0, ""), (0xF900, "Han"), (0xFB00, ""), (0x20000, "Han"), (0x323B0, ""),
)  # fmt: skip
_STARTS = [start for start, _ in _RANGES]
# Function words that tell the languages apart; a word of several counts for each of them.
_WORDS = {
    "en": "the of and to is in that for with are this it from what which how does not was by be or on as an you",
    "de": "der die das und ist nicht ein eine zu den mit von für auf dem im sich wie was wird sind welche des oder",
    "fr": "le la les et est une des du dans que qui pour pas sur avec ce au par plus sont il quel quelle ne en",
    "es": "el la los las y es una del que en por para con no se su como más qué cuál son al lo está un",
    "it": "il lo gli e è una di che in per con non si della sono come più del dei nel cosa quale questo alla",
    "pt": "o os e é uma do da que em para com não se por mais como dos das são qual ao na no um foi",
    "nl": "de het een en is van niet dat in op te zijn met voor aan wat welke er ook om door bij naar hoe die",
}
_LANGUAGES: dict[str, tuple[str, ...]] = {
    word: tuple(name for name, words in _WORDS.items() if word in words.split())
    for word in dict.fromkeys(" ".join(_WORDS.values()).split())
}
FUNCTION_WORDS = frozenset(_LANGUAGES)


def script(text: str) -> str:
    """The script of most letters of a text's beginning; `other` for a text without letters."""
    head = text[:READ]
    if head.isascii():
        return "Latin" if any(map(str.isalpha, head)) else OTHER
    counts: Counter[str] = Counter()
    for character in head:
        if character.isalpha():
            at = bisect_right(_STARTS, ord(character))
            counts["Latin" if at == 0 else _RANGES[at - 1][1]] += 1
    found = max(sorted(counts), key=lambda name: counts[name], default="")
    return found or OTHER


def language(text: str, script_name: str | None = None) -> str:
    """A language code (en, de, fr, es, it, pt, nl), the name of another script, or `other` where nothing tells."""
    written = script(text) if script_name is None else script_name
    if written != "Latin":
        return written
    words = set(text[:READ].lower().split())
    counts = Counter(name for word in words & FUNCTION_WORDS for name in _LANGUAGES[word])
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    if not ranked or ranked[0][1] < min(2, len(words)):
        return OTHER
    return ranked[0][0] if len(ranked) == 1 or ranked[0][1] > ranked[1][1] else OTHER
