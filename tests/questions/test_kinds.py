"""What is asked of a section: kinds, wordings, answers, and that none of it is made up."""

import json
import re
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.readers import structure
from phoenix_forge.corpus.split import split
from phoenix_forge.dataset.emit import ASIDE
from phoenix_forge.questions import (
    LINK,
    VIEWS,
    facts_of,
    link_facts,
    materials,
    phrasings,
    text_wordings,
)
from phoenix_forge.questions.absent import FIRST, LAST, MIDDLE, PROPERTIES, invented
from phoenix_forge.questions.model import fill
from phoenix_forge.questions.naming import names

LIMIT = 200  # tokens of a section, at four characters each


def document(name: str, text: str) -> Document:
    read = structure(name, text)
    title = read.title or (
        Path(name).stem.replace("_", " ") if name.endswith((".md", ".txt")) else Path(name).name
    )
    return Document(
        name, name, "0" * 64, text, title, read.blocks, np.arange(len(text) + 1, dtype=np.int64)
    )


def known(name: str, text: str, limit: int = LIMIT):
    """Every fact of a document, section by section."""
    made = document(name, text)
    sections = [
        s for s in split(made, limit, lambda texts: [len(t) // 4 + 1 for t in texts]) if s.body
    ]
    return made, [
        [fact for _, fact in facts_of(material)] for material in materials(made, sections)
    ]


def of_kind(name: str, text: str, kind: str):
    _, sections = known(name, text)
    return [fact for facts in sections for fact in facts if fact.kind == kind]


MARKDOWN = """---
title: The Airlock Protocol
owner: Maria
---

# Protocol 31: The Airlock Protocol

The airlock isolates every change until two reviewers have read it in full. It was adopted in the spring of 2024.

**Status:** Canonical
**Review Date:** 2025-03-01

## Glossary

- **Docket**: a quarantine folder for changes that nobody has reviewed.
- **Keeper**: Runs the queue every morning without exception.
- **Tempo**: Nobody should hurry here, since haste spoils the reading.

## Limits and timings

The airlock holds a change for 48 hours before it is released to the main branch. The tool `airlock-gate` counts them
without any help from the reviewers. Afterwards the change moves on to the Archive of Records in the old building.

| Setting | Description | Default |
|---|---|---|
| `hold_hours` | the time that a change waits | 48 |
| `reviewers` | the people who must agree | 2 |

Open the gate by hand:

```bash
airlock-gate --open 7
```

## What happens to a rejected change?

It is sent back to its author with the remarks of both reviewers.
"""
YAML = """server:
  host: 127.0.0.1
  port: 8080
  workers: 4

logging:
  level: warning
  file: /var/log/airlock.log
"""
MERMAID = """%% Name: Airlock flow
flowchart TD
    subgraph Intake["Intake area"]
        A["Change arrives"] --> B["Quarantine folder"]
    end
    B -->|approved| C["Main branch"]
    B --> D["Sent back"]
    D --> A
"""
SEQUENCE = """sequenceDiagram
    participant A as Author
    participant G as Gate
    A->>G: submit change
    G-->>A: verdict
"""
PYTHON = '''"""Walking."""

import os


def walk(root: str) -> list[str]:
    """Lists the files below a folder."""
    return sorted(os.listdir(root))


class Walker:
    """Remembers what it has seen."""

    def step(self, name: str) -> bool:
        """Takes one file."""
        self.seen_files.add(name)
        return name in self.known_files
'''
PLAIN = """Notes of the morning
====================

The queue was empty when the keeper arrived at the office on Monday. Two changes from the Harbour Team came in before
noon and both were read in full by the reviewers. The archive ledger is the only record of the day.

The keeper left a remark on the second change, since its test took 95 seconds instead of 30 seconds. The author of it
promised a faster one by the end of the week.
"""
SAMPLE = {
    "protocols/31_Airlock.md": MARKDOWN, "conf/server.yaml": YAML, "flow.mmd": MERMAID, "sequence.mmd": SEQUENCE,
    "walk.py": PYTHON, "notes.txt": PLAIN,
}  # fmt: skip

GOLDEN = [
    # file, kind, a wording, the answer
    ("protocols/31_Airlock.md", "question", 'In "The Airlock Protocol", what happens to a rejected change?',
     "It is sent back to its author with the remarks of both reviewers."),
    ("protocols/31_Airlock.md", "definition", 'What is a docket in "The Airlock Protocol"?',
     "A docket is a quarantine folder for changes that nobody has reviewed."),
    ("protocols/31_Airlock.md", "term",
     'Which term does protocol 31 explain like this? a quarantine folder for changes that nobody has reviewed.', None),
    ("protocols/31_Airlock.md", "entry", 'What does "The Airlock Protocol" say under "Tempo"?',
     'Under "Tempo", "The Airlock Protocol" says: Nobody should hurry here, since haste spoils the reading.'),
    ("protocols/31_Airlock.md", "definition", None, "Keeper runs the queue every morning without exception."),
    ("protocols/31_Airlock.md", "field", 'What is the owner of "The Airlock Protocol"?',
     'The owner of "The Airlock Protocol" is Maria.'),
    ("protocols/31_Airlock.md", "field", 'What is the review date of "The Airlock Protocol"?',
     'The review date of "The Airlock Protocol" is 2025-03-01.'),
    ("protocols/31_Airlock.md", "table", 'What is the default of `hold_hours` in "The Airlock Protocol"?',
     'The default of `hold_hours` in "The Airlock Protocol" is 48.'),
    ("protocols/31_Airlock.md", "row", None, '"The Airlock Protocol" says this of `hold_hours`.'),
    ("protocols/31_Airlock.md", "command",
     'Which command does "The Airlock Protocol" give for this? Open the gate by hand.',
     '"The Airlock Protocol" gives this command: `airlock-gate --open 7`'),
    ("protocols/31_Airlock.md", "file", 'Which file is "The Airlock Protocol" in?',
     '"The Airlock Protocol" is in protocols/31_Airlock.md.'),
    ("protocols/31_Airlock.md", "outline", "Outline protocol 31.", None),
    ("conf/server.yaml", "key", "What is `server.port` set to in server.yaml?",
     "In server.yaml, `server.port` is `8080`."),
    ("conf/server.yaml", "key_of", "Which key in server.yaml has the value `warning`?",
     "In server.yaml, `logging.level` is `warning`."),
    ("flow.mmd", "edge", 'In "Airlock flow", what does "Quarantine folder" lead to?',
     'In "Airlock flow", "Quarantine folder" leads to "Main branch" (approved) and "Sent back".'),
    ("flow.mmd", "edge", 'In "Airlock flow", what leads to "Change arrives"?',
     'In "Airlock flow", "Change arrives" is reached from "Sent back".'),
    ("flow.mmd", "node", None,
     'The part "Intake area" of "Airlock flow" shows "Change arrives" and "Quarantine folder".'),
    ("sequence.mmd", "edge", 'What does "Author" send to "Gate" in sequence.mmd?',
     'In sequence.mmd, "Author" sends to "Gate": "submit change".'),
    ("walk.py", "symbol_file", "Which file defines `walk`?", "`walk` is defined in walk.py."),
    ("walk.py", "signature", "What is the signature of `Walker.step` in walk.py?",
     "`def step(self, name: str) -> bool`"),
    ("walk.py", "docstring", "What does `walk` in walk.py do?", "`walk` in walk.py lists the files below a folder."),
    ("walk.py", "docstring_symbol", None, "That is `Walker` in walk.py."),
    ("walk.py", "members", "What does walk.py define?", None),
    ("walk.py", "code", "Show the code of `walk` in walk.py.", None),
    ("notes.txt", "gap",
     "Fill in what is missing about Notes of the morning: The queue was empty when the keeper arrived at the office on "
     "____.",
     "The queue was empty when the keeper arrived at the office on Monday."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "wording", "answer"), GOLDEN)
def test_kinds(name, kind, wording, answer):
    facts = of_kind(name, SAMPLE[name], kind)
    assert [
        fact
        for fact in facts
        if wording in (None, *fact.wordings) and answer in (None, fact.answer)
    ], [(fact.wordings[:3], fact.answer) for fact in facts]


@pytest.mark.parametrize("name", SAMPLE)
def test_each_section_is_asked_for_what_it_says(name):
    _, sections = known(name, SAMPLE[name])
    assert sections
    assert all(map(telling, sections))


def telling(facts):
    """Whether several things that the section itself states are asked for."""
    return len({fact.answer_key or fact.answer for fact in facts if fact.kind not in ASIDE}) >= 3


@pytest.mark.parametrize("name", SAMPLE)
def test_facts_are_sound(name):
    made, sections = known(name, SAMPLE[name], limit=60)
    check(made, sections)


def check(made, sections):
    lower = made.text.lower()
    for facts in sections:
        firsts = [fact.wordings[0] for fact in facts]
        assert len(set(firsts)) == len(firsts)
        for fact in facts:
            assert 0 <= fact.start <= fact.end <= len(made.text)
            assert fact.answer.strip()
            assert all(wording.strip() for wording in fact.wordings)
            assert len(set(fact.wordings)) == len(fact.wordings)
            assert bool(fact.pool) >= bool(fact.answer_key), fact
            if fact.kind == "missing":
                absent(fact, lower)
            if fact.kind == "unknown":
                unknown(fact, lower)


def absent(fact, lower):
    """The property or the name that a refusal is about is not in the document."""
    named = next((p for p in sorted(PROPERTIES, key=len, reverse=True) if p in fact.answer), "")
    if named:
        assert all(word.lower() not in lower for word in named.split())
    else:
        assert re.search(r"\b(?:a|an) ([A-Z][a-z]+) [a-z]+", fact.answer)[1].lower() not in lower


def unknown(fact, lower):
    """Neither question nor refusal names the document, and both name the same invented thing."""
    thing = next(
        t
        for t in re.findall(
            r"`[^`]+`|[A-Z][a-z]+[ -][A-Z][a-z]+|(?<=the )[A-Z][a-z]+ [a-z]+", fact.answer
        )
    )
    assert thing.strip("`").lower() not in lower
    assert all(thing in wording for wording in fact.wordings)


def test_what_is_asked_without_a_document_is_answered_without_one():
    assert not any("{s}" in wording for wording in (*phrasings.UNKNOWN, *phrasings.IGNORANCE))


TUPLES = [
    name for name, value in vars(phrasings).items() if name.isupper() and isinstance(value, tuple)
]
SLOTS = {"s": "S", "t": "T", "a": "a", "is": "is", "n": "1", "of": "2"}


@pytest.mark.parametrize("name", [name for name in TUPLES if not name.startswith("SEED")])
def test_phrasings(name):
    """At least ten different wordings, all of which fill, and not only one beginning before the same words."""
    templates = getattr(phrasings, name)
    assert len(templates) >= 10
    if name == "IDENTITY":
        return
    wordings = fill(templates, ["S"], t="T", a="a")
    assert len(wordings) == len(templates)
    for wording, template in zip(wordings, templates, strict=True):
        assert not re.search(r"[{}]|%\(", wording)
        assert template.lower().format(**SLOTS).lower() == wording.lower()
    shapes = {re.sub(r"\W+", " ", string.Template(t).template.split("{")[0]) for t in templates}
    assert len(shapes) >= 7


@pytest.mark.parametrize(
    ("path", "title", "expected"),
    [
        ("ADRs/012_x.md", "ADR 012: Mnemonic Cortex Architecture",
         ('"ADR 012: Mnemonic Cortex Architecture"', "ADR 012", "ADR 12", '"Mnemonic Cortex Architecture"')),
        ("ADRs/033_trl_fix.md", "033_trl_fix", ('"Trl fix"', "ADR 33")),
        ("01_PROTOCOLS/14_Juror.md", "14_Juror_Integrity.md", ("Juror Integrity", "protocol 14")),
        ("TASKS/done/164_x.md", "TASK: Explore it all", ('the task "Explore it all"', "task 164")),
        ("E/ENTRIES/265_x.md", "**Entry 265: The End**", ('"Entry 265: The End"', "Entry 265", '"The End"')),
        ("a/README.md", "README", ("the README in a",)),
        ("faq.md", "Forge FAQ", ("Forge",)),
        ("flow.mmd", "flow.mmd", ("flow.mmd",)),
        ("log/2025-11-28_status.md", "Status of the day today", ('"Status of the day today"',)),
    ],
)  # fmt: skip
def test_names(path, title, expected):
    made = Document(path, path, "", "x", title, (), np.arange(2))
    assert names(made) == expected


def test_a_table_cut_in_two_is_asked_for_where_its_rows_are():
    lines = "\n".join(f"| `tool_{i}` | {i * 7 + 100} |" for i in range(40))
    made, sections = known("t.md", f"# Tools\n\n| Tool | Port |\n|---|---|\n{lines}\n", limit=80)
    assert len(sections) > 2
    asked = [fact for facts in sections for fact in facts if fact.kind == "table"]
    assert len(asked) == len({fact.wordings[0] for fact in asked}) == 40
    for fact in asked:
        assert fact.answer_key in made.text[fact.start : fact.end]


def test_what_goes_on_in_a_list_is_no_explanation():
    text = (
        "# Signals\n\n- **Noise**: Information that:\n  - is lost\n- **Signal**: Information that is kept.\n"
        "- **Echo**: a signal that came back\n"
    )
    asked = [
        wording
        for fact in known("s.md", text)[1][0]
        if fact.kind in ("definition", "entry", "term")
        for wording in (*fact.wordings, fact.answer)
    ]
    assert any("Echo" in wording for wording in asked)
    assert not any("Noise" in wording for wording in asked)


def test_links():
    made = document("a/12_Gate.md", "# ADR 12: The Gate\n\nText.\n")
    links_to = [("Protocol 31: The Airlock", "p/31.md"), ("morning notes", "notes.txt")]
    found = link_facts(made, links_to, [("Index of all", "i.md")])
    assert [view for view, _ in found] == [LINK, LINK]
    to, back = (fact for _, fact in found)
    assert to.answer.startswith(
        '"ADR 12: The Gate" refers to "Protocol 31: The Airlock" (p/31.md) and "morning'
    )
    assert back.answer == '"ADR 12: The Gate" is referred to in "Index of all" (i.md).'
    assert (to.answer_key, back.answer_key) == ("", "Index of all")
    assert link_facts(made, [], []) == []


def test_the_same_every_time():
    for name, text in SAMPLE.items():
        assert known(name, text)[1] == known(name, text)[1]


def test_view_kinds_are_distinct():
    kinds = [view.kind for view in VIEWS]
    assert len(set(kinds)) == len(kinds)
    assert all(1 <= view.per_turn <= 6 for view in VIEWS)
    assert [view.first for view in VIEWS] == sorted(
        view.first for view in VIEWS
    )  # in order of worth


def cuts(name, text, limit=60):
    return [
        s
        for s in split(document(name, text), limit, lambda texts: [len(t) // 4 + 1 for t in texts])
        if s.body
    ]


HEADED = "# Plan of work\n\nIt has two stages.\n\n## Alpha stage\n\n{a}\n\n## Beta stage\n\n{b}\n"


def test_sections_are_asked_for_by_headings_and_first_words_never_by_their_number():
    text = HEADED.format(
        a="**Short** and clear. " * 9,
        b=" ".join(f"Step {i} is to read page {i}." for i in range(18)),
    )
    firsts = [wordings[0] for wordings in text_wordings(cuts("p.md", text))]
    assert firsts[0] == 'Write out the beginning of "Plan of work".'
    assert firsts[1] == 'Write out "Alpha stage" of "Plan of work".'
    assert firsts[2].startswith('Write out the passage "Step 0 is to read page 0. Step 1')
    assert firsts[2].endswith(' …" under "Beta stage" of "Plan of work".')
    assert len(firsts) == len(set(firsts)) > 3
    assert text_wordings(cuts("p.md", text, 10**6))[0][0] == 'Write out all of "Plan of work".'


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            [
                "# One\n\n",
                "## Two\n\n",
                "The same line again and again.\n\n",
                "```\ncode()\n```\n\n",
                '"Quoted" words\n\n',
            ]
        )
        | st.text(max_size=30),
        max_size=30,
    ),
    st.sampled_from(["x.md", "w.py", "v.txt"]),
)
def test_no_two_sections_are_asked_for_in_the_same_words(pieces, name):
    wordings = text_wordings(cuts(name, "".join(pieces), 20))
    assert all(len(own) == len(phrasings.TEXT) for own in wordings)
    assert len({wording for own in wordings for wording in own}) == len(wordings) * len(
        phrasings.TEXT
    )


@given(st.integers(0, 2**32))
def test_invented_names_are_not_in_the_text(seed):
    first = invented((), seed)
    assert re.fullmatch(r"[A-Z][a-z]{4,}", first)
    assert invented({first.lower()}, seed) != first


def test_a_document_with_all_invented_names_is_asked_for_none():
    names = [a + b + c for a in FIRST for b in MIDDLE for c in LAST]
    assert {invented((), seed) for seed in range(len(names))} == {*names}
    assert of_kind("a.md", f"# A title\n\n{' '.join(names)}\n", "unknown") == []


PIECES = st.sampled_from([
    "# A title\n\n", "## Second: part\n\n", "- **Term**: a thing that is kept.\n- other\n\n",
    "| a | b |\n|---|---|\n| x | {y} |\n\n",
    "```bash\n# Run it now\nrun --all %d\n```\n\n", "Status: done\nDate: 2024-01-01\n\n",
    "{s} and {t} %(s)s \\ {\n\n",
    "The default of the Gate is 64 and it stays so for all of the runs.\n\n",
    "> quoted `code` ** text\n\n", "\r\n\u2028",
    "**4. Bold:**\nWith this the Council has kept the Archive of Records whole.\n\n",
    "key: value\n  deep: 3\n", "A --> B\n", "\x00",
])  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(PIECES | st.text(max_size=40), max_size=12),
    st.sampled_from(["x.md", "y.yaml", "z.mmd", "w.py", "v.txt"]),
)
def test_any_document(pieces, name):
    made, sections = known(name, "".join(pieces), limit=40)
    check(made, sections)


@pytest.mark.parametrize("name", SAMPLE)
def test_no_braces_are_left(name):
    _, sections = known(name, SAMPLE[name])
    wordings = [wording for facts in sections for fact in facts for wording in fact.wordings]
    assert not [wording for wording in wordings if re.search(r"\{[a-z]+\}|%\(", wording)]
    assert json.dumps(wordings)


REAL = Path(__file__).parents[2].parent / "shared/corpus/sanctuary"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real corpus is not here")
def test_real_documents_are_asked_for_what_they_say():
    """At least 97 of 100 sections; one of a line or two has less to ask for."""
    files = sorted(REAL.rglob("*.m*d"))[::40]
    found = []
    for file in files:
        made, sections = known(
            str(file.relative_to(REAL)), file.read_text(encoding="utf-8"), limit=512
        )
        check(made, sections)
        found += map(telling, sections)
    assert len(found) > 50
    assert sum(found) >= 0.97 * len(found)
