"""The loss mask covers the assistant's words and the token that ends its turn: nothing less, nothing more."""

from __future__ import annotations

import json
import shutil
import unicodedata
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.chat.encode import Encoder, segments
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.errors import UsageError
from phoenix_forge.weights.tiny import CHAT_TEMPLATE

TINY = ChatTemplate(CHAT_TEMPLATE)
QUESTION = {"role": "user", "content": "Who lights the lamp?"}
ANSWER = {"role": "assistant", "content": "Maren Holt lights it at dusk. Größe 3."}
SYSTEM = {"role": "system", "content": "You keep the lighthouse."}
MORE = [
    {"role": "user", "content": "And in fog?"},
    {"role": "assistant", "content": "The bell rings three times."},
]
CONVERSATIONS = {
    "one turn": [QUESTION, ANSWER],
    "system": [SYSTEM, QUESTION, ANSWER],
    "two turns": [QUESTION, ANSWER, *MORE],
    "system, two turns": [SYSTEM, QUESTION, ANSWER, *MORE],
    "answer that looks like a turn": [
        QUESTION,
        {"role": "assistant", "content": "assistant\nuser\n\n  spaced  "},
    ],
    "empty answer": [QUESTION, {"role": "assistant", "content": ""}],
    "ends with a question": [QUESTION, ANSWER, MORE[0]],
}


@pytest.fixture(scope="session")
def tiny_encoder(tiny_base: Path) -> Encoder:
    return Encoder.load(tiny_base, stop=QWEN2.stop, pad=QWEN2.pad)


@pytest.fixture(scope="session")
def real_encoder(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    from phoenix_forge.gguf.container import read_header
    from phoenix_forge.gguf.import_tokenizer import write_tokenizer

    folder = tmp_path_factory.mktemp("real")
    write_tokenizer(
        read_header(real_model), QWEN2, "qwen2", folder
    )  # the import, without its weights
    return Encoder.load(folder, stop=QWEN2.stop, pad=QWEN2.pad)


@pytest.fixture(params=["tiny", pytest.param("real", marks=pytest.mark.real)])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return request.getfixturevalue(f"{request.param}_encoder")


def runs(encoder: Encoder, messages: list[dict[str, str]]) -> list[tuple[bool, str]]:
    """The conversation as read back from its ids: (trained, text) in order."""
    encoded = encoder.conversation(messages)
    assert len(encoded.ids) == len(encoded.trained)
    pairs = zip(encoded.ids, encoded.trained, strict=True)
    return [
        (bool(trained), encoder.tokenizer.decode([i for i, _ in group], skip_special_tokens=False))
        for trained, group in groupby(pairs, key=lambda pair: pair[1])
    ]


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_exactly_the_answers_and_their_stops_are_trained(encoder, messages):
    found = runs(encoder, messages)
    answers = [m["content"] + "<|im_end|>" for m in messages if m["role"] == "assistant"]
    assert [text for trained, text in found if trained] == answers
    assert "".join(text for _, text in found) == encoder.template.render(messages)


@pytest.mark.parametrize("messages", [CONVERSATIONS["one turn"], CONVERSATIONS["two turns"]])
def test_the_stop_token_itself_is_a_target(encoder, messages):
    encoded = encoder.conversation(messages)
    stops = [t for i, t in zip(encoded.ids, encoded.trained, strict=True) if i == encoder.stop_id]
    turns = 1 + len(messages)  # the template adds a system turn of its own
    assert len(stops) == turns
    assert sum(stops) == sum(m["role"] == "assistant" for m in messages)
    assert encoder.pad_id not in encoded.ids


def test_what_precedes_an_answer_is_the_prompt_of_inference(encoder):
    for system in ([], [SYSTEM]):
        encoded = encoder.conversation([*system, QUESTION, ANSWER])
        prompt = encoder.prompt([*system, QUESTION])
        assert encoded.ids[: len(prompt)] == prompt
        assert encoded.trained.index(1) == len(prompt)


def test_without_an_answer_nothing_is_trained(encoder):
    assert sum(encoder.conversation([QUESTION]).trained) == 0


def test_counting(encoder):
    texts = ["", "a", "Maren Holt lights it.", "東京 🚀"]
    assert (
        encoder.counts(texts)
        == [encoder.count(t) for t in texts]
        == [len(encoder.ids(t)) for t in texts]
    )
    assert encoder.count("") == 0


@pytest.mark.real
def test_the_real_template_speaks_its_own_system_prompt(real_encoder):
    default = real_encoder.template.default_system
    assert default
    assert real_encoder.conversation([QUESTION, ANSWER]) == real_encoder.conversation(
        [{"role": "system", "content": default}, QUESTION, ANSWER]
    )


_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<|>"), max_size=40)
_turns = st.lists(st.tuples(_words, _words), min_size=1, max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, str]]:
    system = draw(st.none() | _words)
    head = [] if system is None else [{"role": "system", "content": system}]
    return head + [
        {"role": role, "content": text}
        for turn in draw(_turns)
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"train": False}, {"trainable": False}, {"training": 0}]
)
def test_an_answer_of_weight_0_is_context_and_not_trained(tiny_encoder, mark):
    from phoenix_forge.examples.formats import conversation

    five, six = ({"role": "assistant", "content": text} for text in ("five", "six"))
    turns = [QUESTION, five | mark, QUESTION, six]
    encoded = tiny_encoder.conversation(conversation({"messages": turns}))
    assert encoded.ids == tiny_encoder.conversation([QUESTION, five, QUESTION, six]).ids
    trained = [
        token for token, learned in zip(encoded.ids, encoded.trained, strict=True) if learned
    ]
    assert tiny_encoder.tokenizer.decode(trained, skip_special_tokens=True).strip() == "six"


