"""What can be asked for in prose: its language, its sentences, and the words of each that can be an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.corpus.prose import LANGUAGES, language, sentences, spans

TEXTS = {
    "en": "The lighthouse on Skarn Island was built in 1874 by the engineer Ida Holm, after eleven ships had been lost "
    "on the reef.",
    "de": "Der Leuchtturm auf der Insel Skarn wurde 1874 von der Ingenieurin Ida Holm gebaut, nachdem elf Schiffe am "
    "Riff verloren gegangen waren.",
    "zh": "斯卡恩岛上的灯塔由工程师伊达·霍尔姆于1874年建造，此前一个冬天里有十一艘船在礁石上沉没。",
    "ru": "Маяк на острове Скарн был построен в 1874 году инженером Идой Хольм после гибели одиннадцати кораблей.",
}
MARKDOWN = """# The harbour and its lamp

Dr. Holm met Mr. Berg at 5 p.m. in the **old** [harbour](http://a.b/c_(d)). It rained, e.g. in
May, as *always*.

   ## A heading that is set in a little

The heading that is underlined
------------------------------

| who | what they do |
|---|---|
| the keeper | lights the lamp at dusk |

who | what they do here
--- | :---:
the keeper | lights the lamp at dawn

- The bell is bronze and old.
- It was cast in Tarvik,
  a town in the north.
1. The oil is counted first.

```python
print("the oil is counted twice a day")
```

````
```
This is no prose, however it reads.
```
````

[![the state of the build](badge.svg)](https://ci.example)
![a picture of the lighthouse](lamp.png)

> The keeper said that it was so.
"""


def told(text: str, own: str = "en") -> list[str]:
    return [sentence.text for sentence in sentences(text, own)]


def shown(sentence: str, own: str) -> list[str]:
    return [sentence[start:end] for start, end in spans(sentence, own)]


@pytest.mark.parametrize("own", TEXTS)
def test_a_text_is_in_the_language_that_it_is_written_in(own: str) -> None:
    assert language(TEXTS[own]) == own


def test_marks_and_code_around_a_german_text_leave_it_german() -> None:
    assert language(f"# README.md\n\n```\nmake\n```\n\n- **{TEXTS['de']}** `forge init`") == "de"


@pytest.mark.parametrize("text", ["", " \n", "42 % = 17", "—", "\ud83d"])
def test_where_there_is_nothing_to_tell_by_it_is_english(text: str) -> None:
    assert language(text) == "en"


def test_the_sentences_of_a_section_are_those_of_its_paragraphs_and_items() -> None:
    assert told(MARKDOWN) == [
        "Dr. Holm met Mr. Berg at 5 p.m. in the old harbour.",
        "It rained, e.g. in May, as always.",
        "The bell is bronze and old.",
        "It was cast in Tarvik, a town in the north.",
        "The oil is counted first.",
        "The keeper said that it was so.",
    ]


def test_a_sentence_knows_the_one_before_it_in_its_paragraph_only() -> None:
    found = list(
        sentences("The lamp is lit at dusk. It burns until dawn.\n\nThe bell is of bronze.", "en")
    )
    assert [sentence.before for sentence in found] == ["", "The lamp is lit at dusk.", ""]


@pytest.mark.parametrize(
    ("own", "text", "expected"),
    [
        (
            "de",
            "Dr. Holm traf Herrn Berg um 17 Uhr, z. B. am Hafen. Es regnete am 3. Mai sehr stark.",
            [
                "Dr. Holm traf Herrn Berg um 17 Uhr, z. B. am Hafen.",
                "Es regnete am 3. Mai sehr stark.",
            ],
        ),
        (
            "de",
            "Er lebte im 18. und 19. Jahrhundert und starb mit 39. Ihre Schwester wohnte in Haus 9. Es steht noch dort.",
            [
                "Er lebte im 18. und 19. Jahrhundert und starb mit 39.",
                "Ihre Schwester wohnte in Haus 9.",
                "Es steht noch dort.",
            ],
        ),
        (
            "zh",
            "灯塔由伊达·霍尔姆建造。它的灯在黄昏时点亮！谁在黄昏点亮它呢？",
            ["灯塔由伊达·霍尔姆建造。", "它的灯在黄昏时点亮！", "谁在黄昏点亮它呢？"],
        ),
        (
            "ru",
            "Маяк построен в 1874 г. на острове. Его построила Ида Хольм.",
            ["Маяк построен в 1874 г. на острове.", "Его построила Ида Хольм."],
        ),
    ],
)
def test_sentences_end_as_their_language_has_it(own: str, text: str, expected: list[str]) -> None:
    assert told(text, own) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "Call `__init__` with `List<String>` or ``a `b` c`` first.",
            "Call __init__ with List<String> or a `b` c first.",
        ),
        ("It holds where x < 3 and y > 4 are true.", "It holds where x < 3 and y > 4 are true."),
        (
            "The <b>bold</b> word and the snake_case_name stay.",
            "The bold word and the snake_case_name stay.",
        ),
        (
            "The __second__ way of 2 * 3 * 4 is _bold_ too.",
            "The second way of 2 * 3 * 4 is bold too.",
        ),
        ("```make all``` builds whatever there is.", "make all builds whatever there is."),
        (
            "Give `*args`, `2*3*4`, `Rc<T>` or `const char *m` to `__init__`.",
            "Give *args, 2*3*4, Rc<T> or const char *m to __init__.",
        ),
        (
            "It takes *args and **kwargs, 2*3*4 and a const char *m.",
            "It takes *args and **kwargs, 2*3*4 and a const char *m.",
        ),
        (
            "A Vec<u8> and <your-name> stay, <b>bold</b> and H<sub>2</sub>O read.",
            "A Vec<u8> and <your-name> stay, bold and H2O read.",
        ),
        ("The `T` of `Rc<T>` and the `x` are letters.", "The T of Rc<T> and the x are letters."),
        (
            "Where $a_1 * b_2$ holds, *c* and a snake\\_case name do.",
            "Where $a_1 * b_2$ holds, c and a snake_case name do.",
        ),
        (
            "See [[Notes/Pump|the pump]], [[Valve]] and `guides <g.rst>`_ there.",
            "See the pump, Valve and guides there.",
        ),
        (
            "The **bold *and slanted* words** and ***both*** are read.",
            "The bold and slanted words and both are read.",
        ),
        (
            "A mark may *open here\nand close* there, as `code\nmay` too.",
            "A mark may open here and close there, as code may too.",
        ),
        ("这是**粗体**的字，也是*斜体*的字。", "这是粗体的字，也是斜体的字。"),
    ],
)
def test_marks_are_taken_off_and_words_are_left_as_they_are(line: str, expected: str) -> None:
    assert told(line) == [expected]


def test_what_stands_behind_a_fence_is_prose_again() -> None:
    assert told("~~~\n```\nThe first is code.\n~~~\nThe second is prose.") == [
        "The second is prose."
    ]


@pytest.mark.parametrize(
    "text", ["Too short.", "- - - - - - - - -", "1234567890 1234567890", "word " * 200]
)
def test_what_is_too_short_too_long_or_without_words_is_not_asked_about(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (
            "en",
            ["Ida Holm", "1874", "engineer Ida Holm", "eleven ships", "lighthouse on Skarn Island"],
        ),
        (
            "de",
            [
                "Ingenieurin Ida Holm",
                "1874",
                "Insel Skarn",
                "Leuchtturm",
                "Leuchtturm auf der Insel Skarn",
            ],
        ),
        ("zh", ["工程师伊达·霍尔姆", "1874年建造", "斯卡恩岛", "十一艘船", "斯卡恩岛上的灯塔"]),
        ("ru", ["1874 году", "Маяк", "Идой Хольм", "Маяк на острове Скарн"]),
    ],
)
def test_the_answers_of_a_sentence_are_its_names_its_numbers_and_its_other_words(
    own: str, expected: list[str]
) -> None:
    assert set(expected) <= set(shown(TEXTS[own], own))


@pytest.mark.parametrize("own", TEXTS)
def test_no_answer_is_the_whole_sentence_and_none_is_there_twice(own: str) -> None:
    found = spans(TEXTS[own], own)
    assert len(found) == len(set(found)) > 8
    assert all((end - start) < 0.8 * len(TEXTS[own]) for start, end in found)


def test_names_and_numbers_come_by_turns_with_plainer_answers_and_joined_ones_after_all() -> None:
    found = shown("The lamp of Harbour Nine is lit at dusk by the keeper.", "en")
    assert found[:2] == ["Harbour Nine", "lamp"]
    assert found.index("lamp of Harbour Nine") > found.index("keeper")


def test_no_answer_runs_over_a_comma_or_the_end_of_a_clause() -> None:
    found = shown("When fog comes in, Maren Holt rings the bell; the ferry waits.", "en")
    assert "Maren Holt" in found
    assert not any("," in answer or ";" in answer for answer in found)


def test_a_language_without_a_list_of_words_that_join_has_answers_too() -> None:
    text = "A torony 1874 tavasza óta áll, és Ida Holm terve alapján épült."
    assert {"Ida Holm", "1874 tavasza"} <= set(shown(text, "hu"))


TEXT = st.text() | st.lists(
    st.sampled_from(
        [
            "The",
            "lamp",
            "of",
            "Harbour",
            "Nine",
            "1874",
            "灯塔",
            "的",
            "，",
            "。",
            "·",
            "-",
            "…",
            ".",
            ",",
            "(",
            "`",
            "**",
            "|",
            "\n",
            "#",
            "> ",
            "- ",
            "[a](b)",
            "<b>",
            "Straße",
            "Маяк",
            "%",
            "'",
            "```",
            "---",
            "\u0301",
            "²",
            "½",
            "٣",
        ]
    ),
    max_size=30,
).map(" ".join)


@given(TEXT, st.sampled_from([*LANGUAGES, "xx"]))
def test_answers_lie_inside_the_sentence_and_say_something(text: str, own: str) -> None:
    found = spans(text, own)
    assert len(found) == len(set(found))
    for start, end in found:
        assert 0 <= start < end <= len(text)
        assert (end - start) * 10 < len(text.strip()) * 8
        assert text[start:end] == text[start:end].strip()
        assert any(map(str.isalnum, text[start:end]))


@given(TEXT, st.sampled_from([*LANGUAGES, "xx"]))
def test_any_text_has_sentences_or_none(text: str, own: str) -> None:
    for sentence in sentences(text, own):
        assert sentence.text == sentence.text.strip() != ""
        assert "\n" not in sentence.text
        spans(sentence.text, own)
    assert language(text) in LANGUAGES


def test_half_a_surrogate_pair_breaks_nothing() -> None:
    assert told("The lamp \ud83d is lit at dusk.") == ["The lamp ? is lit at dusk."]
