"""What is not there: questions that the document cannot answer, and refusals that say so."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Iterator

from phoenix_forge.corpus.document import Document
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import language as lang
from phoenix_forge.questions import phrasings
from phoenix_forge.questions.model import Material, fill

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
# No part begins as another one of its list does: at any place of a text there is one such name at most.
INVENTED = re.compile(f"(?=({'|'.join(FIRST)})({'|'.join(MIDDLE)})({'|'.join(LAST)}))".lower())


# What an invented thing may be called, of two made-up names, and how such a thing is asked for.
SHAPES: tuple[tuple[Callable[[str, str], str], tuple[str, ...]], ...] = (
    (
        lambda a, b: f"the {a} {THINGS[zlib.crc32(b.encode()) % len(THINGS)]}",
        ("What is the aim of {t}?", "Who wrote {t}?", "What does {t} say?"),
    ),
    (lambda a, b: f"{a} {b}", ("Who is {t}?", "What did {t} do?", "What is {t} responsible for?")),
    (
        lambda a, b: f"`{a}{b}`",
        ("What is the class {t} for?", "What does {t} inherit from?", "Where is {t} used?"),
    ),
    (
        lambda a, b: f"`{a}_{b}.py`".lower(),
        ("What is in {t}?", "What is the file {t} for?", "Who uses {t}?"),
    ),
    (
        lambda a, b: f"`{a}_{b}`".upper(),
        (
            "What is the environment variable {t} for?",
            "Which value does {t} have?",
            "What is the default of {t}?",
        ),
    ),
    (
        lambda a, b: f"the {a}-{b} {THINGS[zlib.crc32(a.encode()) % len(THINGS)]}",
        ("When was {t} adopted?", "Who leads {t}?", "How does {t} work?"),
    ),
    (
        lambda a, b: f"`{a}-{b}`".lower(),
        ("What does {t} do?", "Which options does {t} take?", "How is {t} installed?"),
    ),
)


def missing(material: Material) -> Iterator[Fact]:
    """A property or an invented name that certainly does not occur in the document; both in a long section."""
    seed = _seed(material)
    both = len(material.section.body) >= LONG
    wanted = _property(seed // 2, material) if both or seed % 2 else ""
    if wanted:
        wordings = fill(phrasings.ABSENT_PROPERTY, material.names, t=wanted)
        yield _refused(material, "missing", wordings, phrasings.REFUSAL, lang.with_article(wanted))
    made = invented(_known(material), seed) if both or not wanted else ""
    if made:
        name = f"{made} {THINGS[seed // 2304 % len(THINGS)]}"
        wordings = fill(phrasings.ABSENT_NAME, material.names, t=f"the {name}")
        yield _refused(material, "missing", wordings, phrasings.REFUSAL, lang.with_article(name))


def unknown(material: Material) -> Iterator[Fact]:
    """An invented thing that is asked for without a document: neither the question nor the refusal names one. That no
    other document has the name either is only as good as certain: there are five million pairs."""
    known, seed = _known(material), _seed(material)
    first, second = invented(known, seed // 3), invented(known, seed // 5 + 1)
    if not first or not second:
        return
    shape, asked = SHAPES[seed % len(SHAPES)]
    name, at = shape(first, second), seed // 13 % len(phrasings.UNKNOWN)
    wordings = fill((*asked, *(phrasings.UNKNOWN * 2)[at : at + len(asked)]), [""], t=name)
    yield _refused(material, "unknown", wordings, phrasings.IGNORANCE, name)


def _known(material: Material) -> set[str]:
    """The invented names, and the words of properties, that the document has, in lower case."""
    known: set[str] = material.once("not absent", _present)
    return known


def _present(document: Document) -> set[str]:
    text = document.text.lower()
    words = {word.lower() for name in PROPERTIES for word in name.split()}
    names = {"".join(found.groups()) for found in INVENTED.finditer(text)}
    return {word for word in words if word in text} | names


def _seed(material: Material) -> int:
    return zlib.crc32(f"{material.document.path} {material.section.index}".encode())


def _property(seed: int, material: Material) -> str:
    """The first, from a place that the section decides, none of whose words the document has."""
    known, about = _known(material), " ".join(material.names).lower()
    for i in range(len(PROPERTIES)):
        name = PROPERTIES[(seed + i) % len(PROPERTIES)]
        words = name.lower().split()
        if known.isdisjoint(words) and not any(word in about for word in words):
            return name
    return ""


def invented(known: Collection[str], seed: int) -> str:
    """A name of syllables, such as 'Quiland', that is not among the `known` (in lower case); "" where all are."""
    for turn in range(len(FIRST) * len(MIDDLE) * len(LAST)):
        at = seed + turn * 7919  # a prime: it comes to each of them
        made = FIRST[at % len(FIRST)] + MIDDLE[at // 16 % len(MIDDLE)] + LAST[at // 192 % len(LAST)]
        if made.lower() not in known:
            return made
    return ""


def _refused(
    material: Material, kind: str, wordings: tuple[str, ...], refusals: tuple[str, ...], what: str
) -> Fact:
    """With another wording first each time: the first is asked of every section, the others of few."""
    at = zlib.crc32(wordings[0].encode(errors="surrogatepass"))
    refusal = refusals[at // len(wordings) % len(refusals)]
    answer = fill((refusal,), material.names[:1], t=what)[0]
    turned = wordings[at % len(wordings) :] + wordings[: at % len(wordings)]
    return Fact(kind, turned, answer, material.section.start, material.section.end)
