"""How answers are compared: right ones pass however they are written, wrong ones do not; refusals are told apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phoenix_forge.evaluate.refusal import refuses
from phoenix_forge.examples.compare import contained, exact, f1, normal
from phoenix_forge.questions.phrasings import IGNORANCE, REFUSAL

TEXT = st.text(max_size=60) | st.text(
    st.sampled_from(list(" aAbthe12.,-+#_/:'’”“−½é東カ\u00ad\n")), max_size=30
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The `pids_limit` is v1.2, 3.5 and -5 (or .5).", "pids_limit is v1.2 3.5 and -5 or .5"),
        ("C++11 and C#, not C: x+y=z", "c++ 11 and c# not c x y z"),
        (
            "gpt-4, well-known; 2020-01-02; 3-5; --max-tokens 5",
            "gpt 4 well known 2020 01 02 3 5 max tokens 5",
        ),
        ("−5 and - 5", "-5 and 5"),
        ("Maren Holt's “house” isn’t", "maren holts house isnt"),
        ("src/b.md, std::vector, qwen:7b and 12:30.", "src/b.md std::vector qwen:7b and 12:30"),
        ("1,000,000 but 1,5 and 1,000.50", "1000000 but 1,5 and 1000.50"),
        ("wait...five, e.g. **this**", "wait five e.g this"),
        ("__init__.py and _this_", "init__.py and this"),
        ("ＦＵＬＬ Straße Ⅷ ½ ﬁre co\u00adop", "full strasse viii 1/2 fire coop"),
        ("東京です。", "東 京 で す"),
        ("किताब", "किताब"),  # vowel signs are no punctuation
        ("مُحَمَّدٌ", "محمد"),
        ("محمـــد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("Королёв", "королев"),
        ("จดลงในสมุด", "จ ด ล ง ใ น ส ม ุ ด"),
        ("The lamp of an old man on a hill", "lamp of old man on hill"),
        ("vitamin A", "vitamin a"),
        ("the", "the"),
        (" -> ", "->"),
        (" \n", ""),
    ],
)
def test_the_normal_form(text: str, expected: str):
    assert normal(text) == expected


@given(TEXT)
@example("İ")
@example("ΐ")
def test_the_normal_form_is_its_own(text: str):
    assert normal(normal(text)) == normal(text)


@given(TEXT)
def test_case_space_and_marks_around_a_text_change_nothing(text: str):
    assert exact(f"  “{text}”!\n", [text]) or not any(c.isalnum() for c in normal(text))
    assert exact(text.replace(" ", "\n\t"), [text])


@given(TEXT, TEXT)
def test_scores_agree_with_each_other(text: str, answer_key: str):
    if exact(text, [answer_key]):
        assert f1(text, [answer_key]) == 1
        assert contained(text, [answer_key]) or not normal(answer_key)
    told = {word for word in normal(answer_key).split() if any(c.isalnum() for c in word)} - {
        "a",
        "an",
        "the",
    }
    assert not contained(text, [answer_key]) or f1(text, [answer_key]) > 0 or not told
    assert 0 <= f1(text, [answer_key]) == f1(answer_key, [text]) <= 1
    assert f1(text, [answer_key]) <= f1(text, [answer_key, text]) == 1


@given(TEXT, st.lists(st.sampled_from(["lamp", "the", "bell", "9"]), max_size=4))
def test_a_gold_is_found_between_other_words(answer_key: str, around: list[str]):
    for side in ([*around, answer_key], [answer_key, *around]):
        assert contained(" ".join(side), [answer_key]) or not answer_key.strip()


@pytest.mark.parametrize(
    ("text", "answer_key"),
    [
        ("v1.2", "v12"),
        ("3.5", "35"),
        ("3.5", "3 5"),
        ("-5", "5"),
        (".5", "5"),
        ("1,5", "15"),
        ("C++", "C"),
        ("C#", "C"),
        ("pids_limit", "pids limit"),
        ("a/b.md", "ab.md"),
        ("->", "<-"),
        ("", "->"),
        ("का", "कि"),
        ("مال", "مل"),
        (
            "Край",
            "Краи",
        ),  # a vowel with a letter of its own, a letter with a sign that is always written
    ],
)
def test_what_differs_in_meaning_is_not_equal(text: str, answer_key: str):
    assert not exact(text, [answer_key])
    assert f1(text, [answer_key]) < 1


def test_an_alias_counts_as_the_answer():
    assert exact("The Keeper", ["Maren Holt", "keeper"])
    assert not exact("The Keeper", ["Maren Holt"])
    assert not exact("", [])
    assert f1("keeper Maren Holt", ["Holt", "Maren Holt"]) == pytest.approx(0.8)  # P 2/3, R 1
    assert f1("bell", ["lamp"]) == 0
    assert f1("bell bell", ["bell"]) == pytest.approx(2 / 3)  # a word is used once
    assert f1("bell", []) == 0


def test_chinese_is_compared_by_characters_and_german_keeps_its_articles():
    assert exact("《非凡女孩》。", ["非凡女孩"])
    assert f1("美国人", ["非洲裔美国人"]) == pytest.approx(2 / 3)  # P 3/3, R 3/6
    assert f1("1520年", ["1520 年"]) == 1
    assert exact("STRASSE", ["Straße"])
    assert not exact("Die Nationalhymne", ["Nationalhymne"])
    assert f1("Die Nationalhymne", ["Nationalhymne"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "answer_key", "found"),
    [
        ("It is lit by Maren Holt, the keeper.", "maren holt", True),
        ("It is lit by Maren, not Holt.", "Maren Holt", False),
        ("It is lit by keeper Holt.", "the keeper Holt", True),
        ("Vitamin A is in carrots.", "vitamin A", True),
        ("Vitamin B is in carrots.", "vitamin A", False),
        ("There are 140 of them.", "14", False),
        ("It is 3.5.", "3", False),
        ("It is -5 degrees.", "5", False),
        ("The default is `[]`.", "[]", True),
        ("The default is `{}`.", "[]", False),
        ("anything", "", False),
        ("", "anything", False),
        ("彼は東京にいる。", "東京", True),
        ("弗雷斯诺西侧是非洲裔美国人社区的中心。", "非洲裔美国人", True),
        (
            "亚马逊雨林占地球现存雨林的一半以上。",
            "占地球现存雨林的 一半以上",
            True,
        ),  # spaces say nothing
        ("该剧由珀尔·麦基饰演的比尔主演", "“珀尔·麦基”", True),
        ("ผู้ดูแลจดทิศทางลมลงในสมุด", "สมุด", True),
        ("ผู้ดูแลจดทิศทางลมลงในสมุด", "สมอ", False),
        ("كتبه مُحَمَّد في الدفتر", "محمد", True),
        (
            "어부가 부두에서 그물을 고친다",
            "부두",
            False,
        ),  # Korean has spaces; its particles are not guessed
        ("大约有１７座", "17", True),
        ("大约有170座", "17", False),
        ("在1895年", "1895", True),
        ("美国人", "非洲裔美国人", False),
        ("Das war GROSSBRITANNIEN.", "Großbritannien", True),
        ("Es gab 1.388 gleichgeschlechtliche Ehepaare.", "1.388", True),
        ("Es gab 11.388 Ehepaare.", "1.388", False),
        ("Gesungen wurde die Nationalhymne.", "Nationalhymne", True),
        ("Die Nationalhymnen", "Nationalhymne", False),
        (
            "Nationalhymne",
            "die Nationalhymne",
            False,
        ),  # only English articles may be missing: bench/knowledge.md
        ("Er übersetzte die „Bibel“ ins Deutsche.", "die Bibel", True),
        ("Set pids_limit to 100.", "pids_limit", True),
        ("Set max_pids_limit to 100.", "pids_limit", False),
    ],
)
def test_a_gold_is_contained_as_whole_words(text: str, answer_key: str, found: bool):
    assert contained(text, [answer_key]) is found


@pytest.mark.parametrize(
    "source", ["the section “1. Introduction” of “Harbour Nine”", "docs/notes.v2.md", "Fog"]
)
@pytest.mark.parametrize("thing", ["the speed limit", "a “Dr. Holt’s rule”", "`max_tokens`"])
@pytest.mark.parametrize("form", [*REFUSAL, *IGNORANCE])
def test_every_trained_refusal_is_one(form: str, source: str, thing: str):
    said = form.format(s=source, t=thing)
    assert refuses(said[0].upper() + said[1:])


@pytest.mark.parametrize(
    "text",
    """
