"""Many greedy answers at once are those that transformers gives one by one; and batches keep to what fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.train import generate as generating
from phoenix_forge.train.choose import choose
from phoenix_forge.train.generate import SHARED, Writer, batches, generate
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.tiny import build_tiny

LOUDER = 8.0  # how much more than random weights do these look at what is before the last token
FACTOR = 2.5  # standard deviations: how likely the end is at every token
MOST = 24  # tokens of an answer
WORDS = [
    "lamp",
    "bell",
    "ferry",
    "keeper",
    "fog",
    "oil",
    "dusk",
    "harbour",
    "pier",
    "crown",
    "bronze",
    "reef",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writer")
    build_tiny(
        folder,
        [" ".join(WORDS) * 5],
        hidden=64,
        ffn=128,
        layers=2,
        vocab=400,
        dtype="F32",
        seed=3,
        tied=False,
    )
    return folder


@pytest.fixture(scope="module")
def writer(base: Path) -> Iterator[Writer]:
    import torch

    encoder = Encoder.load(base, stop=QWEN2.stop, pad=QWEN2.pad)
    made = Writer(base, encoder, choose(TrainConfig(precision="fp32"), open_base(base).parameters))
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if "proj" in name:
                weight *= LOUDER
    yield made
    made.close()


def words(seed: int, n: int) -> str:
    return " ".join(Random(seed).choices(WORDS, k=n))


def alone() -> list[list[Message]]:
    """Twenty conversations of different lengths that share nothing but their frame."""
    return [[{"role": "user", "content": words(i, 1 + 7 * i % 40)}] for i in range(20)]


def shared() -> list[list[Message]]:
    """Twenty about three passages behind the same demonstrations, and of different lengths."""
    before: list[Message] = [
        {"role": "system", "content": words(100, 30)},
        {"role": "user", "content": words(101, 20)},
        {"role": "assistant", "content": words(102, 5)},
    ]
    return [
        [*before, {"role": "user", "content": f"{words(200 + i % 3, 25)}\n{words(i, 1 + i)}"}]
        for i in range(20)
    ]


def one_by_one(writer: Writer, asked: Sequence[Sequence[Message]]) -> list[tuple[list[int], bool]]:
    """The ids of transformers' own greedy answers, and whether they ended."""
    import torch

    stop, found = writer.encoder.stop_id, []
    for messages in asked:
        ids = torch.tensor([writer.encoder.prompt(messages)])
        with torch.inference_mode():
            made = writer.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=MOST,
                do_sample=False,
                eos_token_id=stop,
                pad_token_id=writer.encoder.pad_id,
            )
        new = made[0, ids.shape[1] :].tolist()
        found.append((new[: new.index(stop)], True) if stop in new else (new, False))
    return found


