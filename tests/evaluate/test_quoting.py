"""A model that quotes a sentence before it answers is judged by its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from said import Said

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.corpus.index import Passage
from phoenix_forge.evaluate.conditions import BRIEFLY, INDEX, EvaluatedModel, Runner
from phoenix_forge.evaluate.engine import Prompt, Reply
from phoenix_forge.evaluate.questions import Placed, Question
from phoenix_forge.examples.quote import quoted

QUESTION = "Which rank is the default?"
SENTENCE = "The default rank is 64, and its alpha 128."


@pytest.fixture(scope="module")
def encoder(tiny_base: Path) -> Encoder:
    return Encoder.load(tiny_base, stop="<|im_end|>", pad="<|endoftext|>")


class Index:
    def locate(self, sentence: str) -> Passage | None:
        return next((one for one in self.search("", 1) if sentence == one.text), None)

    def search(self, question: str, most: int) -> list[Passage]:
        return [Passage("a.md", "A", (), (0, 42), SENTENCE, 42)]


class Quoting:
    """Says `brief` where it is asked for the answer alone, else `plain`; likes the first option best."""

    def __init__(self, encoder, brief: str, plain: str) -> None:
        self.encoder, self.brief, self.plain, self.asked = encoder, brief, plain, list[str]()

    def ask(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        for i, prompt in enumerate(prompts):
            asked = self.encoder.tokenizer.decode(list(prompt.ids))
            self.asked.append(asked)
            said = self.encoder.ids(self.brief if BRIEFLY in asked else self.plain)
            likely = [[-1.0 - number] * len(ids) for number, ids in enumerate(prompt.continuations)]
            yield i, Reply(likely, said[: prompt.max_tokens], len(said) <= prompt.max_tokens)

    def close(self) -> None:
        pass


def asked(
    tmp_path: Path,
    encoder,
    engine: Quoting,
    *,
    quotes: bool,
    name: str = "tuned",
    material: str = "",
):
    question = Question("q", "own", QUESTION, "64", (), ("32", "8", "16"), "a.md", None, None)
    runner = Runner(
        encoder,
        None,
        [Placed(question, (), None)],
        Index(),
        passages=1,
        max_tokens=48,
        cache=tmp_path / "kept",
        report=Said(),
        quotes=quotes,
    )
    return runner.condition(name, EvaluatedModel(name, name, lambda: engine), material).judged[0]


@pytest.mark.parametrize(
    ("answer", "right", "evidence"),
    [("64", True, True), ("128", False, True), ("no rank", False, True)],
)
def test_what_follows_the_quotation_is_the_answer(
    tmp_path: Path, encoder, answer: str, right: bool, evidence: bool
) -> None:
    engine = Quoting(encoder, "wrong", quoted(SENTENCE, answer))
    judged = asked(tmp_path, encoder, engine, quotes=True)
    assert (judged.quote, judged.text) == (SENTENCE, answer)
    assert (judged.contained, judged.evidence, judged.exact) == (right, evidence, right)
    assert judged.stands
    assert judged.choice is not None, (
        "options are chosen behind the prompt that asks for the answer alone"
    )


def test_a_long_sentence_leaves_room_for_the_answer(tmp_path: Path, encoder) -> None:
    long = "a " * 90 + "64"
    judged = asked(tmp_path, encoder, Quoting(encoder, "wrong", quoted(long, "64")), quotes=True)
    assert judged.contained
    assert not judged.stands


@pytest.mark.parametrize(
    ("name", "material", "quotes"),
    [("base", "", True), ("tuned", INDEX, True), ("tuned", "", False)],
)
def test_nobody_else_is_asked_plainly(
    tmp_path: Path, encoder, name: str, material: str, quotes: bool
) -> None:
    engine = Quoting(encoder, "> 64", "wrong")
    judged = asked(tmp_path, encoder, engine, quotes=quotes, name=name, material=material)
    assert all(BRIEFLY in one for one in engine.asked)
    assert (judged.text, judged.contained, judged.stands) == ("> 64", True, None)
