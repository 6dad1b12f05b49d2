"""What can be asked for in prose: its language, its sentences, and the words of each that can be an answer.

Nothing here knows a model. Languages are told apart by py3langid and sentences by sentencex; an answer is a run of
words between words that only join others (`data/words.json`; for languages that are not listed, short words), or two
such runs with what joins them. Chinese and Japanese have no spaces: characters that only join others part the runs.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice, pairwise, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.corpus import inline

if TYPE_CHECKING:
    from phoenix_forge.corpus.split import Section

DATA = Path(__file__).parent / "data" / "words.json"
# What py3langid chooses from: told about every language it knows, it takes short Chinese texts for Wu or Japanese.
LANGUAGES = (
    "ar",
    "cs",
    "da",
    "de",
    "el",
    "en",
    "es",
    "fi",
    "fr",
    "he",
    "hi",
    "hu",
    "id",
    "it",
    "ja",
    "ko",
    "nl",
    "no",
    "pl",
    "pt",
    "ro",
    "ru",
    "sv",
    "th",
    "tr",
    "uk",
    "vi",
    "zh",
)
PROSE = ("paragraph", "list")  # kinds of block
SAMPLE = 2000  # characters of a text that its language is told by
SHORTEST_SENTENCE, LONGEST_SENTENCE = 12, 600  # characters of what is asked about
LONGEST_SPAN = 10  # words of an answer
LONGEST_HAN = 24  # characters of one without spaces
SHORT_WORD = 3  # letters up to which a word joins others, in languages that are not listed
HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
HAS_HAN = re.compile(rf"[{HAN}]")
WORD = re.compile(r"[^\W_]+(?:[.,:/'’_@-][^\W_]+)*%?")
STOPS = re.compile(r"[,;:()\[\]{}\"“”„«»…—–|!?]|\.(?=\s|$)")  # no answer runs over one
BREAK = re.compile(
    rf"{STOPS.pattern}|[，。；：、（）《》“”！？]"
)  # what two runs are not joined over
PIECE = re.compile(rf"[{HAN}]|[^\W{HAN}]+")
HAN_RUN = re.compile(rf"\d[\d.,]*[{HAN}%]{{0,2}}|[{HAN}A-Za-z0-9·•.\-%]+(?: [A-Za-z0-9.\-]+)*")
# Marks of Markdown and the like around a line's words.
LEAD = re.compile(r"^\s*(?:>+\s*|#{1,6}\s+|[-*+•]\s+|\d{1,3}[.)]\s+|\|)+")
NOT_PROSE = re.compile(r"^\s*(?:\||\[?!\[|<|---|===|\+\+\+|#{1,6}\s|[-*_=]{3,}\s*$)")
FENCE = re.compile(r"^[\s>]*(`{3,}(?![^\n]*`)|~{3,})")
UNDERLINE = re.compile(r"^ {0,3}(?:=+|-{2,})\s*$")  # makes the line before it a heading
UNDER_HEAD = re.compile(
    r"^\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)+$"
)  # below the head of a table without outer borders
# German writes nouns with capitals, so what follows an ordinal ("im 19. Jahrhundert") seems to begin one.
GERMAN_ORDINAL = re.compile(
    r"\b(?:am|beim|das|dem|den|der|des|die|im|ins|und|vom|zum|zur|(?:früh|spät|ausgehend)en) \d{1,2}\.$"
)
WORDLIKE = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text as it can be read aloud, without marks, and the sentence before it ("": none)."""

    text: str
    before: str


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(LANGUAGES)
    return identifier