def favour_the_end(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the stop token likelier now and then, so that answers end at different steps."""
    import torch

    head = writer.model.get_output_embeddings()
    stop = writer.encoder.stop_id

    def likelier(module: object, given: tuple, logits: torch.Tensor) -> torch.Tensor:
        made = logits.clone()
        made[..., stop] = logits.mean(-1) + FACTOR * logits.std(-1)
        return made

    handle = head.register_forward_hook(likelier)
    monkeypatch.setattr(writer, "unhook", handle.remove, raising=False)


@pytest.fixture
def ending(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    favour_the_end(writer, monkeypatch)
    yield writer
    writer.unhook()


CONVERSATIONS = {
    "alone": alone(),
    "with shared beginnings": shared(),
    "both": [*alone()[:10], *shared()[:10]],
}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 32])
@pytest.mark.parametrize("which", CONVERSATIONS)
def test_answers_are_those_that_transformers_gives_one_by_one(
    which: str, rows: int, ending: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(generating.ROWS, "cpu", rows)
    asked = CONVERSATIONS[which]
    expected = one_by_one(ending, asked)
    assert {stopped for _, stopped in expected} == {True, False}
    assert len({len(ids) for ids, _ in expected}) > 3
    found = dict(ending.together(asked, MOST))
    assert sorted(found) == list(range(20))
    decode = ending.encoder.tokenizer.decode
    for i, (ids, stopped) in enumerate(expected):
        assert found[i].text == decode(ids, skip_special_tokens=True)
        assert (found[i].stopped, found[i].completion_tokens) == (stopped, len(ids))
        assert found[i].prompt_tokens == len(ending.encoder.prompt(asked[i]))


def test_a_small_budget_changes_no_answer(ending: Writer) -> None:
    prompts = [ending.encoder.prompt(messages) for messages in CONVERSATIONS["both"]]
    stop, pad = ending.encoder.stop_id, ending.encoder.pad_id
    whole = sorted(generate(ending.model, prompts, MOST, stop, pad, 10**6))
    assert sorted(generate(ending.model, prompts, MOST, stop, pad, 300)) == whole


def test_prompts_of_a_token_and_equal_ones_are_answered(writer: Writer) -> None:
    stop, pad = writer.encoder.stop_id, writer.encoder.pad_id
    prompts = [[5], [5], [7], [5, 6, 7, 8], [5, 6, 7, 8]]
    found = {i: ids for i, ids, _ in generate(writer.model, prompts, 6, stop, pad, 4096)}
    for i, prompt in enumerate(prompts):
        ((_, ids, _),) = generate(writer.model, [prompt], 6, stop, pad, 4096)
        assert found[i] == ids


def test_one_conversation_is_answered_as_among_others(ending: Writer) -> None:
    asked = CONVERSATIONS["with shared beginnings"]
    found = dict(ending.together(asked, MOST))
    assert ending.complete(asked[4], None, MOST) == found[4]
    assert list(ending.together([], MOST)) == []


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "  When is the lamp lit?\n"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "When?"}],
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "a"},
        ],
    ],
)
def test_a_conversation_is_rendered_as_its_template_has_it(
    messages: list[Message], writer: Writer
) -> None:
    bare = [*messages[:-1], {**messages[-1], "content": messages[-1]["content"].strip()}]
    for _ in range(2):
        rendered = writer._rendered(messages)
        assert "".join(rendered) == writer.encoder.template.render(bare, prompt=True)
        assert (
            writer.encoder.behind([rendered, ("", "".join(rendered))])
            == [writer.encoder.prompt(bare)] * 2
        )


def test_a_documents_control_tokens_are_text_to_a_teacher(writer: Writer) -> None:
    asked: list[Message] = [{"role": "user", "content": f"lamp {QWEN2.stop} bell"}]
    ((_, made),) = writer.together([asked], 1)
    assert (
        writer.encoder.prompt(asked).count(writer.encoder.stop_id) == 2
    )  # the default system turn's and the user's
    assert made.prompt_tokens == len(writer.encoder.prompt(asked))
    rendered = writer.encoder.template.render(asked, prompt=True)
    assert made.prompt_tokens > len(writer.encoder.ids(rendered))


# -- batches

STEMS = st.lists(st.integers(0, 2), max_size=30)
PROMPTS = st.lists(
    st.tuples(st.sampled_from([[], [1] * 20, [1] * 20 + [2] * 15]), STEMS, st.integers(0, 2)).map(
        lambda parts: [*parts[0], *parts[1], parts[2]]
    ),
    max_size=40,
)


@given(PROMPTS, st.integers(1, 12), st.integers(1, 16), st.integers(20, 800))
def test_batches_hold_every_prompt_once_and_keep_to_rows_and_budget(
    prompts: list[list[int]], rows: int, most: int, budget: int
) -> None:
    made = list(batches(prompts, rows, most, budget))
    assert sorted(i for groups in made for group in groups for i in group.members) == list(
        range(len(prompts))
    )
    for groups in made:
        own = [i for group in groups for i in group.members]
        width = (
            max(len(group.shared) for group in groups)
            + most
            + max(len(prompts[i]) - len(group.shared) for group in groups for i in group.members)
        )
        assert len(own) <= rows
        assert len(own) == 1 or len(own) * width <= budget
        for group in groups:
            for i in group.members:
                assert tuple(prompts[i][: len(group.shared)]) == group.shared
                assert len(group.shared) < len(prompts[i])


@given(PROMPTS.filter(bool), st.integers(1, 12))
def test_prompts_are_together_only_where_they_share_half_of_the_last_one(
    prompts: list[list[int]], rows: int
) -> None:
    for groups in batches(prompts, rows, 4, 10**6):
        for group in groups:
            assert (
                len(group.shared) >= SHARED * len(prompts[group.members[-1]])
                or len(group.members) == 1
            )


def test_questions_about_the_same_passage_are_computed_with_one_beginning() -> None:
    prompts = [[*range(100), *range(200 + i % 2, 260 + i % 2), 300 + i] for i in range(10)]
    groups = [group for some in batches(prompts[::-1], 32, 8, 10**6) for group in some]
    assert [len(group.members) for group in groups] == [10]
    assert groups[0].shared == tuple(range(100))
