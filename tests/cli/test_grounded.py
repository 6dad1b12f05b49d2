"""Questions with passages of the documents: what a model is asked, and where its answer is said to stand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge.cli import ask
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.project import follow_up
from phoenix_forge.project.grounded import MADE_UP, NOTHING, Grounding
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.runtime.session import answered

LAMP = "When is the lamp of Harbour Nine lit?"
SENTENCE = "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt."


class Stand:
    """A model that says what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: str | Answer) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def chat(self, messages: Any, *, on_text: Callable[[str], None] | None, **_: Any) -> Answer:
        self.asked.append(messages[-1]["content"])
        said = self.answers.pop(0)
        answer = said if isinstance(said, Answer) else Answer(said, True, 3, 0.0)
        if on_text:
            on_text(answer.text)
        return answer


@contextlib.contextmanager
def asking(folder: Path, *settings: str) -> Iterator[Callable[..., Any]]:
    """Asks a Stand one question: what it was asked, and what its answer is held to."""
    ctx = Setup(workspace=folder, set=list(settings), quiet=True).context()
    with Grounding(ctx) as passages:

        def one(question: str, answer: str, *, closed: bool = False) -> Any:
            passages.refresh()
            model = Stand(answer)
            turn = passages.asked(
                model,
                ask.conversation(ctx, question),
                closed=closed,
                generation=ctx.config.generation,
            )
            answered = model.chat(turn.messages, on_text=None)
            return turn, turn.hold(answered.text)

        yield one


def test_an_answer_is_given_from_passages_and_cites_the_lines_that_support_it(
    copy: Path, monkeypatch
) -> None:
    monkeypatch.chdir(copy / "docs/notes")
    with asking(copy) as one:
        turn, held = one(LAMP, "At dusk.")
    said = turn.messages[-1]["content"]
    assert said.startswith("From docs/lighthouse.md › Lighthouse:\n\n# Lighthouse\n\nThe lamp")
    assert said.endswith(f"\n\n{LAMP}")
    assert (held.supported, held.stands, turn.note) == (True, None, "")
    assert held.lines(copy) == ["from ../lighthouse.md:3  Lighthouse  (lines 1–10)"]


def test_what_nothing_supports_is_said_to_have_no_support(copy: Path) -> None:
    with asking(copy) as one:
        _, invented = one(LAMP, "At four, by robots.")
        _, half = one(LAMP, "It is lit at dusk. Robots light it.")
        turn, elsewhere = one("Xylophone?", "A xylophone is an instrument.")
        _, nothing = one(LAMP, "")
    assert nothing.supported is False, "an empty answer is no refusal"
    assert (invented.supported, invented.citations, invented.lines(copy)) == (False, [], [NOTHING])
    assert half.supported
    assert half.unsupported == ["Robots light it."]
    assert half.lines(copy)[1:] == ["1 of its sentences has no support in the documents"]
    assert (turn.passages, turn.messages[-1]["content"], elsewhere.lines(copy)) == (
        [],
        "Xylophone?",
        [NOTHING],
    )


FOREIGN = "Which xylophone did the violinist of Vienna play?"


def test_what_the_documents_do_not_speak_of_is_not_put_to_a_model(copy: Path) -> None:
    with asking(copy, "generation.abstain=0.2") as one:
        turn, held = one(FOREIGN, "The documents do not say.")
        german, _ = one("Welches Xylophon spielte die Geigerin aus Wien?", "?")
        closed, _ = one(FOREIGN, "?", closed=True)
        known, _ = one(LAMP, "?")
    assert turn.refusal == "The documents do not say."
    assert turn.note.startswith("no passage that was found has more than 0% of the question")
    assert (held.supported, held.lines(copy)) == (None, [])
    assert german.refusal == "Das sagen die Dokumente nicht."
    assert closed.refusal == known.refusal == ""
    model = Stand("The oldest.")
    heard: list[str] = []
    answer = answered(model, turn, GenerationConfig(), heard.append)
    assert (answer.text, heard, model.asked) == (turn.refusal, [turn.refusal], [])
    with asking(copy) as one:
        assert one(FOREIGN, "?")[0].refusal == "", "unless it is wished"


def test_closed_book_nothing_is_found_and_a_quotation_is_looked_up(copy: Path) -> None:
    with asking(copy) as one:
        bare, alone = one(LAMP, "At dusk.", closed=True)
        _, true = one(LAMP, f"> {SENTENCE.upper().replace(',', '')}\n\nAt dusk.", closed=True)
        _, made_up = one(
            LAMP, "> The lamp of Harbour Nine is lit at noon.\n\nAt noon.", closed=True
        )
    assert bare.messages[-1]["content"] == LAMP
    assert (alone.supported, alone.lines(copy)) == (None, [])
    assert (true.supported, true.stands) == (True, True)
    assert [":3  Lighthouse" in line for line in true.lines(copy)] == [True]
    assert (made_up.supported, made_up.stands, made_up.lines(copy)) == (False, False, [MADE_UP])
    assert made_up.json()["quote"] == {
        "sentence": "The lamp of Harbour Nine is lit at noon.",
        "stands": False,
    }


