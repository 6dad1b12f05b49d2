"""Rows: nothing lost, nothing twice, nothing cut, and neighbours that never see each other."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.chat.encode import Encoded
from forge.errors import UsageError
from forge.train.base import load_base, quiet
from forge.train.choose import choose
from forge.train.loop import collate
from forge.train.pack import IGNORED, encode, pack, row, trained_tokens

LENGTH = 40
masks = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=LENGTH), min_size=1, max_size=150)


def numbered(trained: list[list[int]]) -> list[Encoded]:
    """Examples whose ids tell which example and which place in it they are: 1000·example + place."""
    return [Encoded([1000 * i + j for j in range(len(mask))], mask) for i, mask in enumerate(trained)]


def parts(ids: list[int]) -> list[list[int]]:
    """A row of numbered examples, taken apart again."""
    cut: list[list[int]] = []
    for value in ids:
        if value % 1000 == 0:
            cut.append([])
        cut[-1].append(value)
    return cut


@given(masks, st.integers(0, 5))
def test_every_example_is_whole_and_in_exactly_one_row(trained, seed):
    examples = numbered(trained)
    rows = pack(examples, LENGTH, seed)
    found = [part for r in rows for part in parts(r.input_ids)]
    assert sorted(found) == [e.ids for e in examples]
    assert all(0 < len(r.input_ids) <= LENGTH for r in rows)


@given(masks, st.integers(0, 5))
def test_labels_are_the_trained_tokens_and_positions_restart(trained, seed):
    examples = numbered(trained)
    for r in pack(examples, LENGTH, seed):
        assert len(r.input_ids) == len(r.labels) == len(r.position_ids)
        for token, label, position in zip(r.input_ids, r.labels, r.position_ids, strict=True):
            example, place = divmod(token, 1000)
            assert position == place
            assert label == (token if trained[example][place] else IGNORED)
    assert trained_tokens(pack(examples, LENGTH, seed)) == sum(map(sum, trained))


@given(masks, st.integers(0, 5))
def test_the_same_seed_gives_the_same_rows(trained, seed):
    examples = numbered(trained)
    assert pack(examples, LENGTH, seed) == pack(examples, LENGTH, seed)


def test_another_seed_gives_another_order():
    examples = numbered([[1] * (5 + i % 11) for i in range(60)])
    assert pack(examples, LENGTH, 1) != pack(examples, LENGTH, 2)


def test_rows_are_nearly_full():
    rows = pack(numbered([[1] * (3 + 7 * i % 31) for i in range(400)]), 128, 0)
    used = sum(len(r.input_ids) for r in rows)
    assert used / (128 * len(rows)) > 0.95


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def turns(*pairs: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs]})


GOOD = turns(("user", "Who?"), ("assistant", "Maren."))


def test_an_example_that_does_not_fit_is_refused_with_its_line(tmp_path, encoder):
    path = write(tmp_path / "long.jsonl", GOOD, "", turns(("user", "Who?"), ("assistant", "Maren " * 300)))
    with pytest.raises(UsageError, match=r"long\.jsonl:3: \d{3,} tokens do not fit train\.max_length 64") as caught:
        encode(path, encoder, 64)
    assert caught.value.fix


def test_an_example_without_an_assistant_is_refused_with_its_line(tmp_path, encoder):
    path = write(tmp_path / "mute.jsonl", GOOD, GOOD, turns(("user", "Who?")))
    with pytest.raises(UsageError, match=r"mute\.jsonl:3: "):
        encode(path, encoder, 64)


def test_a_broken_line_is_refused_with_its_line(tmp_path, encoder):
    path = write(tmp_path / "torn.jsonl", GOOD, GOOD[:20])
    with pytest.raises(UsageError, match=r"torn\.jsonl:2: "):
        encode(path, encoder, 64)


def test_only_the_assistants_words_and_the_stop_token_are_targets(dataset, encoder):
    [first, *_] = encode(dataset, encoder, 192)  # two exchanges
    labels = row([first]).labels
    assert labels[0] == IGNORED, "the first token has nothing before it to be predicted from"
    targets = [label for label in labels if label != IGNORED]
    assert encoder.tokenizer.decode(targets, skip_special_tokens=False) == (
        f"Bell 0 rings three times every minute.{encoder.stop}Maren Holt.{encoder.stop}")


@pytest.fixture(scope="module")
def model(tiny_base):
    """The base as training loads it."""
    from forge.core.config import TrainConfig
    quiet()
    return load_base(tiny_base, choose(TrainConfig(precision="fp32"), 1)).eval()


def test_packed_examples_do_not_see_each_other(model, dataset, encoder):
    import torch
    examples = encode(dataset, encoder, 192)[:3]
    together = collate([row(examples).__dict__])
    alone = [collate([row([e]).__dict__]) for e in examples]
    with torch.no_grad():
        packed = model(input_ids=together["input_ids"], position_ids=together["position_ids"]).logits[0]
        single = torch.cat([model(input_ids=a["input_ids"], position_ids=a["position_ids"]).logits[0] for a in alone])
        blind = model(input_ids=together["input_ids"]).logits[0]
    assert torch.allclose(packed, single, atol=1e-4)
    assert not torch.allclose(blind, single, atol=1e-2), "without borders the logits would differ: the test can fail"


def test_collated_rows_lie_behind_one_another(dataset, encoder):
    rows = pack(encode(dataset, encoder, 192), 192, 0)[:2]
    batch = collate([r.__dict__ for r in rows])
    assert set(batch) == {"input_ids", "labels", "position_ids"}
    assert batch["labels"].tolist() == [rows[0].labels + rows[1].labels]
