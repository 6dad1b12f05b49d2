"""GGUF → base for every family: weights, settings and tokenizer against what the file was made from."""

import json
import re
import unicodedata
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewritten import rewrite
from strings import strings

from phoenix_forge.catalog.families import (
    FAMILIES,
    GEMMA3,
    LLAMA3,
    MISTRAL,
    PHI3,
    QWEN2,
    QWEN3,
    Family,
)
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Field, read_header
from phoenix_forge.gguf.import_ import import_gguf
from phoenix_forge.gguf.write import quantize
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.tokenizer import CONTROL, USER_DEFINED

Make = Callable[..., Path]
SENTENCEPIECE = (MISTRAL, GEMMA3, PHI3)


def named(family: Family) -> str:
    return family.name


def make_family(make_tiny: Make, folder: Path, family: Family, **settings: Any) -> Path:
    return make_tiny(
        folder, family=family, **{"layers": 6 if family is GEMMA3 else 2, "vocab": 600} | settings
    )


def write(base: Path, quant: str, path: Path, name: str = "n") -> Path:
    quantize(base, None, {quant: path}, name=name, report=Silent())
    return path


def bring(path: Path, folder: Path) -> Path:
    import_gguf(path, folder, report=Silent())
    return folder


@pytest.fixture(scope="module", params=FAMILIES, ids=named)
def trip(
    request: pytest.FixtureRequest, make_tiny: Make, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Family, Path, Path, Path]:
    """A family, its tiny model, the model's BF16 file, and what the import makes of that."""
    family, folder = request.param, tmp_path_factory.mktemp(request.param.name)
    base = make_family(make_tiny, folder / "base", family)
    path = write(base, "BF16", folder / "x.gguf")
    return family, base, path, bring(path, folder / "back")


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_weights_come_back_bit_for_bit(
    tmp_path: Path, make_tiny: Make, family: Family, dtype: str, tied: bool
) -> None:
    if family is GEMMA3 and not tied:
        pytest.skip("a Gemma 3 is tied")
    base = make_family(make_tiny, tmp_path / "base", family, dtype=dtype, tied=tied)
    one, other = (
        open_base(base),
        open_base(bring(write(base, dtype, tmp_path / "x.gguf"), tmp_path / "back")),
    )
    assert {n: (e.dtype, e.shape) for n, e in one.entries.items()} == {
        n: (e.dtype, e.shape) for n, e in other.entries.items()
    }
    for name in one.entries:
        if family is GEMMA3 and "norm" in name:
            assert_norm(one.read(name), other.read(name), dtype)
        else:
            assert (one.read(name) == other.read(name)).all(), name


def assert_norm(one: np.ndarray, other: np.ndarray, dtype: str) -> None:
    """A GGUF has one added to Gemma's norms: what lies below the last bit of the sum is gone, and nothing else."""
    if dtype == "BF16":
        one, other = ((bits.astype(np.uint32) << 16).view(np.float32) for bits in (one, other))
        assert (one == other)[np.abs(one) > 2**-14].all()
    np.testing.assert_allclose(other, one, rtol=0, atol=2.0**-11 if dtype == "F16" else 2.0**-24)


def test_a_row_interleaved_in_blocks_comes_back_in_order(tmp_path: Path, make_tiny: Make) -> None:
    """Llama's queries are decoded before their rows are moved back, so a quantised file's come back as decoded."""
    base = make_family(make_tiny, tmp_path / "base", LLAMA3)
    back = bring(write(base, "Q8_0", tmp_path / "x.gguf"), tmp_path / "back")
    name = "model.layers.1.self_attn.q_proj.weight"
    one = (open_base(base).read(name).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(
        open_base(back).read(name).astype(np.float32), one, rtol=0, atol=0.001
    )


# Where a GGUF has no place for a setting, its class's own default is written, or nothing.
UNSAID: dict[str, set[str]] = {
    "qwen2": set(),
    "qwen3": set(),
    "llama3": {"attention_bias", "head_dim", "mlp_bias", "use_sliding_window"},
    "mistral": {"use_sliding_window"},
    "gemma3": {"attention_bias", "use_sliding_window"},
    "phi3": {"embd_pdrop", "resid_pdrop", "use_sliding_window"},
}
DEFAULTS = {
    "attention_bias": False,
    "mlp_bias": False,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "head_dim": 64,
}


def test_settings_come_back(trip: tuple[Family, Path, Path, Path]) -> None:
    family, base, _, back = trip
    for name, differing in (
        ("config.json", UNSAID[family.name]),
        ("tokenizer_config.json", set()),
        ("generation_config.json", set()),
    ):
        one, other = (json.loads((folder / name).read_text()) for folder in (base, back))
        assert {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)} - {
            "attn_logit_softcapping"
        } <= differing, name
        assert all(other[key] == DEFAULTS[key] for key in differing & other.keys())


