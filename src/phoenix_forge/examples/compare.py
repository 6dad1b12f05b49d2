"""How short answers are compared: exact match and token F1 as of SQuAD (Rajpurkar et al. 2016, evaluate-v1.1.py), with
a definition of words that suits what projects write about.

SQuAD deletes all punctuation, so that v1.2 is v12, 3.5 is 35 and C++ is C. Here punctuation stays where it is part of a
word: between letters or digits (pids_limit, a/b.md, 12:30, std::vector, 1,5), as the sign or the point before a number,
and in C++ and C#. The hyphen is no part of a word: gpt-4 is GPT 4, as well-known is well known. Apostrophes vanish, and
so do the commas of 1,000. An article counts only where nothing follows it (vitamin A). Chinese characters and kana are
words of their own, as in MLQA (Lewis et al. 2020), and so are Thai, Lao, Burmese and Khmer ones: nothing stands between
them that could separate them. Signs that may be left out in writing do not count: Arabic and Hebrew vowels, the dots
of the Russian ё. All of it is told by the characters alone; the language is never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

JOINING = "._/:@"  # stay between letters or digits
PUNCTUATION = JOINING + "-,+#"  # stay where WORD says
_CHARACTER = rf"[^\s{re.escape(PUNCTUATION)}]"
WORD = re.compile(
    r"(?:(?<![\w-])-(?=\.?\d))?(?:(?<!\w)\.(?=\d))?"  # the sign and the point before a number
    rf"{_CHARACTER}+(?:(?:(?!\.\.)[{re.escape(JOINING)}]|(?<=\d),(?=\d))+{_CHARACTER}+)*"
    r"(?:(?<=[a-z])(?:\+\+|#))?"
)
THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
ALONE = re.compile(
    "([\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)
# Arabic and Hebrew vowels and the Arabic letter that only lengthens a line
UNWRITTEN = [*range(0x64B, 0x653), 0x670, 0x640, *range(0x5B0, 0x5BE), 0x5BF, 0x5C1, 0x5C2, 0x5C7]
# apostrophe, minus, fraction slash (what NFKC makes of ½)
PLAIN = {
    **dict.fromkeys(UNWRITTEN),
    **str.maketrans({"'": None, "\u2212": "-", "\u2044": "/", "ё": "е"}),
}
ARTICLES = {"a", "an", "the"}


def normal(text: str) -> str:
    """The words of a text, in lower case and with one space between them; see the module for what a word is.

    A text without words (`->`) is itself, so that only nothing equals nothing.
    """
    return " ".join(_words(text))


def exact(text: str, answer_keys: Sequence[str]) -> bool:
    """Whether the text is one of the answer keys, both in normal form."""
    return normal(text) in map(normal, answer_keys)


def f1(text: str, answer_keys: Sequence[str]) -> float:
    """The best F1 of the text's words with those of an answer key (0 to 1), in normal form, each counted as often as it is
    there."""
    own = Counter(_words(text))
    return max((_f1(own, Counter(_words(answer_key))) for answer_key in answer_keys), default=0.0)


def _f1(own: Counter[str], answer_key: Counter[str]) -> float:
    return (
        2 * (own & answer_key).total() / (own.total() + answer_key.total())
        if own or answer_key
        else 1.0
    )


def contained(text: str, answer_keys: Sequence[str]) -> bool:
    """Whether the words of an answer key stand in the text one after the other, with their articles or without
    any; one without words (`[]`) has to stand there as it is."""
    return any(_contains(text, answer_key) for answer_key in answer_keys)


def gives_away(question: str, answer: str) -> bool:
    """Whether every word of an answer stands in its question, in whatever order; signs that are words by themselves, as
    in Chinese, in their order."""
    words, wanted = set(_words(question)), _words(answer)
    return contained(question, [answer]) or (
        len(min(wanted, key=len, default="")) > 1 and words.issuperset(wanted)
    )


def _contains(text: str, answer_key: str) -> bool:
    if not WORD.search(_plain(answer_key)):
        return bool(answer_key.strip()) and answer_key.strip() in text
    own, wanted = _all_words(text), _all_words(answer_key)
    return _is_run(wanted, own) or _is_run(_bare(wanted), _bare(own))


def _is_run(run: list[str], words: list[str]) -> bool:
    return any(words[i : i + len(run)] == run for i in range(len(words) - len(run) + 1))


def _words(text: str) -> list[str]:
    return _bare(_all_words(text))


def _all_words(text: str) -> list[str]:
    return WORD.findall(_plain(text)) or folded(text).split()


def _bare(words: Sequence[str]) -> list[str]:
    """Without articles."""
    return [word for i, word in enumerate(words) if word not in ARTICLES or i == len(words) - 1]


def _plain(text: str) -> str:
    """Folded, with spaces for what is no part of any word."""
    kept = []
    for character in folded(text).translate(PLAIN):
        category = unicodedata.category(character)
        if category != "Cf":  # soft hyphens and the like
            kept.append(character if category[0] in "LMN" or character in PUNCTUATION else " ")
    return ALONE.sub(
        r" \1 ", THOUSANDS.sub(lambda number: number[0].replace(",", ""), "".join(kept))
    )


def folded(text: str) -> str:
    """NFKC without case (Unicode, section 3.13: compatibility caseless matching), with plain apostrophes."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.replace("\u2019", "'")
