"""What a document is called: its name is never less than people say."""

import pytest

from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.walk import File
from phoenix_forge.examples.english import clean_title, plain
from phoenix_forge.questions.naming import names


def named(path, text):
    return names(load(File(None, path, path), "redact", text.encode()).document)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("76-0.txt", "Words of a book.\n", ("76-0.txt",)),
        ("docs/404.md", "words\n", ("404.md",)),
        ("guide.md", "# User Guide\n", ("the User Guide",)),
        ("docs/x.md", "# Developer Guide\n", ("the Developer Guide in docs",)),
        ("x.md", "# Forge User Guide\n", ("Forge",)),
        ("x.md", "# Pump Manual\n", ("Pump",)),
        ("x.md", "# 802.11 Wireless\n", ("802.11 Wireless",)),
        ("x.md", "# 2024 Review\n", ("2024 Review",)),
        ("x.md", "# § 1 Anwendungsbereich\n", ('"§ 1 Anwendungsbereich"',)),
        ("x.md", "# 1.2 Scope of it\n", ('"Scope of it"',)),
        (
            "Pump.md",
            "---\naliases: [Kreiselpumpe, KP]\n---\nText.\n",
            ("Pump", '"Kreiselpumpe"', '"KP"'),
        ),
        ("Pump.md", "---\naliases: KP\n---\nText.\n", ("Pump", '"KP"')),
        ("Pump.md", "---\naliases: {a: [\n---\nText.\n", ("Pump",)),
    ],
)
def test_documents_are_called_by_their_whole_names(path, text, expected):
    assert named(path, text) == expected


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("3. Start", "Start"),
        ("3.1 Start", "Start"),
        ("IV. Start", "Start"),
        ("76 0", "76 0"),
        ("404 Not Found", "404 Not Found"),
        ("§ 823 BGB", "§ 823 BGB"),
        ("Intro to C#", "Intro to C#"),
        ("`__init__`", "`__init__`"),
        ("__init__", "__init__"),
        ("*args", "*args"),
        ("**Bold** title:", "Bold title"),
        ("✅ Done", "Done"),
        ("# # Twice", "Twice"),
    ],
)
def test_titles_are_cleaned_of_what_is_no_part_of_them(heading, expected):
    assert clean_title(heading) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Call `__init__` with `Rc<T>`.",
        "`*args` and `2*3*4`",
        "`const char *m`",
        "`T` or `Rc<T>`",
        "`` a`b ``",
        "`[x](y)`",
        "2*3*4 and *args",
        "`a_b` and c_d",
        "`<b>`",
    ],
)
def test_code_is_left_as_it_stands(text):
    assert plain(text) == text