def language(text: str) -> str:
    """The ISO 639-1 code of the language that most of a text is in; "en" where there is nothing to tell by."""
    sample = " ".join(match[0] for match in islice(WORDLIKE.finditer(text), SAMPLE // 4))[:SAMPLE]
    return str(_identifier().classify(sample)[0]) if sample else "en"


def prose_of(section: Section) -> str:
    """The section's paragraphs and lists; code, tables, headings and front matter are asked for by their structure."""
    text, blocks = section.document.text, section.document.blocks  # which tile it
    first = bisect_right(blocks, section.start, key=lambda block: block.end)
    own = blocks[first : bisect_left(blocks, section.end, first, key=lambda block: block.start)]
    within = (
        text[max(block.start, section.start) : min(block.end, section.end)].strip()
        for block in own
        if block.kind in PROSE
    )
    return "\n\n".join(piece for piece in within if piece)


def sentences(text: str, language: str) -> Iterator[Sentence]:
    """The sentences of a section's prose: of paragraphs and items, not of headings, tables and code."""
    for paragraph in _paragraphs(text):
        before = ""
        for sentence in _segmented(paragraph, language):
            # A Chinese character says about as much as two letters.
            size = len(sentence) + len(HAS_HAN.findall(sentence))
            if (
                size >= SHORTEST_SENTENCE
                and len(sentence) <= LONGEST_SENTENCE
                and WORDLIKE.search(sentence)
            ):
                yield Sentence(sentence, before)
            before = sentence


def _paragraphs(text: str) -> Iterator[str]:
    """Lines joined to paragraphs, each item of a list by itself, without marks."""
    joined: list[str] = []
    fence, tabled = "", False
    for line in [*text.splitlines(), ""]:
        mark = FENCE.match(line)
        opened, fenced = fence, bool(fence or mark)
        if mark and not opened:
            fence = mark[1]
        elif mark and mark[1].startswith(opened):
            fence = ""
        head = not fenced and bool(UNDER_HEAD.match(line))
        if joined and (head or (len(joined) == 1 and not fenced and UNDERLINE.match(line))):
            joined.pop()
        tabled = head or (tabled and bool(line.strip()))
        broken = (
            fenced
            or tabled
            or not line.strip()
            or bool(NOT_PROSE.match(line))
            or line.startswith("#")
        )
        if joined and (broken or LEAD.match(line)):
            yield _plain(
                " ".join(joined)
            )  # whole, since a mark that one line opens may be closed on the next
            joined = []
        if not broken:
            joined.append(LEAD.sub("", line).strip())


def _plain(text: str) -> str:
    return inline.plain(text)


def _segmented(paragraph: str, language: str) -> list[str]:
    from sentencex import segment

    whole = paragraph.encode(
        "utf-8", "replace"
    ).decode()  # half a surrogate pair cannot be segmented
    sentences: list[str] = []
    for sentence in filter(None, map(str.strip, segment(language, whole))):
        if sentences and language == "de" and GERMAN_ORDINAL.search(sentences[-1]):
            sentences[-1] = f"{sentences[-1]} {sentence}"
        else:
            sentences.append(sentence)
    return sentences


def shape(text: str) -> tuple[bool, bool, bool, int]:
    """What an answer looks like: whether it has digits, begins with a capital letter, is written without spaces, and
    its length, in words or such characters."""
    return (
        any(map(str.isdigit, text)),
        text[:1].isupper(),
        bool(HAS_HAN.search(text)),
        len(PIECE.findall(text)),
    )


def standing(words: str) -> re.Pattern[str]:
    """Finds words where they stand by themselves: not within others, over the end of a line, in capitals or not."""
    edge = "" if HAS_HAN.search(words) else r"\b"
    first, last = (edge if letter.isalnum() else "" for letter in (words[:1], words[-1:]))
    return re.compile(first + r"\s+".join(map(re.escape, words.split())) + last, re.IGNORECASE)


# -- answers -----------------------------------------------------------------------------------------------------------


def spans(sentence: str, language: str, *, joined: bool = True) -> list[tuple[int, int]]:
    """(start, end) of what can be asked for: numbers and names and other runs of words, by turns, and then, where
    `joined` are wanted, two runs with what joins them. None is the whole sentence."""
    han = len(HAS_HAN.findall(sentence)) * 3 > len(sentence)
    if han:
        runs, inner, longest = list(_han_runs(sentence)), [], LONGEST_HAN
    else:
        words, longest = list(_word_runs(sentence, language)), LONGEST_SPAN
        runs = [(run[0].start(), run[-1].end()) for run in words]
        inner = [part for run in words if len(run) > 1 for part in _within(run)]
    most = len(sentence.strip()) * 8

    def able(some: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        return [
            (a, b)
            for a, b in some
            if (b - a <= longest or (not han and len(sentence[a:b].split()) <= longest))
            and (b - a > 1 or sentence[a].isdigit())
            and (b - a) * 10 < most
        ]

    classes: tuple[list[tuple[int, int]], ...] = ([], [])
    for span in able(dict.fromkeys(inner + runs)):
        classes[_plainness(sentence, *span)].append(span)
    single = [span for turn in zip_longest(*classes) for span in turn if span]
    if not joined:
        return single
    pairs = [(a, d) for (a, b), (c, d) in pairwise(runs) if not BREAK.search(sentence[b:c])]
    return single + [span for span in able(pairs) if span not in single]


def _plainness(sentence: str, start: int, end: int) -> int:
    """0 for numbers and names, 1 for other words."""
    text = sentence[start:end]
    return 0 if any(map(str.isdigit, text)) or (start > 0 and text[:1].isupper()) else 1


def _word_runs(sentence: str, language: str) -> Iterator[list[re.Match[str]]]:
    """Words that follow each other without one that only joins others, and without a stop."""
    joining = _function_words(language)
    run: list[re.Match[str]] = []
    for match in WORD.finditer(sentence):
        word = match[0].lower()
        joins = (
            word in joining if joining else len(word) <= SHORT_WORD and not match[0][0].isupper()
        )
        joins = joins and not any(map(str.isdigit, word))
        if run and (joins or _stops(sentence[run[-1].end() : match.start()])):
            yield run
            run = []
        if not joins:
            run.append(match)
    if run:
        yield run


def _stops(between: str) -> bool:
    return between != " " and bool(STOPS.search(between))


def _han_runs(sentence: str) -> Iterator[tuple[int, int]]:
    joining = _han_joining()
    for match in HAN_RUN.finditer(sentence):
        at = match.start()
        for piece in re.split(f"([{joining}])", match[0]):
            bare = piece.strip(" ·•.")
            if (len(bare) > 1 and any(map(str.isalnum, bare))) or bare.isdigit():
                start = at + piece.index(bare)
                yield start, start + len(bare)
            at += len(piece)


def _within(run: Sequence[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Of a run of several words: its names without the words beside them, and a number with what it counts."""
    for named, group in groupby(run, key=lambda word: word[0][0].isupper()):
        some = list(group)
        if named and some[0].start() > 0 and len(some) < len(run):
            yield some[0].start(), some[-1].end()
    if len(run) > 2:
        for number, counted in pairwise(run):
            if any(map(str.isdigit, number[0])):
                yield number.start(), counted.end()


@cache
def _function_words(language: str) -> frozenset[str]:
    return frozenset(_data()["function"].get(language, "").split())


def _han_joining() -> str:
    return str(_data()["han"])


@cache
def _data() -> dict[str, Any]:
    return json.loads(DATA.read_text(encoding="utf-8"))
