"""Decisions across documents, on small made-up extracts."""

import numpy as np
import orjson
import pytest

from phoenix_forge.core.config import DatasetConfig
from phoenix_forge.corpus.grams import filtered
from phoenix_forge.corpus.links import Link
from phoenix_forge.corpus.near_duplicates import COLUMNS
from phoenix_forge.dataset import resolve as resolving
from phoenix_forge.dataset.extract import FACT, Extract, Known, Part, pack
from phoenix_forge.dataset.probes import GRAM, Guard
from phoenix_forge.dataset.resolve import Head, Resolution, resolve
from phoenix_forge.questions import ALWAYS

LONG = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(60))
FORMS = (
    "What is the {a} of {s}?",
    "Tell me the {a} of {s}.",
    "{s}: which {a}?",
    "Which {a} has {s}?",
    "Say what the {a} of {s} is.",
)


def fact(aspect, subject, answer, kind="field"):
    wordings = tuple(wording.format(a=aspect, s=subject) for wording in FORMS)
    return Known(
        kind,
        wordings,
        f"The {aspect} of {subject} is {answer}.",
        (0, 10),
        6,
        ALWAYS,
        answer,
        f"field {aspect}",
    )


def document(path, *parts, links=()):
    """Parts are (body, facts)."""
    made = tuple(
        Part(
            (0, len(body)),
            30,
            (),
            body,
            Known("text", (path,), body, (0, len(body)), 1, ALWAYS),
            31,
            None,
            True,
            tuple(facts),
        )
        for body, facts in parts
    )
    return Extract(
        path,
        path,
        "0" * 64,
        path.removesuffix(".md"),
        (),
        (),
        None,
        tuple(Link(i, i + 1, to, to) for i, to in enumerate(links)),
        made,
    )


class Library:
    def __init__(self, *extracts):
        self.all = extracts
        self.packed = [pack(extract, 42) for extract in extracts]
        self.heads = [Head.read(p.head) for p in self.packed]

    def _array(self, i, name, dtype):
        return np.frombuffer(getattr(self.packed[i], name), dtype)

    def facts(self, i):
        return self._array(i, "facts", FACT)

    def wordings(self, i):
        return self._array(i, "wordings", np.uint64)

    def grams(self, i):
        return self._array(i, "grams", np.uint8)

    def sketches(self, i):
        return self._array(i, "sketches", np.uint64).reshape(-1, COLUMNS)

    def answer_key(self, i, fact):
        return orjson.loads(self.packed[i].answer_keys)[str(fact)]

    def links(self, i):
        return [Link(**link) for link in orjson.loads(self.packed[i].links)]

    def extract(self, i):
        return self.all[i]


def forms_left(library, resolved, i):
    own = [
        wording for part in library.all[i].parts for fact in part.facts for wording in fact.wordings
    ]
    gone = set(np.frombuffer(resolved.resolutions[i].dropped, np.uint32).tolist())
    return [wording for at, wording in enumerate(own) if at not in gone]


def settings(**changes):
    return DatasetConfig(probes=0).model_copy(update=changes)


def test_a_repeated_section_is_taught_once():
    library = Library(
        document("a.md", (LONG, [])), document("b.md", ("short", []), (LONG.upper(), []))
    )
    resolved = resolve(library, settings())
    assert [resolution.taught for resolution in resolved.resolutions] == [(0,), (0,)]
    assert [(r.document, r.part, r.of, r.of_part, r.exact) for r in resolved.repeats] == [
        (1, 1, 0, 0, True)
    ]


@pytest.mark.parametrize(("kind", "first", "second"), [("field", 0, 0), ("definition", 5, 0)])
def test_a_question_with_two_answers(kind, first, second):
    """Dropped in both places; the name of a thing stays with the first place that explains it."""
    library = Library(
        document("a.md", ("x", [fact("rank", "Forge", "64", kind)])),
        document("b.md", ("y", [fact("rank", "Forge", "128", kind)])),
    )
    resolved = resolve(library, settings())
    assert [len(forms_left(library, resolved, i)) for i in (0, 1)] == [first, second]


def test_the_same_question_with_the_same_answer_is_asked_once():
    library = Library(
        document("a.md", ("x", [fact("rank", "Forge", "64")])),
        document("b.md", ("y", [fact("rank", "forge", "64")])),
    )
    resolved = resolve(library, settings())
    assert [len(forms_left(library, resolved, i)) for i in (0, 1)] == [5, 0]


