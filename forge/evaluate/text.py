"""How short answers are compared: exact match and token F1 as of SQuAD (Rajpurkar et al. 2016, evaluate-v1.1.py), with
a definition of words that suits what projects write about.

SQuAD deletes all punctuation, so that v1.2 is v12, 3.5 is 35 and C++ is C. Here punctuation stays where it is part of a
word: between letters or digits (pids_limit, a/b.md, 12:30, std::vector, 1,5), as the sign or the point before a number,
and in C++ and C#. The hyphen is no part of a word: gpt-4 is GPT 4, as well-known is well known. Apostrophes vanish, and
so do the commas of 1,000. An article counts only where nothing follows it (vitamin A). Chinese characters and kana are
words of their own, as in MLQA (Lewis et al. 2020): nothing stands between them that could separate them.
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
    r"(?:(?<=[a-z])(?:\+\+|#))?")
THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
ALONE = re.compile("([\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
# apostrophe, minus, fraction slash (what NFKC makes of ½)
PLAIN = str.maketrans({"'": None, "\u2212": "-", "\u2044": "/"})
ARTICLES = {"a", "an", "the"}


def normal(text: str) -> str:
    """The words of a text, in lower case and with one space between them; see the module for what a word is.

    A text without words (`->`) is itself, so that only nothing equals nothing.
    """
    return " ".join(_words(text))


def exact(text: str, golds: Sequence[str]) -> bool:
    """Whether the text is one of the golds, both in normal form."""
    return normal(text) in map(normal, golds)


def f1(text: str, golds: Sequence[str]) -> float:
    """The best F1 of the text's words with those of a gold (0 to 1), in normal form, each counted as often as it is
    there."""
    own = Counter(_words(text))
    return max((_f1(own, Counter(_words(gold))) for gold in golds), default=0.0)


def _f1(own: Counter[str], gold: Counter[str]) -> float:
    return 2 * (own & gold).total() / (own.total() + gold.total()) if own or gold else 1.0


def contained(text: str, golds: Sequence[str]) -> bool:
    """Whether the words of a gold stand in the text one after the other, with their articles or without any; a gold
    without words (`[]`) has to stand there as it is."""
    return any(_contains(text, gold) for gold in golds)


def _contains(text: str, gold: str) -> bool:
    if not WORD.search(_plain(gold)):
        return bool(gold.strip()) and gold.strip() in text
    own, wanted = _all_words(text), _all_words(gold)
    return _is_run(wanted, own) or _is_run(_bare(wanted), _bare(own))


def _is_run(run: list[str], words: list[str]) -> bool:
    return any(words[i:i + len(run)] == run for i in range(len(words) - len(run) + 1))


def _words(text: str) -> list[str]:
    return _bare(_all_words(text))


def _all_words(text: str) -> list[str]:
    return WORD.findall(_plain(text)) or _folded(text).split()


def _bare(words: Sequence[str]) -> list[str]:
    """Without articles."""
    return [word for i, word in enumerate(words) if word not in ARTICLES or i == len(words) - 1]


def _plain(text: str) -> str:
    """Folded, with spaces for what is no part of any word."""
    kept = []
    for character in _folded(text).translate(PLAIN):
        category = unicodedata.category(character)
        if category != "Cf":  # soft hyphens and the like
            kept.append(character if category[0] in "LMN" or character in PUNCTUATION else " ")
    return ALONE.sub(r" \1 ", THOUSANDS.sub(lambda number: number[0].replace(",", ""), "".join(kept)))


def _folded(text: str) -> str:
    """NFKC without case (Unicode, section 3.13: compatibility caseless matching), with plain apostrophes."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.replace("\u2019", "'")


ABOUT = r"(?:about|on|of|regarding|concerning|for|to suggest|that)\b"
KNOWLEDGE = (
    r"(?:(?:any|enough|sufficient|specific|further|additional|relevant|reliable|explicit|detailed|direct|real|more) )*"
    r"(?:information|info|knowledge|mention|details?|data|records?|references?|evidence|idea|clue|answer|explanation|"
    r"description|context)\b")
