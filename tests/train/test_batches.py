"""Batches: nothing lost, nothing twice, nothing cut; every target is predicted from the token before it."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from train_helpers import turns, write_lines

from phoenix_forge.chat.encode import Encoded
from phoenix_forge.errors import UsageError
from phoenix_forge.train.batches import SHARED, Batch, encode, halves, pack, shared_prefix, tensors

LENGTH = 60
CPU = torch.device("cpu")


@st.composite
def datasets(draw) -> list[Encoded]:
    """Examples that may begin alike. Ids tell which example and place they are: 1000 · (example + 1) + place."""
    common = draw(st.integers(0, 15))
    masks = draw(
        st.lists(
            st.lists(st.integers(0, 1), min_size=1, max_size=LENGTH - 20), min_size=1, max_size=40
        )
    )
    own = draw(st.lists(st.booleans(), min_size=len(masks), max_size=len(masks)))
    examples = []
    for i, mask in enumerate(masks):
        start = [] if own[i] else list(range(1, common + 1))
        ids = start + [1000 * (i + 1) + j for j in range(len(mask) + 2)]
        examples.append(Encoded(ids, [0] * (len(start) + 1) + [*mask, 1]))
    return examples


@given(datasets(), st.integers(0, 5))
def test_every_example_is_whole_and_in_exactly_one_batch(examples, seed):
    batches = pack(examples, LENGTH, seed)
    assert sorted(e.ids for b in batches for e in b.examples) == sorted(e.ids for e in examples)
    assert all(0 < b.tokens <= LENGTH for b in batches)


@given(datasets(), st.integers(0, 5))
def test_tensors_hold_every_token_once_and_predict_every_target_from_the_one_before(examples, seed):
    for batch in pack(examples, LENGTH, seed):
        made = tensors(batch, CPU)
        ids, prefix = made.ids.tolist(), made.spans.prefix
        assert len(ids) == batch.computed == sum(made.spans.lengths)
        rebuilt = [ids[:prefix] + ids[s] for s in made.spans.slices()[1 if prefix else 0 :]]
        assert rebuilt == [e.ids for e in batch.examples]
        places = made.positions.tolist()
        assert places == [
            *range(prefix),
            *(i for e in batch.examples for i in range(prefix, len(e.ids))),
        ]
        expected = [
            (e.ids[i - 1], e.ids[i])
            for e in batch.examples
            for i, flag in enumerate(e.trained)
            if flag
        ]
        assert [
            (ids[at], t) for at, t in zip(made.at.tolist(), made.target.tolist(), strict=True)
        ] == expected
        assert all(at >= prefix for at in made.at.tolist()), "a shared token predicts nothing"
        assert made.spans.starts.tolist() == [
            0,
            *torch.tensor(made.spans.lengths).cumsum(0).tolist(),
        ]


@given(datasets(), st.integers(0, 5))
def test_the_same_seed_gives_the_same_batches(examples, seed):
    assert pack(examples, LENGTH, seed) == pack(examples, LENGTH, seed)


def alike(count: int, length: int = 12) -> list[Encoded]:
    return [
        Encoded([*range(10), *(100 + i + j for j in range(length))], [0] * 11 + [1] * (length - 1))
        for i in range(count)
    ]


def test_another_seed_gives_another_order():
    assert pack(alike(60), LENGTH, 1) != pack(alike(60), LENGTH, 2)


def test_batches_are_nearly_full():
    examples = [
        Encoded([7] * n, [0] + [1] * (n - 1)) for n in (3 + 7 * i % 31 for i in range(400)) if n > 1
    ]
    batches = pack(examples, 128, 0)
    assert sum(b.tokens for b in batches) / (128 * len(batches)) > 0.95


def test_a_common_beginning_is_shared_up_to_the_last_token_that_predicts_nothing():
    assert shared_prefix(alike(3)) == list(range(10))
    trained_early = [Encoded([*range(10), 100 + i], [0] * 9 + [1, 1]) for i in range(3)]
    assert shared_prefix(trained_early) == list(range(8))


def test_few_common_tokens_or_one_example_share_nothing():
    short = [Encoded([*range(SHARED - 1), 100 + i, 5], [0] * SHARED + [1]) for i in range(4)]
    assert shared_prefix(short) == []
    assert shared_prefix(alike(1)) == []


def test_examples_with_another_beginning_are_batched_by_themselves():
    others = [Encoded([900 + i, 901, 902], [0, 0, 1]) for i in range(3)]
    for batch in pack([*alike(5), *others], LENGTH, 0):
        assert {e.ids[0] == 0 for e in batch.examples} == {batch.prefix == 10}


def test_halves_are_the_same_examples():
    batch = Batch(tuple(alike(5)), 10)
    parts = halves(batch)
    assert [e for p in parts for e in p.examples] == list(batch.examples)
    assert len(parts) == 2
    assert halves(Batch(batch.examples[:1], 10)) == [Batch(batch.examples[:1], 10)]


@pytest.mark.parametrize("examples", [2, 5])
def test_halves_keep_what_each_example_aims_at(examples: int):
    lengths = [4 + i for i in range(examples)]
    ids = torch.arange(sum(lengths) * 3).view(-1, 3)
    batch = Batch(
        tuple(Encoded([7] * (n + 2), [0, 0] + [1] * n) for n in lengths), 0, (ids, ids / 100)
    )
    first, second = halves(batch)
    assert first.examples + second.examples == batch.examples
    for part in (first, second):
        assert part.soft is not None
        assert [len(t) for t in part.soft] == [part.targets, part.targets]
    for whole, before, after in zip(batch.soft, first.soft, second.soft, strict=True):
        assert torch.equal(torch.cat([before, after]), whole)


def test_one_example_keeps_all_that_it_aims_at():
    soft = torch.zeros(3, 2, dtype=torch.int64), torch.ones(3, 2)
    (only,) = halves(Batch((Encoded([7] * 4, [0, 1, 1, 1]),), 0, soft))
    assert all(torch.equal(found, given) for found, given in zip(only.soft, soft, strict=True))


GOOD = turns(("user", "Who?"), ("assistant", "Maren."))


def test_an_example_that_does_not_fit_is_refused_with_its_line(tmp_path, encoder):
    path = write_lines(
        tmp_path / "long.jsonl", GOOD, "", turns(("user", "Who?"), ("assistant", "Maren " * 300))
    )
    with pytest.raises(
        UsageError, match=r"long\.jsonl:3: \d{3,} tokens do not fit train\.max_length 64"
    ) as caught:
        encode(path, encoder, 64)
    assert caught.value.fix


def test_an_example_without_an_assistant_is_refused_with_its_line(tmp_path, encoder):
    path = write_lines(tmp_path / "mute.jsonl", GOOD, GOOD, turns(("user", "Who?")))
    with pytest.raises(UsageError, match=r"mute\.jsonl:3: "):
        encode(path, encoder, 64)


def test_a_broken_line_is_refused_with_its_line(tmp_path, encoder):
    path = write_lines(tmp_path / "torn.jsonl", GOOD, GOOD[:20])
    with pytest.raises(UsageError, match=r"torn\.jsonl:2: "):
        encode(path, encoder, 64)


def test_only_the_assistants_words_and_the_stop_token_are_targets(dataset: Path, encoder):
    [first, *_] = encode(dataset, encoder, 192)  # two exchanges
    assert not first.trained[0], "the first token has nothing before it to be predicted from"
    targets = [token for token, flag in zip(first.ids, first.trained, strict=True) if flag]
    assert encoder.tokenizer.decode(targets, skip_special_tokens=False) == (
        f"Bell 0 rings three times every minute.{encoder.stop}Maren Holt.{encoder.stop}"
    )
    assert (
        json.loads(dataset.read_text().splitlines()[0])["messages"][-1]["content"] == "Maren Holt."
    )
