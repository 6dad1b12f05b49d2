"""Words, stems, compounds and what says nothing, by language; and that a passage is found in each of them."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Silent
from phoenix_forge.corpus import index as module
from phoenix_forge.corpus import terms
from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.index import Index, ensure, identity, query
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.terms import (
    PLAIN,
    STEMMERS,
    STOPS,
    WORD,
    Compounds,
    Stems,
    normal,
    spoken,
    stops,
    words,
)
from phoenix_forge.corpus.walk import File

# Short articles about the same village, and questions in other forms of their words.
LANGUAGES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "languages").glob("*.json"))
}
ASKED = [
    pytest.param(language, one["question"], one["path"], id=f"{language}-{number}")
    for language, own in LANGUAGES.items()
    for number, one in enumerate(own["questions"])
]


def count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def made(root: Path, languages: Sequence[str]) -> Index:
    """The index over the articles in these languages, a folder for each."""
    for language in languages:
        folder = root / "docs" / language
        folder.mkdir(parents=True)
        for name, text in LANGUAGES[language]["documents"].items():
            (folder / name).write_text(text, encoding="utf-8")
    config = Config.model_validate({"corpus": {"roots": ["docs"]}})
    return ensure(config, root, count, root / "index.sqlite", sha256_file, Silent())


def document(root: Path, text: str) -> Document:
    (root / "a.md").write_text(text, encoding="utf-8")
    loaded = load(File(root / "a.md", "a.md", "a.md"), "redact").document
    assert loaded is not None
    return loaded


# -- finding -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Index]:
    return {language: made(tmp_path_factory.mktemp(language), [language]) for language in LANGUAGES}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return made(tmp_path_factory.mktemp("together"), list(LANGUAGES))


@pytest.mark.slow
@pytest.mark.parametrize(("language", "question", "path"), ASKED)
def test_the_passage_that_answers_comes_first(
    alone: dict[str, Index], language: str, question: str, path: str
):
    assert [p.path for p in alone[language].search(question, 1)] == [f"docs/{language}/{path}"]


@pytest.mark.parametrize(("language", "question", "path"), ASKED)
def test_it_comes_first_among_all_languages(
    together: Index, language: str, question: str, path: str
):
    assert [p.path for p in together.search(question, 1)] == [f"docs/{language}/{path}"]


def missed(root: Path, language: str) -> int:
    index = made(root, [language])
    return sum(
        [p.path for p in index.search(one["question"], 1)] != [f"docs/{language}/{one['path']}"]
        for one in LANGUAGES[language]["questions"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("language", ["ar", "de", "es", "fr", "ru"])
def test_these_questions_need_stems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str):
    monkeypatch.setattr(terms, "STEMMERS", {})
    assert missed(tmp_path, language) >= 3


def test_one_question_needs_a_compound_parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for where in (terms, module):
        monkeypatch.setattr(where, "COMPOUNDING", frozenset())
    assert missed(tmp_path, "de") == 1


def test_the_languages_of_the_documents_are_known(together: Index):
    with sqlite3.connect(together.path) as db:
        found = dict(db.execute("SELECT language, COUNT(*) FROM document GROUP BY language"))
    assert found == {language: len(own["documents"]) for language, own in LANGUAGES.items()}


def test_a_compound_is_found_by_its_parts_and_by_itself(alone: dict[str, Index]):
    for question in ("Kündigungsfrist", "Frist einer Kündigung", "Vertrag zur Miete"):
        assert alone["de"].search(question, 1)[0].path == "docs/de/miete.md"


def test_what_says_nothing_is_told_by_the_language_of_the_question():
    both = [Stems("de"), Stems("en")]
    assert '"die"' in query("Why did he die in the war?", both)
    assert '"die"' not in query("Wo steht die Mühle?", both)
    assert '"wo"' not in query("Wo steht die Mühle?", both)


def test_a_question_is_brought_to_stems_in_each_language():
    asked = query("Häusern walking", [Stems("de"), Stems("en")])
    assert '"haus"' in asked
    assert '"walk"' in asked


# -- an index of another make ------------------------------------------------------------------------------------------


def test_an_index_of_another_format_is_none(tmp_path: Path):
    index = made(tmp_path, ["fr"])
    index.close()
    wanted = identity(index.path)
    assert wanted
    with sqlite3.connect(index.path) as db:
        db.execute("PRAGMA user_version = 1")
    assert identity(index.path) is None
    config = Config.model_validate({"corpus": {"roots": ["docs"]}})
    with ensure(config, tmp_path, count, index.path, sha256_file, Silent()) as again:
        assert again.search("Dans quels cahiers ?", 1)
    assert identity(index.path) == wanted


def test_an_index_made_with_other_stemmers_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index = made(tmp_path, ["fr"])
    before = identity(index.path)
    monkeypatch.setattr(module, "_libraries", lambda: ["another"])
    ensure(
        Config.model_validate({"corpus": {"roots": ["docs"]}}),
        tmp_path,
        count,
        index.path,
        sha256_file,
        Silent(),
    )
    assert identity(index.path) not in (before, None)


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pids_limit (HIGH-03)", ["pids", "limit", "high", "3"]),
        ("Be\u00advöl\u00adkerung", ["bevölkerung"]),
        ("1\ufe0f\u20e3 ⚠\ufe0f done", ["1", "done"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京です", ["東", "京", "で", "す"]),
        ("ที่ไหน", ["ที่", "ไ", "ห", "น"]),
        ("부두에서 GPU", ["부", "두", "에", "서", "gpu"]),
        ("ＦＵＬＬ Ⅷ", ["full", "viii"]),
        ("007 000", ["7", "0"]),
    ],
)
def test_words(text: str, expected: list[str]):
    assert words(text) == expected


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_the_same_either_way(text: str):
    assert PLAIN.findall(normal(text)) == WORD.findall(normal(text))


@pytest.mark.parametrize(
    ("language", "forms"),
    [
        ("ar", ("سفن", "السفن")),
        ("de", ("haus", "häuser", "häusern", "hauses")),
        ("en", ("connect", "connected")),
        ("es", ("barco", "barcos")),
        ("fr", ("pêcheur", "pêcheurs")),
        ("it", ("pescatore", "pescatori")),
        ("nl", ("vis", "vissen")),
        ("pt", ("peixe", "peixes")),
        ("ru", ("книга", "книги", "книгу")),
        ("sv", ("fisk", "fiskarna")),
        ("zh", ("船",)),
        ("uk", ("книга",)),
    ],
)
def test_forms_of_a_word_have_one_stem(language: str, forms: tuple[str, ...]):
    stems = Stems(language)
    assert len({stems[form] for form in forms}) == 1
    assert stems["zzz"] == "zzz"
    assert stems.line([forms[0], "zzz"]) == f"{stems[forms[0]]} zzz"


@pytest.mark.parametrize("language", STEMMERS)
def test_every_stemmer_is_there(language: str):
    assert Stems(language)["abc"]


def test_accents_do_not_matter_where_somebody_leaves_them_out():
    assert Stems("fr")["élèves"] == Stems("fr")["eleves"]
    assert Stems("de")["straße"] == Stems("de")["strasse"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(terms, "KEPT", 10)
    stems = Stems("en")
    assert [stems[f"word{number}s"] for number in range(100)] == [
        f"word{number}" for number in range(100)
    ]
    assert len(stems) <= 10


@pytest.mark.parametrize(
    ("language", "word", "known", "expected"),
    [
        ("de", "kündigungsfrist", ["kündigung", "frist"], ["kundig", "frist"]),
        (
            "de",
            "bundesverfassungsgericht",
            ["bundes", "verfassungsgericht", "verfassung", "gericht"],
            ["bund", "verfassungsgericht", "verfass", "gericht"],
        ),
        ("de", "kündigungsfrist", ["frist"], []),
        ("de", "frist", ["fri", "ist"], []),
        ("nl", "huurcontract", ["huur", "contract"], ["huur", "contract"]),
        ("en", "lighthouse", ["light", "house"], []),
        ("de", "x" * 10**6, ["xxxx"], []),
    ],
)
def test_a_compound_is_parted_where_the_corpus_has_its_parts(
    language: str, word: str, known: list[str], expected: list[str]
):
    stems = Stems(language)
    frequency = Counter(stems[part] for part in known)
    assert Compounds(stems, frequency.__getitem__)(word) == expected


def test_the_likeliest_parting_is_taken():
    frequency = Counter({"stau": 1, "becken": 1, "staub": 50, "ecken": 1, "eck": 50})
    assert Compounds(Stems("de"), frequency.__getitem__)("staubecken") == ["staub", "eck"]


def test_a_page_of_long_words_takes_few_lookups():
    asked = []
    compounds = Compounds(Stems("de"), lambda stem: asked.append(stem) or 1)
    for number in range(64):
        compounds(f"{number:02}" + "abcdefgh" * 7)
    assert 0 < len(asked) < 64 * 58 * 58  # parting every part in every way: 2 ** 50


# -- languages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "# Reading files\n\n```python\nfor line in open(path): print(line)\n```\n\nDie Datei wird Zeile für Zeile "
            "gelesen, und jede Zeile wird ausgegeben.\n",
            "de",
        ),
        ("```\nLes pêcheurs réparent leurs filets sur le quai.\n```\n", "fr"),
        ("# 1\n\n1 2 3\n", "en"),
    ],
)
def test_the_language_of_a_document_is_its_proses(tmp_path: Path, text: str, expected: str):
    assert spoken(document(tmp_path, text)) == expected


@pytest.mark.parametrize("language", STOPS)
def test_words_that_say_nothing_can_stand_in_a_question(language: str):
    given = normal(STOPS[language]).split()
    assert len(given) == len(set(given))
    own = stops(language)
    for entry in given:
        assert own.count(entry, words(entry)) >= 1
        assert entry in own.words or not own.without(entry).strip()


def test_a_language_without_a_list_leaves_nothing_out():
    assert not stops("uk").words
    assert stops("uk").without("що це") == "що це"