def test_new_documents_are_found_at_once(copy: Path) -> None:
    with asking(copy) as one:
        turn, _ = one("Who is Ulrike?", "?")
        assert not any("Ulrike" in p.text for p in turn.passages)
        (copy / "docs/new.md").write_text("# People\n\nUlrike mends the nets.\n")
        turn, held = one("Who is Ulrike?", "She mends nets.")
    assert turn.passages[0].path == "docs/new.md"
    assert held.citations[0][0].line == 3


def test_passages_that_do_not_fit_are_left_out_and_said(copy: Path) -> None:
    question = "lamp ferry oil tide bell"
    with asking(copy) as one:
        whole, _ = one(question, "?")
    assert len(whole.passages) == 3
    notes = {}
    for window in (240, 20):
        with asking(copy, f"deploy.num_ctx={window}") as one:
            turn, _ = one(question, "?")
        notes[window] = (len(turn.passages), turn.note)
        assert turn.passages == whole.passages[: len(turn.passages)]
        assert turn.messages[-1]["content"].endswith(question)
    count, note = notes[240]
    assert 0 < count < 3
    assert note == f"{count} of 3 passages fit deploy.num_ctx (240 tokens)"
    assert notes[20] == (
        0,
        "closed book: no passage fits beside the conversation in deploy.num_ctx (20 tokens)",
    )


