"""A row of a CSV file is cited by its own lines, not by the whole file."""

import pytest

from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.split import split
from phoenix_forge.corpus.walk import File
from phoenix_forge.questions import facts_of, materials

CSV = 'name,colour,note\nLamp,green,"lit at dusk\nby the keeper"\nHorn,yellow,sounds in fog\nBell,white,rung by hand\n'
JSON = '[\n {"name": "Lamp", "colour": "green"},\n {"name": "Horn", "colour": "yellow"}\n]\n'


@pytest.mark.parametrize(
    ("path", "text", "row"),
    [
        ("a.csv", CSV, "Horn,yellow,sounds in fog\n"),
        ("a.json", JSON, '{"name": "Horn", "colour": "yellow"}'),
    ],
)
def test_a_fact_of_a_row_is_cited_by_the_row(path, text, row):
    document = load(File(None, path, path), "redact", text.encode()).document
    sections = split(document, 10_000, lambda texts: [len(each) for each in texts])
    made = [
        fact
        for material in materials(document, sections)
        for _, fact in facts_of(material)
        if fact.answer_key == "yellow"
    ]
    assert made
    for fact in made:
        start, end = document.span(fact.start, fact.end)
        assert text.encode()[start:end].decode().strip(" \n]") == row.strip()