I don't know.
I do not know who lit the lamp.
I'm not aware of any keeper named Holt.
I'm sorry, but I don't have any information about that.
I'm sorry, but I can't assist with that.
I’m sorry, but I couldn’t find any information on the Selkie.
As an AI language model, I do not have access to your files.
As of my last update, I am not familiar with "Harbour Nine".
There is no such file.
There is no speed limit in docs/ferry.md.
There is no information in the document about that.
There isn't any mention of a keeper.
The document does not mention a keeper.
The provided text doesn't specify the port.
The context does not contain information about the fares.
No information is available.
No information.
It is not specified in the file.
The port is not mentioned in the document.
It's unclear what you mean by "Selkie".
I'm unable to determine the answer from this.
I cannot find any reference to it.
I'm sorry. I don't know the answer.
Sorry, there is no function called foo.
Could you please provide more context?
I need more information to answer.
I have never heard of Harbour Nine.
I'm not sure what you are referring to.
Unknown.
N/A
Not specified.
The function foo does not exist.
The password of the admin user is not known.
As far as I know, there is no such command.
To my knowledge, there is no known person named Maren Holt.
It seems like there might be some confusion, but I don't have any record of it.
I apologize, but I am not familiar with that term.
The text provides no details about the lamp.
Without more context, I cannot say.
I do not have information about a project by that name.
The name "Selkie" does not appear in the text.
It is not possible to determine this from the text.
""".strip().splitlines(),
)
def test_saying_that_one_does_not_know_is_refusing(text: str):
    assert refuses(text)
    assert refuses(text.upper())
    assert refuses(f"\n {text}\nThe ferry leaves at seven.")


@pytest.mark.parametrize(
    "text",
    """