@pytest.mark.parametrize("bucket", [1, 7, 8_000_000])
def test_buckets_change_nothing(bucket, monkeypatch):
    library = Library(
        *(
            document(
                f"{i}.md", ("x", [fact("rank", f"part {i % 7}", str(i % 3)), fact("size", i, "1")])
            )
            for i in range(30)
        )
    )
    whole = resolve(library, settings())
    monkeypatch.setattr(resolving, "BUCKET", bucket)
    assert resolve(library, settings()) == whole


def test_a_repeated_section_keeps_no_question_back():
    """What an untaught section would have asked does not make a question of a taught one ambiguous."""
    library = Library(
        document("a.md", (LONG, [fact("rank", "Forge", "64")])),
        document("b.md", (LONG, [fact("rank", "Forge", "65")])),
    )
    resolved = resolve(library, settings())
    assert len(forms_left(library, resolved, 0)) == 5


def many(count):
    return Library(
        *(
            document(
                f"{i}.md", (f"Rank: {i * 10}", [fact("rank", f"tool{chr(97 + i)}", str(i * 10))])
            )
            for i in range(count)
        )
    )


def test_probes_have_distractors_of_their_kind_and_their_wording_is_kept_out():
    library = many(20)
    resolved = resolve(library, settings(probes=5))
    assert len(resolved.probes) == 5
    for probe in resolved.probes:
        assert len(probe.distractors) == 3
        assert probe.answer not in probe.distractors
        assert probe.question in resolved.resolutions[probe.document].probes
        assert probe.question != library.all[probe.document].parts[0].facts[0].wordings[0]
    assert sum(bool(resolution.probes) for resolution in resolved.resolutions) < 20


def test_one_more_document_leaves_most_verdicts_as_they_are():
    before, after = resolve(many(20), settings(probes=5)), resolve(many(21), settings(probes=5))
    assert sum(a != b for a, b in zip(before.resolutions, after.resolutions, strict=False)) <= 4


def test_clusters_are_held_out_whole():
    documents = [
        document(f"{i}.md", (f"{LONG} tail{chr(97 + i // 2)}", []))
        if i < 4
        else document(f"{i}.md", (" ".join(w[::-1] + chr(97 + i) for w in LONG.split()), []))
        for i in range(12)
    ]
    cluster = {0, 1, 2, 3}
    seen = set()
    for seed in range(12):
        resolved = resolve(Library(*documents), settings(held_out=0.5, seed=seed))
        held = set(resolved.held_out)
        assert 1 <= len(held) <= 6
        assert held & cluster in (set(), cluster)
        assert all(resolved.resolutions[i].taught == () for i in held)
        seen.add(bool(held & cluster))
    assert seen == {True, False}


def test_links_become_pairs_of_title_and_path():
    library = Library(
        document("a.md", ("x", []), links=("b.md", "gone.md", "a.md")), document("b.md", ("y", []))
    )
    resolved = resolve(library, settings())
    assert resolved.resolutions[0].links_to == (("b", "b.md"),)
    assert resolved.resolutions[1].linked_from == (("a", "a.md"),)


def test_verdicts_survive_packing():
    resolution = Resolution(
        (0, 2), np.array([5, 70000], np.uint32).tobytes(), ("What?",), (("T", "p.md"),), (), True
    )
    assert Resolution.unpacked(resolution.packed()) == resolution


PROBE = (
    "What is the default number of retries that the scheduler makes before it gives up on a task?"
)


@pytest.mark.parametrize(
    ("prompt", "leaks"),
    [
        (PROBE, True),
        (PROBE.upper().replace("?", " !"), True),
        (
            "Please say: what is the default number of retries that the scheduler makes before anything else?",
            True,
        ),
        (PROBE.replace("default", "usual"), True),  # all but three of 16 3-grams
        ("How often does the scheduler retry?", False),
        ("What is the default number of workers?", False),
        ("", False),
    ],
)
def test_what_gives_a_probe_away(prompt, leaks):
    guard = Guard(["Is it fast?", PROBE])
    assert guard.leaks([prompt, "something else"]).tolist() == [leaks, False]
    assert leaks == (guard.leaks([prompt])[0])


def test_relevant_is_a_superset_of_leaking():
    guard = Guard([PROBE, "Is it fast?"])
    near = Known("field", (PROBE.replace("default", "usual"),), "a", (0, 1), 6, ALWAYS)
    grams = pack(document("a.md", ("x", [near])), 0).grams
    assert guard.relevant(np.frombuffer(grams, np.uint8)) == [0]
    assert guard.relevant(filtered(np.zeros(0, np.uint64))) == []
    assert len(PROBE.split()) > GRAM
