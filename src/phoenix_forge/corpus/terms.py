"""What texts and questions are compared by: their words, brought to stems by language, and the parts of compounds.

Stems are Snowball's (Porter 2001, snowballstem.org), after which accents are dropped. Where a language puts no spaces
between words, and in Korean, whose particles hang on them, each character counts as a word, and runs of a question's
characters put words together again (as Lucene's CJKAnalyzer has it). A compound is parted where both parts are stems
of the same corpus, at the place where the product of their frequencies is highest (Koehn & Knight 2003).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import regex
import Stemmer

from phoenix_forge.corpus.prose import PROSE, language

if TYPE_CHECKING:
    from phoenix_forge.corpus.document import Document

STOPS: dict[str, str] = json.loads(
    (Path(__file__).parent / "data" / "stop.json").read_text(encoding="utf-8")
)
STOP = frozenset(STOPS["en"].split())  # English words that say nothing, and words of asking
STEMMERS = {
    "ar": "arabic",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
# Where compounds are written as one word and parting them was found to help: Hollink, Kamps, Monz & de Rijke (2004)
# for German, Dutch, Finnish and Swedish; Danish and Norwegian are built as Swedish is.
COMPOUNDING = frozenset({"da", "de", "fi", "nl", "no", "sv"})
SHORTEST_PART, LONGEST_COMPOUND = 4, 60  # letters
# Each of these characters is a word: Thai, Lao, Burmese, Khmer, kana, Chinese, Korean.
ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
WORD = regex.compile(rf"[^\W_{ALONE}]+|[{ALONE}]\p{{M}}*")
PLAIN = re.compile("[a-z0-9]+")  # what WORD finds in ASCII, in a quarter of the time
UNSEEN = regex.compile(
    "[\u00ad\u20d0-\u20ff\ufe00-\ufe0f]"
)  # soft hyphens, frames, variants of emoji
HAS_ALONE = regex.compile(rf"[{ALONE}]")
KEPT = 200_000  # words whose stems or parts are remembered
TOLD_BY = 500  # characters of a document that its language is told by
ACCENTS = dict.fromkeys(range(0x300, 0x370))


def words(text: str) -> list[str]:
    """What is compared: runs of letters and digits in lower case, without leading zeros; `pids_limit` is two."""
    plain = normal(text)
    tokens = (PLAIN if plain.isascii() else WORD).findall(plain)
    return [word.lstrip("0") or "0" if word[0] == "0" else word for word in tokens]


def normal(text: str) -> str:
    """In lower case, with compatible characters made one (NFKC), without what only says how a character is drawn."""
    lower = unicodedata.normalize("NFKC", text).lower()
    return lower if lower.isascii() else UNSEEN.sub("", lower)


def spoken(document: Document) -> str:
    """The ISO 639-1 code of the language of a document's prose, or of all of it where it has none."""
    return language(_prose(document) or document.text[:TOLD_BY])


def _prose(document: Document) -> str:
    """The beginning of it, of more than one block where the first is long."""
    pieces: list[str] = []
    for block in document.blocks:
        if block.kind in PROSE:
            pieces.append(document.text[block.start : block.end][: TOLD_BY // 2])
        if sum(map(len, pieces)) >= TOLD_BY:
            break
    return " ".join(pieces)


class Stems(dict[str, str]):
    """The words of one language and their stems, which are found when they are looked up: `Stems("de")["häusern"]` is
    "haus".

    A language without a stemmer has its words folded only. Not to be used by two threads at once.
    """

    def __init__(self, language: str) -> None:
        super().__init__()
        self.language = language
        name = STEMMERS.get(language)
        self._stem: Callable[[str], str] = Stemmer.Stemmer(name).stemWord if name else str

    def __missing__(self, word: str) -> str:
        if len(self) >= KEPT:
            self.clear()
        stem = self[word] = self.once(word)
        return stem

    def once(self, word: str) -> str:
        """The stem of a word that is not worth remembering."""
        return _folded(self._stem(word))

    def line(self, tokens: Iterable[str]) -> str:
        """Stems of words, with one space between them."""
        return " ".join(map(self.__getitem__, tokens))


class Compounds:
    """Parts the compounds of one language where its corpus has the parts.

    `frequency` says how many passages have a stem; a part is one that some have. Words of more than LONGEST_COMPOUND
    letters are left whole, so that a line without spaces takes no longer than others.
    """

    def __init__(self, stems: Stems, frequency: Callable[[str], int]) -> None:
        self._stems, self._frequency = stems, frequency
        self._remembered = lru_cache(KEPT)(self._parts)

    def __call__(self, word: str) -> list[str]:
        """Stems of a word's parts, and of theirs; none of a word that is no compound."""
        if (
            self._stems.language not in COMPOUNDING
            or not 2 * SHORTEST_PART <= len(word) <= LONGEST_COMPOUND
        ):
            return []
        return self._remembered(word)

    def _parts(self, word: str) -> list[str]:
        places = range(SHORTEST_PART, len(word) - SHORTEST_PART + 1)
        weight, at = max((self._weight(word[:place], word[place:]), place) for place in places)
        halves = (word[:at], word[at:]) if weight else ()
        return [part for half in halves for part in (self._stems.once(half), *self(half))]

    def _weight(self, left: str, right: str) -> int:
        frequency = self._frequency(self._stems.once(left))
        return frequency and frequency * self._frequency(self._stems.once(right))


def _folded(word: str) -> str:
    if word.isascii():
        return word
    bare = unicodedata.normalize("NFD", word).translate(ACCENTS)
    return unicodedata.normalize("NFC", bare).replace("ß", "ss")


# -- what says nothing -------------------------------------------------------------------------------------------------


class Stops:
    """Words of one language that say nothing of what is asked for: those that only join others, and words of asking.

    `words` are those of a language with spaces; where there are none, they are cut out of the text.
    """

    def __init__(self, language: str) -> None:
        entries = normal(STOPS.get(language, "")).split()
        cut = sorted((entry for entry in entries if HAS_ALONE.search(entry)), key=len, reverse=True)
        self.words = frozenset(entry for entry in entries if not HAS_ALONE.search(entry))
        self._cut = regex.compile("|".join(map(regex.escape, cut))) if cut else None

    def count(self, text: str, tokens: Sequence[str]) -> int:
        """How often they stand in a normal text whose words are `tokens`."""
        return sum(word in self.words for word in tokens) + (
            len(self._cut.findall(text)) if self._cut else 0
        )

    def without(self, text: str) -> str:
        """A normal text without those that no spaces part from the rest."""
        return self._cut.sub(" ", text) if self._cut else text


@cache
def stops(language: str) -> Stops:
    """A language's words that say nothing; none for a language that is not listed."""
    return Stops(language)