No such limit applies before 2020.
No.
None
Nothing
The default is None.
Maren Holt
There is no need to restart the service.
There is no doubt that it was Maren Holt.
The set does not contain duplicates.
The ferry does not run on Sundays.
Do not mention the keeper's name in public.
He does not know the tide tables by heart.
You cannot find it in the shop.
The bell rings when there is no moon.
It returns an error if the file is not found.
The lamp is lit at dusk. The document does not say by whom.
Knowledge is kept in the knowledge base.
Silent mode has nothing to do with fog.
No information is lost when the model is merged.
The unknown keeper lit the lamp.
It is known for its bell.
The village is not known for its bell.
Use `--force` if you do not know the path.
What we know of the fog comes from the notes.
An error: no data.
The function does not return a value.
Unknown keys are errors with a suggestion.
The provider is not aware of the tenant.
Answers are not given to strangers.
It exits with code 2 when the key does not exist.
The stage fails if the dataset does not exist.
A KeyError is raised for a key that does not exist.
""".strip().splitlines(),
)
def test_an_answer_in_the_negative_is_none(text: str):
    assert not refuses(text)


@given(TEXT)
def test_any_text_refuses_or_does_not(text: str):
    assert refuses(text) in (True, False)
    assert not refuses(f"Maren Holt lit it in the evening. {text}")
