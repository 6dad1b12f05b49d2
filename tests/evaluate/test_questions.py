"""Questions: read with everything that is wrong told at once, placed where the corpus answers them, chosen fairly."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Silent
from phoenix_forge.corpus.index import Index, Passage, ensure
from phoenix_forge.dataset.probes import Probe
from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate.questions import (
    LEFT,
    UNKNOWN,
    Placed,
    Question,
    chosen,
    options,
    placed,
    read,
)
from phoenix_forge.examples.example import stable_hash


def written(folder: Path, *lines: object, end: str = "\n") -> Path:
    path = folder / "questions.jsonl"
    path.write_bytes(
        "".join(
            (line if isinstance(line, str) else json.dumps(line)) + end for line in lines
        ).encode()
    )
    return path


def question(name: str = "?", answer: str = "yes", **others) -> Question:
    given = {
        "id": stable_hash(name)[:16],
        "kind": "own",
        "aliases": (),
        "distractors": (),
        "path": None,
        "span": None,
        "sha256": None,
    } | others
    return Question(question=name, answer=answer, **given)


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_probe_is_read_as_it_was_written(tmp_path: Path):
    probe = Probe(
        "table",
        "Who keeps it?",
        "Maren Holt",
        ("Tarvik", "Selkie"),
        3,
        "docs/a.md",
        (4, 20),
        "a" * 64,
    )
    assert read(written(tmp_path, probe.record())) == [
        Question(
            stable_hash("Who keeps it?", "Maren Holt")[:16],
            "table",
            "Who keeps it?",
            "Maren Holt",
            (),
            ("Tarvik", "Selkie"),
            "docs/a.md",
            (4, 20),
            "a" * 64,
        )
    ]


def test_question_and_answer_are_enough(tmp_path: Path):
    path = written(
        tmp_path,
        {"question": "Who keeps it?", "answer": "Maren Holt"},
        {
            "question": "Größe?",
            "answer": "東京",
            "aliases": ["Tokyo"],
            "path": "a.md",
            "span": None,
        },
    )
    assert read(path) == [
        question("Who keeps it?", "Maren Holt", id=stable_hash("Who keeps it?", "Maren Holt")[:16]),
        question(
            "Größe?", "東京", id=stable_hash("Größe?", "東京")[:16], aliases=("Tokyo",), path="a.md"
        ),
    ]


def test_what_editors_leave_in_a_file(tmp_path: Path):
    path = written(
        tmp_path,
        "",
        {"question": "a?", "answer": "b"},
        "  ",
        {"question": "c?", "answer": "d"},
        end="\r\n",
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n")
    assert [q.question for q in read(path)] == ["a?", "c?"]
    path.write_bytes(path.read_bytes().rstrip())
    assert [q.question for q in read(path)] == ["a?", "c?"]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path):
    good = {"question": "Who keeps it?", "answer": "Maren Holt"}
    bad = {
        "not JSON": "{question: 1}",
        "a JSON list, not an object": [good],
        "question is missing": {"answer": "x"},
        "answer is missing": {"question": "x1", "answer": None},
        "question has to be text, found ' '": {"question": " ", "answer": "x"},
        "answer has to be text, found 3": {"question": "x2", "answer": 3},
        "aliases has to be a list of texts, found 'x'": {
            "question": "x3",
            "answer": "y",
            "aliases": "x",
        },
        "distractors has to be a list of texts, found [1]": {
            "question": "x4",
            "answer": "y",
            "distractors": [1],
        },
        "span has to be [start, end], bytes of the file, found [4, 2]": {
            "question": "x5",
            "answer": "y",
            "path": "a",
            "span": [4, 2],
        },
        "found [True, 2]": {"question": "x6", "answer": "y", "path": "a", "span": [True, 2]},
        "span without path": {"question": "x7", "answer": "y", "span": [0, 2]},
        "distractor 'maren  HOLT' is the answer": good
        | {"question": "x8", "distractors": ["maren  HOLT"]},
        "distractor 'Holt' is the answer, or an alias of it": good
        | {"question": "x9", "aliases": ["holt"], "distractors": ["Holt"]},
        "distractor 'a' is there more than once": good
        | {"question": "x10", "distractors": ["a", "A"]},
        "unknown key 'distractor'; did you mean 'distractors'?": good
        | {"question": "x11", "distractor": []},
        "unknown key 'zzz'; known: id, kind": good | {"question": "x12", "zzz": 1},
        "the question of line 1 again": {"question": "who  KEEPS it?", "answer": "x"},
        "id has to be text": good | {"question": "x13", "id": 4},
    }
    path = written(tmp_path, good, *bad.values())
    with pytest.raises(UsageError) as caught:
        read(path)
    lines = caught.value.message.splitlines()
    assert str(path) in lines[0]
    for number, said in enumerate(bad, 2):
        (line,) = [line for line in lines if line.startswith(f"  line {number}: ")]
        assert said in line
    assert len(lines) == len(bad) + 1
    assert '"question": ' in caught.value.fix


def test_two_problems_of_a_line_and_ids_that_are_one(tmp_path: Path):
    path = written(
        tmp_path,
        {"question": 1, "answer": ""},
        {"question": "a", "answer": "b", "id": "x"},
        {"question": "c", "answer": "d", "id": "x"},
    )
    with pytest.raises(UsageError) as caught:
        read(path)
    assert [line[:18] for line in caught.value.message.splitlines()[1:]] == [
        "  line 1: question",
        "  line 1: answer h",
        "  line 3: the id o",
    ]


def test_many_problems_are_counted(tmp_path: Path):
    with pytest.raises(UsageError, match="and 70 more"):
        read(written(tmp_path, *["{}x"] * 100))


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path: Path, content: bytes):
    (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match="no question"):
        read(tmp_path / "q.jsonl")


def test_no_file(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="directory"):
        read(tmp_path)


KEY = st.sampled_from(
    ["id", "kind", "question", "answer", "aliases", "distractors", "path", "span", "sha256"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=5),
    max_leaves=12,
)


@given(
    st.binary()
    | st.lists(
        st.dictionaries(KEY | st.text(max_size=9), JSON, max_size=9).map(json.dumps), max_size=4
    ).map(lambda lines: "\n".join(lines).encode())
    | st.just(b"[" * 100_000)
    | st.just(b'{"question":' * 50_000)
)
def test_any_bytes_are_questions_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(data)
    try:
        found = read(path)
    except UsageError:
        return
    assert found
    for one in found:
        assert one.question.strip()
        assert one.answer.strip()
        assert sorted(options(one)) == sorted([one.answer, *one.distractors])


@given(st.text(min_size=1), st.lists(st.text(), unique=True))
def test_options_are_a_fixed_permutation(name: str, texts: list[str]):
    one = question(name, "the answer", distractors=tuple(texts))
    assert sorted(options(one)) == sorted(["the answer", *texts])
    assert options(one) == options(question(name, "the answer", distractors=tuple(reversed(texts))))


def test_the_right_option_stands_anywhere():
    places = Counter(
        options(question(str(i), distractors=("a", "b", "c"))).index("yes") for i in range(400)
    )
    assert set(places) == {0, 1, 2, 3}
    assert min(places.values()) > 70


# -- placing -----------------------------------------------------------------------------------------------------------


HEAD = "# Lighthouse\n\nThe lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt, who was born in Tarvik.\n\n"
FOG = "## Fog\n\nWhen fog comes in, the bell rings three times every minute, and the ferry waits at the quay.\n\n"
BELL = "## Bell\n\nThe bell is of bronze and was cast anew in the year 1871, by two founders whose names are lost.\n"
OTHER = "# Ferry\n\nThe ferry leaves at seven. Three times a week it carries mail.\n"


def words(texts: list[str]) -> list[int]:
    """Counts as a tokenizer would; by name, so that another process can be told of it."""
    return [len(text.split()) for text in texts]


def opened(root: Path, text: str | None) -> Index:
    docs = root / "docs"
    docs.mkdir(exist_ok=True)
    (docs / "ferry.md").write_text(OTHER)
    if text is not None:
        (docs / "light.md").write_text(text)
    config = Config.model_validate(
        {"corpus": {"roots": ["docs"]}, "dataset": {"section_tokens": 30}}
    )
    return ensure(config, root, words, root / ".forge/index.sqlite", sha256_file, Silent())


@pytest.fixture
def fog(tmp_path: Path) -> Question:
    """How often the bell rings, of the document as it first is."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/light.md").write_text(HEAD + FOG + BELL)
    return question(
        "How often does the bell ring in fog?",
        "three times every minute",
        path="docs/light.md",
        span=(len(HEAD) + 8, len(HEAD) + 60),
        sha256=sha256_file(tmp_path / "docs/light.md"),
    )