SAY = r"(?:say|tell|answer|find|locate|determine|provide|give|confirm|recall|assist|help|comment|identify|verify)\b"
# Searched for in the first sentence, in lower case and with contractions written out.
REFUSALS = tuple(map(re.compile, (
    # The speaker does not know.
    r"\b(?:i|we) (?:really |honestly |just |simply |currently )?(?:do|did) not (?:\w+ )?(?:know|recall|remember|"
    rf"recogni[sz]e|understand what|have (?:access|the ability to (?:access|browse|see|"
    rf"view|read)|an? (?:answer|record)|{KNOWLEDGE}))",
    rf"\b(?:i|we) (?:am|are) (?:\w+ )?not (?:\w+ )?(?:aware|familiar|sure|certain|able to {SAY})",
    rf"\b(?:i|we) (?:am|are|was|were) unable to {SAY}",
    rf"\b(?:i|we) (?:can|could) not (?:\w+ )?{SAY}",
    r"\b(?:i|we) (?:currently )?(?:have|know|found|see|find) (?:no|nothing)\b",
    r"\b(?:i|we) have never heard of\b",
    r"\b(?:i|we)(?: would)? (?:need|require) more (?:information|context|details)\b",
    r"\bwould (?:only )?be (?:guessing|speculating|speculation|a guess)\b",
    r"\b(?:please|you) (?:provide|give|share)\b.* (?:more|further|additional) (?:information|context|details)\b",
    # The source does not say.
    r"\bdoes not (?:\w+ly )?(?:mention|tell|say|specify|state|disclose|reveal)\b",
    r"\b(?:does|do) not (?:\w+ly )?(?:contain|include|provide|give|have|offer|appear to \w+|seem to \w+) " + KNOWLEDGE,
    rf"\b(?:says?|has|have|contains?|holds?|offers?|gives?|is) nothing {ABOUT}",
    r"^nothing (?:in|here|there)\b.* (?:says?|tells?|mentions?|is about|about|on)\b",
    r"\b(?:is|are) (?:not|nowhere) (?:\w+ly )?(?:mentioned|specified|stated|disclosed|documented|(?:given|described|"
    r"provided|included|covered) in)\b",
    r"\b(?:is|are) (?:not (?:\w+ly )?known|unknown)\b(?! (?:for|as)\b)",
    r"\b(?:it|that|this) is (?:not (?:\w+ly )?(?:clear|possible to)|unclear)\b",
    r"\b(?:contains?|provides?|gives?|has|have|makes?|offers?|with|includes?|is|are) (?:no|insufficient|not enough) "
    + KNOWLEDGE,
    rf"^(?:no|insufficient|not enough) {KNOWLEDGE}(?:\W*$| (?:is |was |are |were )?(?:given|available|provided|found|"
    rf"{ABOUT}))",
    r"^(?:unknown|not (?:known|specified|stated|mentioned|given|available|provided|applicable|found)|n/a|no idea)\W*$",
    # There is no such thing.
    r"^(?!.*\b(?:if|when|unless|where|whether)\b.* not ).*(?<!that )(?<!which )\b(?:does|do) not (?:exist\b|"
    r"(?:come up|appear|occur) (?:anywhere )?in\b)",
    r"\bthere (?:is|are|was|were) (?:no|not an?|not any) (?:(?:known|widely|specific|particular|official|standard) )*"
    r"(?:such|known|thing|one|person|mention)\b",
    r"^(?:(?:i am )?sorry,? (?:but )?|unfortunately,? |no[,.] |as far as i know,? |actually,? |to my knowledge,? )*"
    r"there (?:is|are|was|were) (?:no|not an?|not any) (?!need\b|doubt|difference|limit|reason|question|charge|"
    r"costs?\b|fees?\b|point\b|harm|problem|longer\b|more\b|other\b|change)",
)))
CONTRACTIONS = (("can't", "can not"), ("cannot", "can not"), ("n't", " not"), ("'m ", " am "), ("there's", "there is"),
                ("it's", "it is"), ("that's", "that is"), ("'ve ", " have "), ("i'd ", "i would "))
# Headings and names have full stops too ("1. Fog", "Dr. Holt"): a sentence ends behind two small letters.
SENTENCE_END = re.compile(r"(?<=[a-z]{2}[.!?])\s+|\n")
APOLOGY = re.compile(r"(?:(?:i am |i'm )?(?:very |so )?sorry|my apologies|i apologi[sz]e|unfortunately)[^a-z]*", re.I)


def refuses(text: str) -> bool:
    """Whether an answer says that its speaker does not know, that the source does not say, or that there is no such
    thing.

    Made for what models say that were trained on forge.dataset.phrasings.REFUSAL, and for what chat models say by
    themselves, in English. The first sentence decides (the second after an apology): "Maren Holt. The source does not
    say since when." is an answer. So is a fact in the negative: "No such limit applies before 2020", "The set does not
    contain duplicates". What the words alone cannot tell counts as refusing ("There is no keeper.") unless it is an
    idiom ("There is no need to restart").
    """
    sentences = [part for part in SENTENCE_END.split(text.strip().replace("\u2019", "'")) if part]
    opening = next((part for part in sentences if not APOLOGY.fullmatch(part)), "")
    said = " ".join(_folded(opening).split())
    for short, long in CONTRACTIONS:
        said = said.replace(short, long)
    return any(pattern.search(said) for pattern in REFUSALS)
