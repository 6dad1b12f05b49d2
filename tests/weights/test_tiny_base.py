from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.weights.base import open_base


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_arguments_give_equal_bytes_and_the_seed_counts(
    tmp_path: Path, make_tiny: Callable[..., Path]
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_tiny(tmp_path / name, layers=1, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    a, c = contents(tmp_path / "a"), contents(tmp_path / "c")
    assert [name for name in a if a[name] != c[name]] == ["model.safetensors"]


def test_transformers_and_the_chat_encoder_take_it(tiny: Path) -> None:
    transformers = pytest.importorskip("transformers")
    encoder = Encoder.load(tiny, stop="<|im_end|>", pad="<|endoftext|>")
    assert encoder.template.default_system == "You are a small test model."
    messages = [
        {"role": "user", "content": "naïve 東京 123?"},
        {"role": "assistant", "content": "Yes."},
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    assert encoder.conversation(messages).ids == tokenizer.apply_chat_template(
        messages, return_dict=False
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    assert sum(p.numel() for p in model.parameters()) == open_base(tiny).parameters
    assert model.generation_config.eos_token_id == [encoder.stop_id, encoder.pad_id]