def test_it_quantises_to_the_same_file_again(
    trip: tuple[Family, Path, Path, Path], tmp_path: Path
) -> None:
    """Nothing that a GGUF holds is lost on the way: metadata, tokenizer, scores, weights."""
    _, _, path, back = trip
    assert write(back, "BF16", tmp_path / "again.gguf").read_bytes() == path.read_bytes()


def test_transformers_computes_the_same(trip: tuple[Family, Path, Path, Path]) -> None:
    """The classes take the configuration, and the rotary settings among it mean the same."""
    import torch
    from transformers import AutoModelForCausalLM

    _, base, _, back = trip
    ids = torch.tensor([[5, 300, 17, 299, 8, 120, 44, 9] * 6])
    with torch.inference_mode():
        one, other = (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(ids).logits
            for folder in (base, back)
        )
    torch.testing.assert_close(other, one, rtol=0, atol=1e-6)


def special(folder: Path, rstrip: bool | None = None) -> tuple[str, ...]:
    return tuple(
        entry["content"]
        for entry in json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
        if rstrip in (None, entry["rstrip"])
    )


@pytest.mark.slow
def test_ten_thousand_strings_have_the_same_tokens(trip: tuple[Family, Path, Path, Path]) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    _, base, _, back = trip
    one, other = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (base, back))
    texts = strings(10_000, special=special(base))
    ids = [encoding.ids for encoding in one.encode_batch(texts, add_special_tokens=False)]
    assert ids == [encoding.ids for encoding in other.encode_batch(texts, add_special_tokens=False)]
    assert one.get_vocab() == other.get_vocab()
    assert one.decode_batch(ids) == other.decode_batch(ids)
    loaded = AutoTokenizer.from_pretrained(back)
    assert loaded(texts[:2000], add_special_tokens=False).input_ids == ids[:2000]
    assert loaded(texts[:50]).input_ids == AutoTokenizer.from_pretrained(base)(texts[:50]).input_ids


def serve(path: Path) -> Any:
    """llama.cpp itself on a file."""
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.cpuparams.n_threads = 256, 1, False, 1
    return xllamacpp.Server(params)


def tokens_of(server: Any, text: str, **settings: bool) -> list[int]:
    request = urllib.request.Request(
        f"{server.listening_address}/tokenize",
        json.dumps({"content": text, "parse_special": True} | settings).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)["tokens"]


def assert_tokens_of_llama_cpp(path: Path, back: Path, composed: bool = False) -> None:
    """A thousand texts; `composed`: the tokenizer composes characters first (NFC), which llama.cpp does not do. Nor does
    it take white space beyond ASCII into a special token that takes what is right of it."""
    from tokenizers import Tokenizer

    running, tokenizer = serve(path), Tokenizer.from_file(str(back / "tokenizer.json"))
    taking = "|".join(map(re.escape, special(back, rstrip=True))) or r"(?!)"
    elsewhere = re.compile(rf"(?:{taking})\s*[^\S\t-\r ]")
    for text in strings(1000, seed=1, special=special(back)):
        if elsewhere.search(text):
            continue
        if not composed or unicodedata.is_normalized("NFC", text):
            assert (
                tokens_of(running, text) == tokenizer.encode(text, add_special_tokens=False).ids
            ), text
            assert tokens_of(running, text, add_special=True) == tokenizer.encode(text).ids, text