def test_a_question_is_placed_at_its_passage(tmp_path: Path, fog: Question):
    (one,), left = placed([fog], opened(tmp_path, HEAD + FOG + BELL))
    assert left == {}
    assert [p.headings for p in one.passages] == [("Lighthouse", "Fog")]
    assert one.position == pytest.approx((len(HEAD) + 34) / len(HEAD + FOG + BELL))


def test_of_two_passages_that_with_the_answer_is_the_first(tmp_path: Path, fog: Question):
    wide = question(
        "Who keeps it?", "Maren Holt", path=fog.path, span=(len(HEAD) - 30, len(HEAD + FOG))
    )
    (one,), _ = placed([wide], opened(tmp_path, HEAD + FOG + BELL))
    assert [p.headings[-1] for p in one.passages] == ["Lighthouse", "Fog"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "heading"),
    [
        (HEAD + FOG + BELL + "\nOne more line.\n", "Fog"),  # changed elsewhere
        (
            "# Lighthouse\n\n" + "A new beginning of many words. " * 8 + "\n\n" + FOG + BELL,
            "Fog",
        ),  # moved
        (HEAD + FOG.replace("three", "four") + BELL, None),
        (HEAD + BELL, None),
        (HEAD + "## Storm\n\nThe horn sounds three times every hour.\n\n" + BELL, None),
    ],
    ids=["changed elsewhere", "moved", "another answer", "passage gone", "another passage"],
)
def test_a_changed_document(tmp_path: Path, fog: Question, text: str, heading: str | None):
    kept, left = placed([fog], opened(tmp_path, text))
    assert [one.passages[0].headings[-1] for one in kept] == ([heading] if heading else [])
    assert left == ({} if heading else {LEFT: 1})


