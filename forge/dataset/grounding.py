"""Whether a text keeps to its source: its numbers, dates, names and identifiers must all stand there.

A rule of thumb, made to be strict: what a model adds of its own is dropped even where it happens to be true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from forge.dataset.language import sentences


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that can be checked: its kind (identifier, date, number, name) and how the text writes it."""

    kind: str
    text: str
    at: int = field(compare=False)


def ungrounded(answer: str, source: str) -> list[str]:
    """What the answer brings that its source does not hold, in order. Empty: grounded."""
    return [claim.text for claim in missing(answer, source)]


def missing(answer: str, source: str) -> list[Claim]:
    index = _index(source)
    found = [claim for claim, value in _claims(answer) if not CHECKS[claim.kind](value, index)]
    return sorted(found, key=lambda claim: claim.at)


# -- the source

@dataclass(frozen=True, slots=True)
class _Index:
    flat: str  # one line, without Markdown's escapes
    words: str  # its words in normal form, a space around each
    together: tuple[frozenset[str], ...]  # the words of each of its sentences
    initials: tuple[str, ...]  # of its capitalised phrases
    numbers: dict[str, frozenset[str]]  # value → units it has, "" for none
    dates: frozenset[tuple[int | None, int, int | None]]


@lru_cache(maxsize=64)
def _index(source: str) -> _Index:
    flat = " ".join(re.sub(r"\\(?=[_*`\-.#])", "", source).split())
    parts = [source, flat]
    claimed = [(claim.kind, value) for claim, value in _claims(source)]  # as an answer would be read, so that …
    numbers: dict[str, set[str]] = {}
    read = [number for part in parts for number in _numbers(part, inside_words=True)]
    for number in [*read, *(value for kind, value in claimed if kind == "number")]:  # … each text holds itself
        for value in {*number.values, *number.bare}:
            numbers.setdefault(value, set()).add(number.unit)
    dates = [readings for part in parts for _, readings in _dates(part)]
    dates += [value for kind, value in claimed if kind == "date"]
    together = (frozenset(_normal_words(part)) for line in source.splitlines() for part in sentences(line))
    capitals = (run for part in parts for run in _capitalised(part))
    return _Index(flat, f" {' '.join(_normal_words(source))} ", tuple(together),
                  tuple("".join(word[0] for word in words).lower() for words, _ in capitals if len(words) > 2),
                  {value: frozenset(units) for value, units in numbers.items()},
                  frozenset(reading for readings in dates for reading in readings))


# -- what a text claims, one kind after another; what one kind has taken is blanked for the next

def _claims(text: str) -> Iterator[tuple[Claim, Any]]:
    """Claims, each with the value that CHECKS takes."""
    left = _without_marks(text)
    for pattern, worth in IDENTIFIERS:
        for match in pattern.finditer(left):
            shown = match[match.lastindex or 0].strip().rstrip(".,;:!?")
            if worth(shown):
                yield Claim("identifier", shown, match.start()), shown
                left = _blank(left, match.span())
    for match, readings in _dates(left):
        yield Claim("date", match[0], match.start()), readings
        left = _blank(left, match.span())
    for number in list(_numbers(left, inside_words=False)):
        yield Claim("number", number.text, number.at), number
        left = _blank(left, (number.at, number.at + len(number.text)))
    for words, at in _names(left):
        yield Claim("name", " ".join(words), at), words


def _blank(text: str, span: tuple[int, int]) -> str:
    return text[:span[0]] + GONE * (span[1] - span[0]) + text[span[1]:]


def _without_marks(text: str) -> str:
    """Blank where lists count their items, headings and quotes are marked, and fences stand. Same length."""
    return MARKS.sub(lambda match: " " * len(match[0]), text)


GONE = "\0"
MARKS = re.compile(r"(?m)^[ \t]*(?:[-*+•>#]+|\d{1,3}[.)]|\(\d{1,2}\))(?=[ \t])|(?i:(?<=\bstep )\d{1,2}\b)|```\w*")

# -- identifiers


def _always(_: str) -> bool:
    return True


def _is_path(text: str) -> bool:
    """and/or, 24/7 and TCP/IP are none."""
    return bool(re.search(r"[A-Za-z]", text)) and (text[0] in "/~." or text.count("/") > 1 or "." in text)