@pytest.mark.slow
def test_llama_cpp_has_the_same_tokens(trip: tuple[Family, Path, Path, Path]) -> None:
    family, _, path, back = trip
    assert_tokens_of_llama_cpp(path, back, composed=family in (QWEN2, QWEN3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "pre"),
    [
        (LLAMA3, "llama-bpe"),
        (MISTRAL, "tekken"),
        (PHI3, "gpt-4o"),
        (PHI3, "dbrx"),
        (MISTRAL, "default"),
        (PHI3, "default"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_file_that_says_little_is_read_as_llama_cpp_reads_it(
    tmp_path: Path, make_tiny: Make, family: Family, pre: str
) -> None:
    """Each pre-tokenizer, in a file that leaves open what comes before a text."""
    path = write(make_family(make_tiny, tmp_path / "base", family), "Q8_0", tmp_path / "x.gguf")
    fields: dict[str, Field | None] = {}
    if pre != "default":
        llama = write(
            make_family(make_tiny, tmp_path / "llama", LLAMA3), "Q8_0", tmp_path / "llama.gguf"
        )
        fields |= {
            key: field
            for key, field in read_header(llama).fields.items()
            if key.startswith("tokenizer.")
        }
        fields |= {
            "tokenizer.ggml.scores": None,
            "tokenizer.ggml.unknown_token_id": None,
            "tokenizer.ggml.pre": Field("string", pre),
        }
    rewrite(
        path,
        fields | {"tokenizer.ggml.add_bos_token": None, "tokenizer.ggml.add_space_prefix": None},
    )
    assert_tokens_of_llama_cpp(path, bring(path, tmp_path / "back"))


# ---- SentencePiece ----


def pieces_of(path: Path) -> list[tuple[str, float, int]]:
    header = read_header(path)
    columns = (header.get(f"tokenizer.ggml.{key}") for key in ("tokens", "scores", "token_type"))
    return list(zip(*(list(column) for column in columns), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("family", SENTENCEPIECE, ids=named)
def test_sentencepiece_itself_has_the_same_tokens(
    tmp_path: Path, make_tiny: Make, family: Family
) -> None:
    """Rebuilt as `tokenizers` and as tokenizer.model, against the model that was trained."""
    from tokenizers import Tokenizer

    sentencepiece = pytest.importorskip("sentencepiece")
    base = make_family(make_tiny, tmp_path / "base", family, vocab=1200)
    back = bring(write(base, "Q8_0", tmp_path / "x.gguf"), tmp_path / "back")
    tokenizer = Tokenizer.from_file(str(back / "tokenizer.json"))
    trained, rebuilt = (
        sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        for folder in (base, back)
    )
    size = range(len(trained))
    assert [rebuilt.id_to_piece(i) for i in size] == [trained.id_to_piece(i) for i in size]
    marks = (
        "\u2581",
        *special(base),
    )  # SentencePiece takes special tokens in a text for plain text
    texts = [text for text in strings(11_000, seed=2) if not any(mark in text for mark in marks)]
    assert len(texts) > 10_000
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert ids == rebuilt.encode(texts)
    if family is not GEMMA3:  # trained with the space put first, which Gemma's own model is not
        assert ids == trained.encode(texts)


def with_tokens(path: Path, texts: list[str], kind: int) -> Path:
    """Makes these texts tokens of a type: the piece that has the text, or one of the last, which are padding."""
    header = read_header(path)
    tokens, types = (
        list(header.get("tokenizer.ggml.tokens")),
        header.get("tokenizer.ggml.token_type").copy(),
    )
    for last, text in enumerate(texts, len(tokens) - len(texts)):
        piece = text.replace(" ", "\u2581")
        i = tokens.index(piece) if piece in tokens else last
        tokens[i], types[i] = text, kind
    return rewrite(
        path,
        {
            "tokenizer.ggml.tokens": Field("[string]", tokens),
            "tokenizer.ggml.token_type": Field("[int32]", types),
        },
    )


def test_gemmas_user_defined_tokens_are_cut_out_first(tmp_path: Path, make_tiny: Make) -> None:
    """Gemma has runs of spaces and line ends as such tokens: SentencePiece takes the longest before it merges."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    sentencepiece = pytest.importorskip("sentencepiece")
    wanted = [*(" " * n for n in range(2, 8)), *("\n" * n for n in range(1, 5)), "<table>", "</td>"]
    base = make_family(make_tiny, tmp_path / "base", GEMMA3, vocab=900)
    path = with_tokens(write(base, "Q8_0", tmp_path / "x.gguf"), wanted, USER_DEFINED)
    back = bring(path, tmp_path / "back")
    tokenizer = Tokenizer.from_file(str(back / "tokenizer.json"))
    assert tokenizer.encode("a" + " " * 10 + "b<table>", add_special_tokens=False).tokens == [
        "a",
        "\u2581" * 7,
        "\u2581" * 3,
        "b",
        "<table>",
    ]
    rebuilt = sentencepiece.SentencePieceProcessor(model_file=str(back / "tokenizer.model"))
    marks = ("\u2581", *special(base))
    texts = [
        text
        for text in strings(3000, seed=3, special=("<table>", "  "))
        if not any(m in text for m in marks)
    ]
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert ids == rebuilt.encode(texts)
    assert ids == AutoTokenizer.from_pretrained(back)(texts, add_special_tokens=False).input_ids
    again = write(back, "Q8_0", tmp_path / "again.gguf")
    assert [(text, kind) for text, _, kind in pieces_of(again)] == [
        (text, kind) for text, _, kind in pieces_of(path)
    ]


def test_a_first_token_comes_first_where_the_file_says_so(tmp_path: Path, make_tiny: Make) -> None:
    from transformers import AutoTokenizer

    for family, first in ((LLAMA3, "<|begin_of_text|>"), (MISTRAL, "<s>"), (GEMMA3, "<bos>")):
        folder = tmp_path / family.name
        path = write(make_family(make_tiny, folder / "base", family), "Q8_0", folder / "x.gguf")
        for name, value in (
            ("said", Field("bool", True)),
            ("unsaid", None),
        ):  # llama.cpp's default for these
            rewrite(path, {"tokenizer.ggml.add_bos_token": value})
            loaded = AutoTokenizer.from_pretrained(bring(path, folder / name))
            assert (
                loaded("a b").input_ids == loaded(f"{first}a b", add_special_tokens=False).input_ids
            )
            assert (
                loaded("a", "b").input_ids
                == loaded(f"{first}a{first}b", add_special_tokens=False).input_ids
            )


def test_white_space_after_phi_3s_special_tokens_goes_as_in_llama_cpp(
    tmp_path: Path, make_tiny: Make
) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    base = make_family(make_tiny, tmp_path / "base", PHI3)
    path = with_tokens(
        write(base, "Q8_0", tmp_path / "x.gguf", name="Phi-3 mini"), ["<s>", "</s>"], CONTROL
    )
    back = bring(path, tmp_path / "back")
    assert_tokens_of_llama_cpp(path, back)
    encode = Tokenizer.from_file(str(back / "tokenizer.json")).encode
    assert (
        encode("<|user|>\n a").ids
        == encode("<|user|>a").ids
        == AutoTokenizer.from_pretrained(back)("<|user|>\n a", add_special_tokens=False).input_ids
    )
    assert encode("<|endoftext|> a").ids != encode("<|endoftext|>a").ids


# ---- settings that a tiny model has not ----


def config_after(
    tmp_path: Path, make_tiny: Make, family: Family, changes: dict[str, Any]
) -> tuple[Path, dict[str, Any]]:
    base = make_family(make_tiny, tmp_path / "base", family)
    config = json.loads((base / "config.json").read_text()) | changes
    (base / "config.json").write_text(json.dumps(config))
    path = write(base, "Q8_0", tmp_path / "x.gguf")
    return path, json.loads((bring(path, tmp_path / "back") / "config.json").read_text())


YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 1024,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "attention_factor": 1.2,
}
FACTORS = {
    "short_factor": [1.0 + i / 8 for i in range(24)],
    "long_factor": [1.5 + i / 4 for i in range(24)],
}


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        (QWEN2, {"rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
        (QWEN3, {"rope_scaling": YARN}),
        (MISTRAL, {"rope_scaling": YARN}),
        (GEMMA3, {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
        (
            GEMMA3,
            {
                "final_logit_softcapping": 30.0,
                "rope_local_base_freq": 20000.0,
                "sliding_window": 64,
            },
        ),
        (
            LLAMA3,
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                }
            },
        ),
        (
            LLAMA3,
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 32.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                }
            },
        ),
        (LLAMA3, {"rope_scaling": None}),
        (PHI3, {"max_position_embeddings": 16384, "rope_scaling": {"type": "longrope"} | FACTORS}),
        (PHI3, {"sliding_window": 2047}),
    ],
)
def test_rotary_and_other_settings_come_back(
    tmp_path: Path, make_tiny: Make, family: Family, changes: dict[str, Any]
) -> None:
    _, config = config_after(tmp_path, make_tiny, family, changes)
    for key, value in changes.items():
        found = config.get(key)
        assert (found if not isinstance(value, dict) else {k: found[k] for k in value}) == value


@pytest.mark.parametrize(("layers", "scalar"), [(6, 32), (62, 16)])
def test_the_largest_gemma_scales_attention_by_its_hidden_size(
    tmp_path: Path, make_tiny: Make, layers: int, scalar: int
) -> None:
    base = make_family(make_tiny, tmp_path / "base", GEMMA3, layers=layers, hidden=64, ffn=64)
    back = bring(write(base, "BF16", tmp_path / "x.gguf"), tmp_path / "back")
    assert json.loads((back / "config.json").read_text())["query_pre_attn_scalar"] == scalar


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        (
            MISTRAL,
            {"tokenizer.chat_template": Field("string", "[INST] <<SYS>>")},
            "not Mistral's, so it is an older Llama",
        ),
        (
            MISTRAL,
            {"tokenizer.chat_template": Field("string", "<|user|>")},
            "not Mistral's, so it is an older Llama",
        ),
        (MISTRAL, {"tokenizer.chat_template": None}, "no chat template that would tell a Mistral"),
        (MISTRAL, {"llama.expert_count": Field("uint32", 8)}, "mixture of 8 experts"),
        (
            LLAMA3,
            {"tokenizer.ggml.pre": Field("string", "smaug-bpe")},
            "'llama' with pre-tokenizer 'smaug-bpe'",
        ),
        (
            LLAMA3,
            {"llama.rope.dimension_count": Field("uint32", 32)},
            "dimension_count is 32, expected the whole",
        ),
        (
            GEMMA3,
            {"tokenizer.ggml.model": Field("string", "gpt2")},
            "tokenizer 'gpt2' with pre-tokenizer 'default'",
        ),
        (
            GEMMA3,
            {"gemma3.attention.sliding_window": None},
            "sliding_window is None, expected a positive whole",
        ),
        (
            GEMMA3,
            {"gemma3.attention.value_length": Field("uint32", 1)},
            "value_length is 1, expected the keys'",
        ),
        (
            PHI3,
            {"phi3.rope.scaling.type": Field("string", "longrope")},
            "rope scaling 'longrope' cannot be imported",
        ),
        (
            QWEN3,
            {"qwen3.rope.freq_base": Field("float32", -1.0)},
            "freq_base is -1.0, expected a positive number",
        ),
        (
            MISTRAL,
            {"tokenizer.ggml.scores": Field("[float32]", np.zeros(3, "f4"))},
            "scores has 3 values for 600 tokens",
        ),
    ],
)
def test_what_cannot_be_imported_is_named(
    tmp_path: Path, make_tiny: Make, family: Family, fields: dict[str, Field | None], message: str
) -> None:
    path = rewrite(
        write(make_family(make_tiny, tmp_path / "base", family), "Q8_0", tmp_path / "x.gguf"),
        fields,
    )
    with pytest.raises(UsageError, match=message) as caught:
        bring(path, tmp_path / "back")
    assert caught.value.fix


def test_unknown_rotary_factors_are_refused(tmp_path: Path, make_tiny: Make) -> None:
    path, _ = config_after(tmp_path, make_tiny, LLAMA3, {})
    header = read_header(path)
    raw, info = bytearray(path.read_bytes()), header.tensors["rope_freqs.weight"]
    at = header.start + info.offset
    raw[at : at + info.nbytes] = np.linspace(1, 8, info.nbytes // 4, dtype="f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(UsageError, match="made by no known setting of Llama 3's rotary scaling"):
        bring(path, tmp_path / "other")


def test_attention_scaled_otherwise_than_longrope_does_is_refused(
    tmp_path: Path, make_tiny: Make
) -> None:
    path, _ = config_after(
        tmp_path,
        make_tiny,
        PHI3,
        {"max_position_embeddings": 16384, "rope_scaling": {"type": "longrope"} | FACTORS},
    )
    rewrite(path, {"phi3.rope.scaling.attn_factor": Field("float32", 1.5)})
    with pytest.raises(UsageError, match=r"attn_factor is 1\.5, expected"):
        bring(path, tmp_path / "other")
