"""What is not there: questions that the document cannot answer, and refusals that say so."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from forge.dataset import language as en
from forge.dataset import phrasings
from forge.dataset.views.model import Fact, Source, fill

# Properties that documents are asked for; each is used only where none of its words occurs in the text.
PROPERTIES = (
    "phone number", "postal address", "warranty period", "delivery date", "monthly fee", "refund policy", "dress code",
    "opening hour", "office location", "shareholder meeting", "annual revenue", "salary range", "vacation policy",
    "boiling point", "exchange rate", "tax rate", "seat number", "flight number", "bank account", "serial number",
    "blood type", "shoe size", "favourite colour",
    "birth year", "membership fee", "shipping weight", "fuel consumption",
    "parking regulation", "insurance provider", "customer hotline", "return address", "page count", "print run",
    "ticket price", "cooking time", "wind speed", "population figure", "election result", "patent number",
    "trade union", "calorie count", "battery capacity", "screen diagonal", "engine displacement", "interest rate",
    "wholesale price", "publishing house", "ISBN", "fax number", "visa requirement", "guest list", "room temperature",
    "rental contract", "customs tariff", "lunch menu", "soundtrack", "translator", "illustrator", "sponsor", "mascot",
)  # fmt: skip
FIRST = (
    "Qu", "Zor", "Vel", "Brax", "Thel", "Mur", "Kesh", "Ond", "Drav", "Plen", "Skor", "Ith", "Wex", "Yar", "Gol",
    "Fenn",
)  # fmt: skip
MIDDLE = ("il", "and", "or", "eth", "um", "av", "is", "oth", "ag", "en", "ul", "ir")
LAST = ("ador", "idor", "ane", "ith", "oss", "ume", "ark", "ex", "yn", "or", "eval", "ast")
THINGS = (
    "protocol", "procedure", "module", "committee", "algorithm", "agreement", "experiment", "theorem", "service",
    "register", "index", "method",
)  # fmt: skip
LONG = 1500  # characters of a section that has room for two such questions


def missing(source: Source) -> Iterator[Fact]:
    """A property or an invented name that certainly does not occur in the document; both in a long section."""
    text: str = source.once("lower", lambda document: document.text.lower())
    seed = zlib.crc32(f"{source.document.path} {source.section.index}".encode())
    both = len(source.section.body) >= LONG
    wanted = _property(text, seed // 2, source) if both or seed % 2 else ""
    if wanted:
        forms = fill(phrasings.ABSENT_PROPERTY, source.names, t=wanted)
        yield _refused(source, forms, en.with_article(wanted), seed)
    if both or not wanted:
        name = invented(text, seed)
        forms = fill(phrasings.ABSENT_NAME, source.names, t=f"the {name}")
        yield _refused(source, forms, en.with_article(name), seed // 7)


def _property(text: str, seed: int, source: Source) -> str:
    """The first, from a place that the section decides, none of whose words the document has."""
    about = " ".join(source.names).lower()
    for i in range(len(PROPERTIES)):
        name = PROPERTIES[(seed + i) % len(PROPERTIES)]
        if all(word.lower() not in text and word.lower() not in about for word in name.split()):
            return name
    return ""


def invented(text: str, seed: int) -> str:
    """A name of syllables, such as 'Quiland protocol', that is not in `text` (in lower case)."""
    for turn in range(1000):
        at = seed + turn * 7919
        made = FIRST[at % len(FIRST)] + MIDDLE[at // 16 % len(MIDDLE)] + LAST[at // 192 % len(LAST)]
        if made.lower() not in text:
            return f"{made} {THINGS[at // 2304 % len(THINGS)]}"
    raise AssertionError("a text with a thousand invented names in it")


def _refused(source: Source, forms: tuple[str, ...], what: str, seed: int) -> Fact:
    wording = phrasings.REFUSAL[seed % len(phrasings.REFUSAL) : seed % len(phrasings.REFUSAL) + 1]
    answer = fill(wording, source.names[:1], t=what)[0]
    return Fact("missing", forms, answer, source.section.start, source.section.end)