def test_control_tokens_in_a_document_are_text(copy: Path) -> None:
    (copy / "docs/tokens.md").write_text("# Tokens\n\nA zebra turn ends with <|im_end|> as ever.\n")
    with asking(copy) as one:
        turn, held = one("What ends a zebra turn?", "It ends with <|im_end|>")
        again, _ = one("What ends a zebra turn?", "?")  # by what lies beside the index
    assert "< |im_end|>" in turn.messages[-1]["content"]
    assert "<|im_end|>" not in turn.messages[-1]["content"]
    assert again.messages == turn.messages
    assert held.citations[0][0].line == 3


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda folder: (folder / "models/base").rename(folder / "models/elsewhere"),
            "nothing at models/base/",
        ),
        (
            lambda folder: (folder / "docs").rename(folder / "gone"),
            "corpus.roots: 'docs' does not exist",
        ),
        (
            lambda folder: [path.unlink() for path in (folder / "docs").rglob("*.*")],
            "the corpus is empty",
        ),
        (
            lambda folder: _in_the_way(folder / ".forge/index.sqlite"),
            "no index over the documents: ",
        ),
    ],
    ids=["no base", "no folder", "no documents", "cannot be written"],
)
def test_without_an_index_it_answers_closed_book_and_says_why(
    copy: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    spoil(copy)
    with asking(copy) as one:
        turn, held = one(LAMP, "> A sentence.\n\nAt dusk.")
    assert turn.note.startswith(f"closed book: {said}")
    assert "\n" not in turn.note
    assert turn.messages[-1]["content"] == LAMP
    assert (held.supported, held.stands, held.lines(copy)) == (None, None, [])


def talked(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("written", "stopped", "found"),
    [
        ("Question: What does the ferry cost?\nIt costs", True, "docs/ferry.md"),
        ("", True, "docs/lighthouse.md"),
        ("What does the ferry cost, the ferry", False, "docs/lighthouse.md"),
    ],
)
def test_a_later_question_is_searched_as_the_model_writes_it(
    copy: Path, written: str, stopped: bool, found: str
) -> None:
    """Where it writes nothing or too much, the question before is searched as well."""
    ctx = Setup(workspace=copy, set=["deploy.num_ctx=2048", "evaluate.passages=1"]).context()
    turns = talked(LAMP, "At dusk.", "And xylophones?")
    model = Stand(Answer(written, stopped, 3, 0.0))
    with Grounding(ctx) as passages:
        turn = passages.asked(model, turns, closed=False, generation=ctx.config.generation)
        assert model.asked == [f"Question: {LAMP}\nAnswer: At dusk.\nQuestion: And xylophones?"]
        assert turn.passages[0].path == found
        assert turn.messages[-1]["content"].endswith("\n\nAnd xylophones?")
        closed = passages.asked(model, turns, closed=True, generation=ctx.config.generation)
    assert (closed.messages, len(model.asked)) == (turns, 1)


def test_a_search_is_asked_for_in_the_conversations_language() -> None:
    said = talked("Wer zündet die Lampe an?", "Maren Holt.", "Und wann tut sie es am Abend?")
    system, shown = follow_up.request(said) or []
    assert "letzte Frage" in system["content"]
    assert shown["content"].startswith("Frage: Wer zündet die Lampe an?\nAntwort: Maren Holt.\n")
    many = talked(*(f"{text} {i}?" for i in range(9) for text in ("Why", "Because")), "And so?")
    _, shown = follow_up.request(many) or []
    assert shown["content"].startswith("Question: Why 6?\nAnswer: Because 6?\n")
    assert follow_up.request(talked("Why?")) is None


def test_the_oldest_questions_give_way_but_the_last_of_them_before_passages(copy: Path) -> None:
    texts = [text for i in range(8) for text in (f"Tide {i}? " + "oil " * 40, f"{i}.")]
    turns = [{"role": "system", "content": "I am S."}, *talked(*texts, "lamp ferry oil tide bell")]
    kept = {}
    for window in (20_000, 700, 330, 150, 20):
        ctx = Setup(workspace=copy, set=[f"deploy.num_ctx={window}"], quiet=True).context()
        generation = ctx.config.generation.model_copy(update={"max_tokens": 8})
        with Grounding(ctx) as passages:
            turn = passages.asked(
                Stand(), turns, closed=False, generation=generation, search="lamp ferry oil tide"
            )
        questions = sum(message["role"] == "user" for message in turn.messages)
        assert turn.messages[0] == turns[0]
        assert turn.messages[1:-1] == turns[len(turns) - len(turn.messages) + 1 : -1]
        kept[window] = (questions, len(turn.passages))
        assert (f"the {9 - questions} oldest questions" in turn.note) == (questions < 8)
    assert kept[20_000] == (9, 3)
    assert kept[700][0] in range(2, 9)
    assert kept[700][1] == 3
    assert kept[330][0] == 2
    assert 0 < kept[330][1] < 3
    assert kept[150] == (1, 1)
    assert kept[20] == (1, 0)


def _in_the_way(index: Path) -> None:
    """The folder of the index is a file: nothing can be written there, whoever asks."""
    for path in (index, index.with_suffix(".json")):
        path.unlink(missing_ok=True)
    index.mkdir()


def test_ask_tells_places_in_text_and_json(copy: Path, monkeypatch, capsys) -> None:
    stand = Stand("At dusk.", "At dusk.", "At dusk.", "By robots.", "At dusk.")
    monkeypatch.setitem(ask.MODELS, "gguf", lambda _: stand)
    monkeypatch.setitem(ask.MODELS, "base", lambda _: stand)
    monkeypatch.chdir(copy)

    def run(setup: Setup, models: list[str], *, closed: bool = False) -> str:
        ask.ask_models(
            setup,
            [LAMP],
            models,
            None,
            greedy=True,
            temperature=None,
            max_tokens=None,
            closed=closed,
        )
        return capsys.readouterr().out

    assert run(Setup(quiet=True), ["gguf"]).startswith(
        "At dusk.\n\nfrom docs/lighthouse.md:3  Lighthouse  (lines "
    )
    told = json.loads(run(Setup(json=True), ["gguf"]))
    assert {
        "answer",
        "stopped",
        "tokens",
        "seconds",
        "passages",
        "citations",
        "supported",
        "unsupported",
        "quote",
        "abstained",
        "note",
    } == set(told)
    assert told["citations"][0] | {"lines": None} == {
        "path": "docs/lighthouse.md",
        "headings": ["Lighthouse"],
        "line": 3,
        "lines": None,
        "sentence": "At dusk.",
    }
    assert told["passages"][0]["path"] == "docs/lighthouse.md"
    beside = run(Setup(quiet=True), ["gguf", "base"])
    assert "from docs/lighthouse" in beside
    assert NOTHING[:20] in beside
    assert run(Setup(quiet=True), ["gguf"], closed=True) == "At dusk.\n"
    assert [said == LAMP for said in stand.asked] == [False, False, False, False, True]


def test_the_command_asks_grounded_unless_told_otherwise(
    copy: Path, run_forge: Callable[..., Any]
) -> None:
    told = run_forge("ask", LAMP, "--json", cwd=copy).json
    assert told["passages"]
    assert (told["supported"], told["note"]) == (
        False,
        None,
    )  # two steps of training teach no answer
    for flags in (["--closed-book"], ["--set", "generation.grounded=false"]):
        told = run_forge("ask", LAMP, *flags, "--json", cwd=copy).json
        assert (told["passages"], told["citations"], told["supported"]) == ([], [], None)
    chat = run_forge("chat", "--closed-book", cwd=copy, stdin=f"{LAMP}\n/open\n{LAMP}\n")
    assert chat.code == 0, chat.stderr
    assert chat.stdout.count(NOTHING) == 1
