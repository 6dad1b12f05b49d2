"""Questions in other words stay questions in good English."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.examples import english as en
from phoenix_forge.questions import language as lang


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "How do I install Forge?",
            {
                "Tell me how to install Forge.",
                "I need help with installing Forge.",
                "How is Forge installed?",
                "What do I have to do to install Forge?",
            },
        ),
        (
            "Where does Forge keep its models?",
            {"Tell me where Forge keeps its models.", "Where can I find its models?"},
        ),
        ("Do I need a GPU?", {"Is a GPU required?", "Can I do without a GPU?"}),
        ("Is my data sent anywhere?", {"Tell me whether my data is sent anywhere."}),
        ("What happens if I kill a run?", {"What if I kill a run?"}),
        ("Where is the finished model?", {"Tell me where the finished model is."}),
        (
            "Can I use it offline?",
            {"Can I use Forge offline?", "Is it possible to use Forge offline?"},
        ),
    ],
)
def test_question_forms(question, expected):
    forms = lang.question_wordings(question, "Forge")
    missing = {form for form in expected if "its models" not in form} - set(forms)
    assert not missing
    assert len(forms) >= 10
    assert len(set(forms)) == len(forms)


def test_vague_questions_name_their_subject():
    assert all(
        '"A Long Title: of a Thing"' in form
        for form in lang.question_wordings("How does it work?", '"A Long Title: of a Thing"')
    )


@pytest.mark.parametrize(
    ("term", "text", "document", "noun"),
    [
        ("Adapter", "LoRA weights", "an adapter is trained", "an adapter"),
        ("Stage", "one step", "", "a stage"),
        ("Forge", "a tool", "and Forge runs", "Forge"),
        ("GGUF", "a file", "", "GGUF"),
        ("Words", "a list", "", "Words"),
    ],
)
def test_as_noun(term, text, document, noun):
    assert lang.as_noun(term, text, document) == noun


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("need", ("needs", "needing", "needed")),
        ("copy", ("copies", "copying", "copied")),
        ("run", ("runs", "running", "run")),
        ("make", ("makes", "making", "made")),
        ("pass", ("passes", "passing", "passed")),
        ("install", ("installs", "installing", "installed")),
        ("submit", ("submits", "submitting", "submitted")),
        ("deploy", ("deploys", "deploying", "deployed")),
    ],
)
def test_verbs(verb, forms):
    assert (lang.third(verb), lang.gerund(verb), lang.participle(verb)) == forms


@pytest.mark.parametrize(
    ("system", "answer"),
    [
        (
            "You are GUARDIAN-01, the sovereign Meta-Orchestrator of the Council. Guard it.",
            "I am GUARDIAN-01, the sovereign Meta-Orchestrator of the Council.",
        ),
        (
            "You are Ada; your work is to help users with what you know.",
            "I am Ada; my work is to help users with what I know.",
        ),
        ("Answer briefly.", None),
    ],
)
def test_first_person(system, answer):
    assert lang.first_person(system) == answer


@pytest.mark.parametrize(("text", "noun"), [
    ("a unified interface for interacting with providers", True),
    ("the adapter, which must be merged", True),
    ("one question that is asked closed-book", True),
    ("The physical path of a component (e.g. `utils`) must be identical in both", False),
    ("the Johnny Appleseed Doctrine (20) will be operationalized through chaining", False),
    ("List recent chronicle entries", False),
    ("list of entries", True),
    ("the Steward, Ground Control, issued a directive to pause", False),
    ("an auditor AI runs in parallel with every deliberation", False),
    ("a new Phoenix, resurrected from the archive, is capable of reasoning", False),
    ("the entire lifecycle of a scaffold—creation and deletion—is a single motion", False),
    ("any such violation blocks the training", False),
    ('the agent "remembers" preferences', False),
    ("is this complexity justified? For an experiment, mostly.", False),
    ("the Council accepted the draft as the core", False),
    ("the full Council, without the jury, unanimously adopted these", False),
    ("the Coordinator acts as the central hub", False),
    ("a theory proposed by the Council and adopted in May", True),
    ("a right, to deny access without coercion", True),
    ("the attacker tries to tunnel data out", False),
    ("the resources available and is the scope realistic?", False),
    ("a tool that issues the certificate", True),
])  # fmt: skip
def test_is_noun_phrase(text, noun):
    assert lang.is_noun_phrase(text) == noun


@pytest.mark.parametrize(("heading", "act"), [
    ("Installing Forge", "install Forge"), ("How to stop it", "stop it"), ("Install Forge", "install Forge"),
    ("WORK DIRECTORY: stay here", None), ("Closing Invocation: the song", None), ("Testing (tasks 1-3)", None),
])  # fmt: skip
def test_imperative(heading, act):
    assert lang.imperative(heading) == act


def test_sentences_keep_their_quotes():
    assert en.sentences('It is a "Package." The next. (So.) E.g. no.') == [
        'It is a "Package."',
        "The next.",
        "(So.)",
        "E.g. no.",
    ]


def test_plain():
    assert (
        en.plain("**A** [link](http://x) `co_de` _b_ ![i](p.png) <b>t</b>")
        == "A link `co_de` b i t"
    )


@given(st.text(max_size=200))
def test_nothing_breaks_on_any_text(text):
    en.clean_title(text)
    en.sentences(en.plain(text))
    lang.is_noun_phrase(text)
    lang.imperative(text)
    if text.strip():
        lang.question_wordings(text, "X")
