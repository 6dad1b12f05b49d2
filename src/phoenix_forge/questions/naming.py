"""What a document is called in a question: its title, what people shorten it to, and its number."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.readers import data
from phoenix_forge.examples import english as en
from phoenix_forge.questions import language as lang

PREFIXES = re.compile(
    r"(?i)^(?:(?:frequently asked )?questions (?:and answers )?(?:about|on)|about|introduction to|guide to|"
    r"faq (?:about|for|on)|getting started with) (?=[A-Z`])"
)
SUFFIXES = re.compile(
    r"(?i)[\s:–—-]+(faq|guide|user guide|manual|readme|documentation|docs|handbook|glossary|reference|overview|"
    r"frequently asked questions|questions and answers|quick ?start)$"
)
GENERIC_TITLES = lang.phrases("""
readme, index, overview, introduction, faq, guide, documentation, manual, changelog, contributing, glossary, notes,
summary, reference, home, main, license, todo, tasks, architecture, setup, usage, status, untitled, preamble,
context, purpose, table of contents, skill, workflow, template, plan, spec, specification, task, adr, protocol,
entry, user input, prompt, instructions""")
# What tells guides and manuals of one thing apart, and names none by itself: a "User Guide" is no guide to User.
QUALIFIERS = lang.phrases("""
user, users, user's, developer, developers, admin, administrator, administration, operator, owner's, api, cli, style,
installation, install, setup, quick, quick start, quickstart, getting started, reference, language, service, repair,
maintenance, migration, upgrade, deployment, configuration, contributor, contribution, programming, programmer's,
training, teacher, student, employee, staff, technical, beginner's, security, release, project, product, system, code,
coding, design, testing, test, troubleshooting, field, study, safety, operations, operating, instruction, command,
the, a, our, this, my, full, complete, short, brief, general, online, official, internal, public""")
# Kinds of document that are numbered; anything else is one only where the file's name bears the same number.
NUMBERED = lang.phrases(
    "adr, rfc, pep, protocol, entry, task, p, issue, ticket, chronicle entry, decision, chapter"
)
TYPED = re.compile(
    r"^(?P<type>[A-Z][A-Za-z]{0,14}(?: [A-Z][a-z]+)?)[ #-]{0,3}(?P<n>\d{1,4}[A-Z]?)(?: ?\(?v?\d[\d.]*\)?)?"
    r"\s*(?:[:–—-]\s+)(?P<name>\S.+)$"
)
TYPED_LAST = re.compile(r"(?i)^(?P<of>.+?)[\s:–—-]+(?P<type>[A-Z]+) #?(?P<n>\d{1,4})$")
ANNOUNCED = re.compile(
    r"(?i)^(?P<type>task|workflow|backlog task|research summary|implementation plan|plan): (?P<name>.+)$"
)
FILE_NUMBER = re.compile(r"^(?!(?:19|20)\d\d[-_]?\d\d)(?P<n>\d{1,4}[A-Za-z]?)[-_. ]+(?=[A-Za-z])")
PROSE = (".md", ".markdown", ".mdx", ".txt", ".rst", ".tex")
LETTER = re.compile(r"[^\W\d_]")
ALIASES = 3  # of those that a note gives itself; each is one more way to ask
NOT_TYPES = lang.phrases(
    "docs, tools, scripts, tests, references, images, assets, files, resources, notes, packages"
)


def names(document: Document) -> tuple[str, ...]:
    """How the document is referred to, the fullest first; at least one."""
    title = _title(document)
    full = subject(title, document.name)
    typed = TYPED.match(title)
    number = _file_number(document.name)
    others: list[str] = []
    if typed and (typed["type"].lower() in NUMBERED or (number and _same(number[1], typed["n"]))):
        join = "" if typed["type"] == "P" else " "
        others.append(f"{typed['type']}{join}{typed['n']}")
        if typed["n"].startswith("0") and typed["n"].strip("0").isdigit():
            others.append(f"{typed['type']}{join}{int(typed['n'])}")
        if len(typed["name"].split()) > 1:
            others.append(en.quoted(typed["name"]))
    elif (last := TYPED_LAST.match(title)) and last["type"].lower() in NUMBERED:
        others.append(f"{last['type']} {last['n']}")
        words = _stem_words(document.name)
        if len(words.split()) > 2:
            others.append(en.quoted(en.capitalised(words)))
    elif number:
        others.append(f"{number[0]} {number[1]}")
    return tuple(dict.fromkeys([full, *others, *_aliases(document)]))


def subject(title: str, path: str = "") -> str:
    """'Forge FAQ' → Forge; 'TASK: Pack it' → the task "Pack it"; 'README' → the README in docs; else in quotes."""
    if title.lower() in GENERIC_TITLES or SUFFIXES.sub("", title).lower() in QUALIFIERS:
        stem = _stem_words(path)
        if len(stem.split()) > 1 and PurePosixPath(path).suffix.lower() in PROSE:
            return en.quoted(en.capitalised(stem))  # the file's name says more
        folder = str(PurePosixPath(path).parent)
        return f"the {title} in {folder}" if folder not in (".", "") else f"the {title}"
    announced = ANNOUNCED.match(title)
    if announced:
        return f"the {announced['type'].lower()} {en.quoted(announced['name'])}"
    if PurePosixPath(path).suffix and title == PurePosixPath(path).name:
        return title  # a file that has no title of its own
    name = SUFFIXES.sub("", PREFIXES.sub("", title))
    words = name.split()
    capital = all(word[:1].isupper() or not word[:1].isalpha() for word in words)
    plain = 0 < len(words) <= 2 and not re.search(r"[:\"“”?!,(/]", name) and capital
    if plain and words[0].lower() not in lang.VERBS and words[0].lower() not in lang.GERUND:
        return name
    return en.quoted(title)


def _title(document: Document) -> str:
    title = (en.clean_title(document.title) or document.title).lstrip("-–—: ")
    path = PurePosixPath(title)
    if (path.suffix.lower() in PROSE and " " not in title) or re.fullmatch(
        r"\d+[A-Za-z]?_\w+", title
    ):
        stem = path.stem if path.suffix.lower() in PROSE else title
        if not LETTER.search(stem):
            return title  # a number alone is no name
        return en.capitalised(re.sub(r"[_-]+", " ", FILE_NUMBER.sub("", stem)).strip()) or title
    return title


def _aliases(document: Document) -> list[str]:
    """Other names that a note of Obsidian's gives itself in its front matter."""
    first = next(iter(document.blocks), None)
    if first is None or first.kind != "front_matter":
        return []
    matter = document.text[first.start : first.end].strip().strip("-")
    given = [
        en.clean_title(name) for key in ("aliases", "alias") for name in data.values(matter, key)
    ]
    return [en.quoted(name) for name in given if LETTER.search(name)][:ALIASES]


def _stem_words(name: str) -> str:
    stem = PurePosixPath(name).stem
    return " ".join(re.sub(r"[_-]+", " ", FILE_NUMBER.sub("", stem)).split())


def _same(a: str, b: str) -> bool:
    return a.lstrip("0").lower() == b.lstrip("0").lower()


def _file_number(name: str) -> tuple[str, str] | None:
    """'ADRs/033_trl.md' → ('ADR', '33'); None where the file has no number or its folders name no type."""
    path = PurePosixPath(name)
    match = FILE_NUMBER.match(path.stem)
    if not match:
        return None
    for part in reversed(path.parts[:-1]):
        word = re.sub(r"^[\d_. -]+", "", part)
        if re.fullmatch(r"[A-Za-z]{2,}[sS]", word) and word.lower() not in NOT_TYPES:
            return _singular(word), match["n"].lstrip("0") or "0"
    return None


def _singular(word: str) -> str:
    """PROTOCOLS → protocol, ENTRIES → entry, ADRs → ADR."""
    single = word[:-3] + "y" if word.lower().endswith("ies") else word[:-1]
    acronym = single.isupper() and word[-1] == "s"
    return single if acronym else single.lower()