def test_a_document_that_is_gone(tmp_path: Path, fog: Question):
    (tmp_path / "docs/light.md").unlink()
    index = opened(tmp_path, None)
    own = question("What leaves at seven?", "the ferry", path="docs/fery.md")
    assert placed([fog, own, fog], index) == ([], {LEFT: 2, UNKNOWN: 1})


def test_a_path_alone_is_enough(tmp_path: Path, fog: Question):
    index = opened(tmp_path, HEAD + FOG + BELL)
    asked = [
        question(
            "When was the bell cast?", "in 1871", aliases=("1871",), path="light.md"
        ),  # by its name
        question(
            "When was the bell made?", "in the 19th century", path="docs/light.md"
        ),  # not word for word
        question("Wozu?", "Darum", path="docs/light.md"),
    ]  # no word of it
    kept, left = placed(asked, index)
    assert left == {}
    assert {one.question.path for one in kept} == {"docs/light.md"}
    assert [one.passages[0].headings[-1] for one in kept] == ["Bell", "Bell", "Lighthouse"]
    assert kept[0].position > 0.66


def test_a_span_beyond_the_document(tmp_path: Path, fog: Question):
    index = opened(tmp_path, HEAD + FOG + BELL)
    assert placed(
        [question("Zeppelin?", "no", path="docs/light.md", span=(9000, 9005))], index
    ) == ([], {LEFT: 1})


def test_a_question_without_a_path_is_kept(tmp_path: Path):
    one = question("What is the capital?", "Tarvik")
    assert placed([one], opened(tmp_path, None)) == ([Placed(one, (), None)], {})


# -- choosing ----------------------------------------------------------------------------------------------------------


def stand_in(i: int, kind: str, path: str, size: int) -> Placed:
    """As `placed` would give it."""
    return Placed(
        question(str(i), kind=kind, path=path), (Passage(path, "", (), (0, size), "", size),), 0.5
    )


CORPUS = [
    stand_in(1000 * d + i, kind, f"{d}.md", 1000 * (1 + 9 * (d < 5)))
    for d in range(50)
    for i, kind in enumerate(("table", "field", "entry", "table", "field", "field") * 3)
]


@pytest.mark.parametrize("seed", [1, 2])
def test_fewer_are_the_beginning_of_more(seed: int):
    whole = chosen(CORPUS, len(CORPUS) + 5, seed)
    assert sorted(one.question.id for one in whole) == sorted(one.question.id for one in CORPUS)
    for count in (0, 1, 50, 100, 333):
        assert chosen(CORPUS, count, seed) == whole[:count]


def test_the_choice_does_not_depend_on_the_order_of_the_file():
    assert chosen(CORPUS[::-1], 60, 1) == chosen(CORPUS, 60, 1) != chosen(CORPUS, 60, 2)


def test_kinds_take_turns():
    assert Counter(one.question.kind for one in chosen(CORPUS, 60, 1)) == {
        "table": 20,
        "field": 20,
        "entry": 20,
    }


def test_documents_are_asked_by_their_size():
    """Five of 10 kB and 45 of 1 kB: of 57 questions, 30 are about the five, 27 about the others, none twice."""
    for seed in range(5):
        paths = Counter(one.question.path for one in chosen(CORPUS, 57, seed))
        large = [paths[f"{d}.md"] for d in range(5)]
        assert all(4 <= n <= 8 for n in large)
        assert all(n <= 2 for path, n in paths.items() if int(path[:-3]) >= 5)
        assert len(paths) > 24


def test_small_documents_are_not_left_for_last():
    """Where there are fewer questions than documents, chance decides which documents, by size."""
    asked = Counter(one.question.path for seed in range(60) for one in chosen(CORPUS, 10, seed))
    small = sum(n for path, n in asked.items() if int(path[:-3]) >= 5)
    assert 0.35 < small / asked.total() < 0.6  # 45 of 95 kB
    assert len(asked) > 45


def test_questions_without_a_path_count_as_documents_of_the_usual_size():
    loose = [Placed(question(f"loose {i}"), (), None) for i in range(20)]
    assert len(chosen([*loose, *CORPUS], 40, 1)) == 40
    assert len(chosen(loose, 40, 1)) == 20
    assert chosen([], 5, 1) == []