@given(conversations())
def test_segments_are_the_rendered_text(messages):
    cut = segments(TINY, messages, QWEN2.stop)
    assert "".join(s.text for s in cut) == TINY.render(messages)
    assert [s.text for s in cut if s.trained] == [
        m["content"] + QWEN2.stop for m in messages if m["role"] == "assistant"
    ]
    assert [s.trained for s in cut] == [i % 2 == 1 for i in range(len(cut))]


@settings(max_examples=50)
@given(conversations())
def test_ids_read_back_as_the_answers(tiny_encoder, messages):
    trained = [text for is_trained, text in runs(tiny_encoder, messages) if is_trained]
    assert trained == [
        unicodedata.normalize("NFC", m["content"]) + QWEN2.stop
        for m in messages
        if m["role"] == "assistant"
    ]


@settings(max_examples=20)
@given(st.lists(conversations(), max_size=5))
def test_many_at_once_are_as_one_by_one(tiny_encoder, many):
    assert tiny_encoder.conversations(many) == [
        tiny_encoder.conversation(messages) for messages in many
    ]


def test_padding_must_not_be_the_stop(tiny_base):
    with pytest.raises(UsageError, match="never learn to stop"):
        Encoder.load(tiny_base, stop=QWEN2.stop, pad=QWEN2.stop)


@pytest.mark.parametrize("name", ["stop", "pad"])
def test_tokens_that_the_tokenizer_lacks(tiny_base, name):
    with pytest.raises(UsageError, match=r"no token '<\|nowhere\|>'"):
        Encoder.load(tiny_base, **({"stop": QWEN2.stop, "pad": QWEN2.pad} | {name: "<|nowhere|>"}))


@pytest.mark.parametrize(
    "damage", [None, b"", b"{", b"\xff", b"{}", b'{"model": {"type": "Nothing"}}', b"[]"]
)
def test_a_damaged_tokenizer(tiny_base, tmp_path, damage):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    (folder / "tokenizer.json").unlink()
    if damage is not None:
        (folder / "tokenizer.json").write_bytes(damage)
    with pytest.raises(UsageError, match=r"tokenizer\.json") as caught:
        Encoder.load(folder, stop=QWEN2.stop, pad=QWEN2.pad)
    assert caught.value.fix


def test_a_base_without_a_chat_template(tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="no chat template") as caught:
        Encoder.load(folder, stop=QWEN2.stop, pad=QWEN2.pad)
    assert "instruct" in caught.value.fix


@pytest.mark.parametrize(
    "source",
    [
        # newest turn first
        "{% for m in messages | reverse %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
        # answers before the last question are dropped
        "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}",
        # an answer does not end
        "{% for m in messages %}{{ m.content }}{% endfor %}",
    ],
    ids=["reversed", "forgetful", "endless"],
)
def test_a_template_that_does_not_append_turns(source):
    with pytest.raises(UsageError, match="no loss mask can be derived") as caught:
        segments(ChatTemplate(source), [QUESTION, ANSWER, *MORE], QWEN2.stop)
    assert caught.value.fix


def test_an_empty_thought_that_stands_in_prompts_alone_is_context():
    # Gemma 4's way: what is rendered of an answer lacks what its prompt says of thoughts.
    source = (
        "{% if enable_thinking %}<|think|>{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if not enable_thinking %}<|channel>thought\n<channel|>{% endif %}{% endif %}"
    )
    cuts = segments(ChatTemplate(source), [QUESTION, ANSWER, *MORE], QWEN2.stop)
    assert [cut.text for cut in cuts if cut.trained] == [
        ANSWER["content"] + QWEN2.stop,
        MORE[1]["content"] + QWEN2.stop,
    ]
    assert all(cut.text.endswith("<channel|>") for cut in cuts[:-1] if not cut.trained)
    assert cuts[0].text == ChatTemplate(source).render([QUESTION], prompt=True)


def test_a_template_whose_prompt_is_not_how_an_answer_begins():
    # The generation prompt opens a thought that the rendered answer lacks: lengths alone would cut at the wrong place.
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    with pytest.raises(UsageError, match="no loss mask can be derived"):
        segments(ChatTemplate(source), [QUESTION, ANSWER], QWEN2.stop)


def test_control_tokens_in_a_question_are_text_when_it_is_asked(encoder):
    forged = {"role": "user", "content": f"Is {encoder.stop} a word?"}
    asked, plain = encoder.prompt([forged]), encoder.prompt([QUESTION])
    assert asked.count(encoder.stop_id) == plain.count(encoder.stop_id)
    assert encoder.tokenizer.decode(asked, skip_special_tokens=False) == encoder.template.render(
        [forged], prompt=True
    )
    assert plain == encoder.ids(encoder.template.render([QUESTION], prompt=True))
