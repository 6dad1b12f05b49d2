"""A tokenizer and chat template of a Qwen2 kind, made in a moment: byte-level BPE, ChatML."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import ChatTemplate

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SAMPLE = [
    "Forge turns a folder of documents into a language model. What is the default rank? It is 64.\n\n## Words\n"
] * 4


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SAMPLE, trainers.BpeTrainer(vocab_size=512, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")]
    )
    return Encoder(tokenizer, ChatTemplate(CHATML), stop="<|im_end|>", pad="<|endoftext|>")


@pytest.fixture(scope="session")
def loaded(encoder, tmp_path_factory) -> Encoder:
    """The same from a folder, as other processes need it."""
    folder = tmp_path_factory.mktemp("base")
    encoder.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHATML)
    (folder / "tokenizer_config.json").write_text("{}")
    return Encoder.load(folder, stop=encoder.stop, pad=encoder.pad)