def _is_dotted(text: str) -> bool:
    return text.lower() not in ("e.g", "i.e", "a.m", "p.m", "a.k.a", "n.b")


# Most telling first. The last group, or all of it, is what is shown.
IDENTIFIERS = (
    (re.compile(r"`([^`\n]+)`"), lambda shown: any(c.isalpha() for c in shown)),
    (re.compile(r"\bhttps?://[^\s)>\]\"'`\0]+"), _always),
    (re.compile(r"(?<![\w.])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), _always),
    (re.compile(r"(?<![\w/.~-])[\w.~@-]*(?:/[\w.@*-]+)+"), _is_path),
    (re.compile(r"(?<![\w-])(?:--[A-Za-z][\w-]*|-[A-Za-z](?![\w-]))"), _always),
    (re.compile(r"(?<!\w)_*[^\W_]+(?:_+[^\W_]+)+\w*(?:\(\))?"), _always),
    (re.compile(r"(?<!\w)[A-Za-z_]\w*(?:\.[a-z_]\w*)+(?:\(\))?"), _is_dotted),
    (re.compile(r"(?<!\w)[A-Za-z]+[0-9]\w*(?:[.-]\w+)*"), _always),
    (re.compile(r"(?<!\w)(?:[a-z]+[A-Z]|[A-Z][a-z]+[A-Z]|[A-Z]{2,}[a-z]{2,}[A-Z])\w*(?:\(\))?"), _always),
)


def _has_identifier(shown: str, index: _Index) -> bool:
    if _stands(shown, index.flat):
        return True
    call = re.match(r"([\w.]+)\(", shown)  # written with or without its arguments
    if call and _stands(call[1], index.flat):
        return True
    if re.fullmatch(r"v[0-9][\w.]*", shown) and _stands(shown[1:], index.flat):
        return True
    parts = shown.split() if " " in shown else re.split(r"(?<=\w)-(?=[a-z]+\b)", shown)
    if len(parts) < 2:
        return False
    spaced = " " in shown  # the words of a command; else a compound, whose plain words do not matter
    return all(_stands(part, index.flat) or (not spaced and part.isalpha() and part.islower()) for part in parts)


def _stands(text: str, flat: str) -> bool:
    """Whether the text occurs as a whole; the case of letters only matters in flags."""
    text = " ".join(text.split())
    before, after = (r"(?<!\w)" if text[:1].isalnum() else ""), (r"(?!\w)" if text[-1:].isalnum() else "")
    return bool(re.search(before + re.escape(text) + after, flat, 0 if text.startswith("-") else re.IGNORECASE))


# -- dates: (year, month, day), None where one is not said

MONTHS = {name: i for i, names in enumerate((
    "January Jan", "February Feb", "March Mar", "April Apr", "May", "June Jun", "July Jul", "August Aug",
    "September Sept Sep", "October Oct", "November Nov", "December Dec"), 1) for name in names.split()}
_MONTH, _DAY = rf"(?P<month>{'|'.join(MONTHS)})\.?", r"(?P<day>[0-3]?[0-9])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[12][0-9]{3})"
DATES = tuple(re.compile(rf"(?<!\w){form}(?!\w|[:.,][0-9])") for form in (
    rf"{_DAY} (?:of )?{_MONTH},? {_YEAR}", rf"{_MONTH} {_DAY},? {_YEAR}", rf"{_MONTH},? (?:of )?{_YEAR}",
    rf"{_DAY} (?:of )?{_MONTH}", rf"{_MONTH} {_DAY}",
    r"(?P<year>[12][0-9]{3})(?P<gap>[-/.])(?P<number>[01]?[0-9])(?P=gap)(?P<day>[0-3]?[0-9])",
    r"(?P<first>[0-3]?[0-9])(?P<gap>[-/.])(?P<second>[0-3]?[0-9])(?P=gap)(?P<year>[12][0-9]{3})"))
_Date = tuple[int | None, int, int | None]


def _dates(text: str) -> Iterator[tuple[re.Match[str], tuple[_Date, ...]]]:
    """Dates with their readings; 03/04/2025 has two."""
    for pattern in DATES:
        for match in pattern.finditer(text):
            said = match.groupdict()
            year, day = (int(said[key]) if said.get(key) else None for key in ("year", "day"))
            if "first" in said:
                one, other = int(said["first"]), int(said["second"])
                readings: tuple[_Date, ...] = ((year, one, other), (year, other, one))
            else:
                readings = ((year, MONTHS[said["month"]] if said.get("month") else int(said["number"]), day),)
            yield match, readings
            text = _blank(text, match.span())


def _has_date(readings: Sequence[_Date], index: _Index) -> bool:
    """Year or day may be left out, not added."""
    return any(all(a is None or a == b for a, b in zip(said, known, strict=True))
               for said in readings for known in index.dates)


# -- numbers

def word_list(text: str) -> list[str]:
    return text.split()


WORDS = {word: i for i, word in enumerate(word_list(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"), 1)} | {
    word: i * 10 for i, word in enumerate(word_list("thirty forty fifty sixty seventy eighty ninety hundred"), 3)}
SCALES = {"k": 3, "thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12}
UNITS = {name: unit for unit, names in {
    "%": "% percent per\u00a0cent", "ms": "ms millisecond milliseconds", "s": "s sec secs second seconds",
    "min": "min mins minute minutes", "h": "h hr hrs hour hours", "d": "day days", "week": "week weeks",
    "month": "month months", "year": "year years", "kb": "kb kilobyte kilobytes", "mb": "mb megabyte megabytes",
    "gb": "gb gigabyte gigabytes", "tb": "tb terabyte terabytes", "km": "km kilometre kilometres kilometer kilometers",
    "token": "token tokens"}.items() for name in names.split(" ")}
_DIGITS = (r"[0-9]{1,3}(?:[, \u00a0\u202f'’][0-9]{3})+(?:\.[0-9]+)?(?![0-9])|[0-9]+,[0-9]{1,2}(?![0-9,])|"
           r"[0-9]+(?:[.:][0-9]+)*")
_UNIT = "|".join(sorted(map(re.escape, {*UNITS, "per cent"}), key=len, reverse=True))
NUMBER = re.compile(
    rf"(?P<digits>{_DIGITS})(?P<ordinal>st|nd|rd|th)?(?:[ -]?(?P<scale>{'|'.join(SCALES)})(?!\w))?"
    rf"(?:[ \u00a0-]?(?:(?P<unit>{_UNIT})(?!\w)|(?P<sign>%)|(?P<clock>[ap]\.?m\b)))?", re.IGNORECASE)
WORD_NUMBER = re.compile(rf"(?<![\w-])(?P<word>{'|'.join(WORDS)})(?!\w)(?:[ -](?P<scale>{'|'.join(SCALES)})(?!\w))?"
                         rf"(?:[ -](?P<unit>{_UNIT})(?!\w))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Number:
    text: str
    at: int
    values: frozenset[str]  # its readings: 1.000 has two
    bare: frozenset[str]  # the same without thousand, million, …
    unit: str


def _numbers(text: str, inside_words: bool) -> Iterator[_Number]:
    for match in NUMBER.finditer(text):
        if inside_words or not re.match(r"[\w.]", text[match.start() - 1:match.start()] or " "):
            values = _values(match["digits"], match["clock"])
            yield _Number(match[0], match.start(), _scaled(values, match["scale"]), values, _unit(match))
    for match in WORD_NUMBER.finditer(text):
        # "One" mostly counts nothing, and a capital inside a sentence belongs to a name.
        plain = match["word"].islower() or _is_initial(text, match.start())
        if inside_words or (plain and match["word"].lower() != "one"):
            values = frozenset({str(WORDS[match["word"].lower()])})
            yield _Number(match[0], match.start(), _scaled(values, match["scale"]), values, _unit(match))


def _unit(match: re.Match[str]) -> str:
    said = match.groupdict()
    name = (said["unit"] or said.get("sign") or "").lower().replace("per cent", "%")
    return UNITS.get(name, name)


def _values(digits: str, clock: str | None) -> frozenset[str]:
    if ":" in digits:
        hour, _, rest = digits.partition(":")
        if len(hour) > 2:
            return frozenset({digits})  # an address and its port, or a ratio
        late = clock and clock[0] in "pP" and int(hour) < 12
        return frozenset({digits, f"{int(hour) + 12}:{rest}"} if late else {digits, f"{int(hour)}:{rest}"})
    if digits.count(".") > 1:
        return frozenset({digits})  # a version
    if re.fullmatch(r"[0-9]+,[0-9]{1,2}", digits):
        return frozenset({_plain(digits.replace(",", "."))})
    joined = re.sub(r"[, \u00a0\u202f'’]", "", digits)
    readings = {joined, joined.replace(".", "")} if re.fullmatch(r"[0-9]{1,3}\.[0-9]{3}", joined) else {joined}
    return frozenset(map(_plain, readings))


def _plain(number: str) -> str:
    whole, _, fraction = number.partition(".")
    fraction = fraction.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def _scaled(values: frozenset[str], scale: str | None) -> frozenset[str]:
    if not scale:
        return values
    return frozenset(_plain(f"{Decimal(v).scaleb(SCALES[scale.lower()]):f}") if re.fullmatch(r"[0-9.]+", v)
                     and v.count(".") < 2 else v for v in values)


def _has_number(number: _Number, index: _Index) -> bool:
    """A unit that the source gives to this number may be left out, but not be replaced; % may not be added either."""
    for value in sorted(number.values):
        units = index.numbers.get(value, frozenset())
        if number.unit in units or (units and not number.unit) or ("" in units and number.unit != "%"):
            return True
        if number.unit == "%" and re.fullmatch(r"[0-9.]+", value) and value.count(".") < 2:
            return "" in index.numbers.get(_plain(f"{Decimal(value).scaleb(-2):f}"), frozenset())
    return False


# -- names

WORD = re.compile(r"[^\W\d_]+(?:['’.&-][^\W\d_]+)*")
# Words that a sentence, clause or quoted remark begins with; capitals say nothing about them.
ORDINARY = frozenset(word_list("""
a about above across after again against all along also although always among an and another any anyone anything are
as at avoid be because before behind being below beneath beside besides between both briefly but by call can check
choose compare consider could create define describe despite did do does during each either enable ensure enter every
everyone everything explain few find first for from further given good has have he hence her here his how however i if
in indeed inside instead into is it its keep later learn let like list look make many may meanwhile might moreover
most much must my name neither never next no none nor not note nothing now of off often on once one only open or other
others otherwise our outside over overall per perhaps please put read remember rather run same second see set several
she should similarly since so some someone something sometimes soon start state step still such summarise summarize
take tell than thanks that the their them then there therefore these they third this those through throughout thus to
together too toward towards two three four under unless unlike until up upon use used very via was we well were what
when whenever where whereas whether which while who whoever whole whom whose why will with within without would write
yes yet you your finally ok okay sure absolutely exactly great right true false"""))


def _capitalised(text: str) -> Iterator[tuple[list[str], int]]:
    """Runs of capitalised words with one space between them, and where each starts."""
    run: list[str] = []
    start = end = 0
    for match in WORD.finditer(text):
        follows = bool(run) and text[end:match.start()] == " "
        capital = match[0][0].isupper()
        if run and not (follows and capital):
            yield run, start
            run = []
        if capital:
            start, run = (start if run else match.start()), [*run, match[0]]
        end = match.end()
    if run:
        yield run, start


def _names(text: str) -> Iterator[tuple[list[str], int]]:
    for words, at in _capitalised(text):
        initial, kept = _is_initial(text, at), words
        while kept and (kept[0].lower().partition("'")[0].partition("’")[0] in ORDINARY
                        or (initial and kept is words and len(words) > 1 and kept[0].endswith(("ing", "ly")))):
            kept = kept[1:]
        lone = len(kept) == 1 and initial and kept is words and not re.match(r"[A-Z]{2}", kept[0])
        if kept and not lone:
            yield kept, at


def _is_initial(text: str, at: int) -> bool:
    """Whether a sentence, clause, quotation or line begins there: a capital is no sign of a name."""
    before = text[max(0, at - 40):at]
    line = before.rpartition("\n")[2]
    rest = line.rstrip(" \t\"'“”‘’([*_#>")
    return not rest or rest[-1] in ".!?:;…–—-|" or line.rstrip(" ")[-1:] in ("\"", "“", "(", "[")


def _normal_words(text: str) -> list[str]:
    """Lower case, without possessive and plural s; the parts of compounds one by one."""
    found = (word for match in WORD.finditer(text) for word in re.split(r"[.&-]", match[0]) if word)
    return [_stem(word) for word in found]


def _stem(word: str) -> str:
    word = re.sub(r"['’]s?$", "", word.lower())
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _has_name(words: Sequence[str], index: _Index) -> bool:
    normal = _normal_words(" ".join(words))
    if f" {' '.join(normal)} " in index.words or _stands(" ".join(words), index.flat):
        return True
    if len(words) == 1 and words[0].rstrip("s").isupper() and len(words[0].rstrip("s")) > 2:
        return any(words[0].rstrip("s").lower() in initials for initials in index.initials)
    # Put together from words of one sentence: "Maren Holt" where the source has "Holt, Maren".
    return len(normal) > 1 and any(sentence.issuperset(normal) for sentence in index.together)


CHECKS: dict[str, Callable[[Any, _Index], bool]] = {
    "identifier": _has_identifier, "date": _has_date, "number": _has_number, "name": _has_name}


# -- what is not about the world but about the page

_NOUN = r"(?:text|document|section|context|paragraph|article|content|information|author|excerpt|snippet|dialogue)"
_SAYS = (r"(?:says?|states?|describes?|mentions?|explains?|discuss(?:es)?|outlines?|provides?|notes?|suggests?|"
         r"emphasi[sz]es|highlights?|presents?|about|is about|contains?|includes?|covers?|lists?|does not|doesn't|"
         r"talks?)")
REFERENCES = tuple(re.compile(form, re.IGNORECASE) for form in (
    r"\b(?:the|this|that|given|provided|above) (?:passage|excerpt)\b",
    rf"\b(?:this|given|provided|above|following) {_NOUN}\b",
    rf"\b(?:according to|based on|(?:described|mentioned|stated|said|given|provided|found|discussed|presented) in) "
    rf"(?:the|this) {_NOUN}\b",
    rf"\bthe {_NOUN} (?:\w+ly )?{_SAYS}\b", rf"^in the {_NOUN}\b,", rf"\bdoes the {_NOUN} {_SAYS}\b",
    r"\b(?:of|for|in|from|by) the (?:document|text)[?.]",
    r"\bas (?:already )?(?:mentioned|described|stated|noted|shown|discussed|explained|outlined|seen)"
    r"(?: (?:above|below|earlier|before|previously|here|in)\b|,)",
    r"\b(?:mentioned|described|listed|shown|given|discussed) (?:above|below|earlier)\b", r"\bpassage>"))


def refers_to_source(text: str) -> bool:
    """Whether a text speaks of its source, which nobody sees who is asked about it later."""
    return any(form.search(text) for form in REFERENCES)


PAGE = re.compile(rf"\b(?:the|this|that)(?: (?:given|provided|above|following))? (?:passage|excerpt|{_NOUN})\b",
                  re.IGNORECASE)


def named(text: str, name: str) -> str:
    """A text that speaks of its source by the source's name: 'This document lists …' is '"Port rules" lists …'."""
    return PAGE.sub(lambda _: name, text) if refers_to_source(text) else text


# -- quotes

SAME = str.maketrans("“”„\"‘’‚–—\u00a0", "'''''''-- ")  # inside JSON models swap the quotation marks
LEAD = re.compile(r"^\s*(?:(?:[-*+•>]|#+|(?i:step )?[0-9]{1,3}[.):])\s+)+")  # what marks an item or heading


def find(quote: str, text: str) -> tuple[int, int] | None:
    """Where a quote stands in a text, whatever the spacing, quotation marks, emphasis and case; None where it does not.

    Characters of `text`.
    """
    wanted = _folded(LEAD.sub("", quote))[0].rstrip(".…;,: ").lstrip()
    if not wanted:
        return None
    folded, places = _folded(text)
    before, after = (r"(?<!\w)" if wanted[0].isalnum() else ""), (r"(?!\w)" if wanted[-1].isalnum() else "")
    match = re.search(before + re.escape(wanted) + after, folded)
    if match is None:
        return None
    start, end = places[match.start()], places[match.end() - 1] + 1
    while start and text[start - 1] in "*_`":
        start -= 1
    while end < len(text) and text[end] in "*_`":
        end += 1
    return start, end


def _folded(text: str) -> tuple[str, list[int]]:
    """The text without emphasis, runs of white space as one space, in lower case; and each character's old place."""
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text.translate(SAME)):
        if character in "*_`":
            continue
        if character.isspace():
            character = " "
            if characters and characters[-1] == " ":
                continue
        lower = character.lower()
        characters.append(lower if len(lower) == 1 else character)
        places.append(place)
    return "".join(characters), places
