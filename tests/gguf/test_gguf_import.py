import http.client
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from rewritten import rewrite
from strings import strings

from phoenix_forge.core.report import Silent
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Field, TensorInfo, encode_header, padded, read_header
from phoenix_forge.gguf.import_ import import_gguf
from phoenix_forge.gguf.quantization import dequantize_rows, quantize_rows
from phoenix_forge.gguf.write import quantize
from phoenix_forge.weights.base import open_base

Make = Callable[..., Path]


def gguf(base: Path, quant: str, path: Path) -> Path:
    quantize(base, None, {quant: path}, name="n", report=Silent())
    return path


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_a_sixteen_bit_file_comes_back_exactly(
    tmp_path: Path, make_tiny: Make, dtype: str, tied: bool
) -> None:
    base = make_tiny(tmp_path / "base", dtype=dtype, tied=tied)
    found = import_gguf(gguf(base, dtype, tmp_path / "x.gguf"), tmp_path / "back", report=Silent())
    assert found["tied"] is tied
    assert found["parameters"] == open_base(base).parameters
    one, other = open_base(base), open_base(tmp_path / "back")
    assert list(one.entries) == list(other.entries)
    assert all((one.read(name) == other.read(name)).all() for name in one.entries)


def test_a_bf16_model_kept_as_f32_comes_back_exactly(tmp_path: Path, tiny: Path) -> None:
    import_gguf(gguf(tiny, "F32", tmp_path / "x.gguf"), tmp_path / "back", report=Silent())
    one, other = open_base(tiny), open_base(tmp_path / "back")
    assert all((one.read(name) == other.read(name)).all() for name in one.entries)


def test_config_and_token_settings_survive(tmp_path: Path, tiny: Path) -> None:
    import_gguf(gguf(tiny, "Q4_K_M", tmp_path / "x.gguf"), tmp_path / "back", report=Silent())
    for name, differing in (
        ("config.json", {"torch_dtype"}),
        ("generation_config.json", set()),
        ("tokenizer_config.json", set()),
    ):
        one, other = (
            json.loads((folder / name).read_text()) for folder in (tiny, tmp_path / "back")
        )
        assert {
            key for key in one.keys() | other.keys() if one.get(key) != other.get(key)
        } == differing


TEXTS = [
    "Hello world",
    "naïve café, 東京タワー 🚀🚀",
    "a  b\t\tc\n\n\nd \r\n e",
    "it's I'LL we'Ve 12345 3.14",
    "",
    "<|im_start|>user\nhi<|im_end|>\n",
    " leading and trailing ",
    "e\u0301 composed by NFC",
    "\x00\x7f\u200d",
]


def test_the_tokenizer_is_the_same(tmp_path: Path, tiny: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    import_gguf(gguf(tiny, "Q8_0", tmp_path / "x.gguf"), tmp_path / "back", report=Silent())
    one, other = (Tokenizer.from_file(str(f / "tokenizer.json")) for f in (tiny, tmp_path / "back"))
    loaded = AutoTokenizer.from_pretrained(tmp_path / "back")
    assert one.get_vocab() == other.get_vocab() == loaded.get_vocab()
    for text in TEXTS:
        assert one.encode(text).ids == other.encode(text).ids == loaded(text).input_ids
        assert one.decode(one.encode(text).ids) == other.decode(other.encode(text).ids)
    assert (loaded.eos_token, loaded.pad_token, loaded.bos_token) == (
        "<|im_end|>",
        "<|endoftext|>",
        None,
    )
    assert loaded.all_special_tokens == AutoTokenizer.from_pretrained(tiny).all_special_tokens


def test_an_imported_file_quantises_to_itself(tmp_path: Path, tiny: Path) -> None:
    """16-bit weights, tokenizer and settings go round without changing a byte of the GGUF."""
    first = gguf(tiny, "BF16", tmp_path / "first.gguf")
    import_gguf(first, tmp_path / "back", report=Silent())
    assert (
        gguf(tmp_path / "back", "BF16", tmp_path / "second.gguf").read_bytes() == first.read_bytes()
    )


@pytest.mark.parametrize(
    ("fine", "coarse"), [("Q8_0", "Q4_0"), ("Q8_0", "Q8_0"), ("F16", "Q4_0"), ("Q6_K", "Q4_K")]
)
def test_two_renderings_of_one_matrix_are_tied(
    tmp_path: Path, make_tiny: Make, fine: str, coarse: str
) -> None:
    path = two_matrices(tmp_path, make_tiny, fine, coarse, change=0)
    found = import_gguf(path, tmp_path / "back", report=Silent())
    assert found["tied"]
    if fine != coarse:
        assert found["tied_from"] == "output.weight"


@pytest.mark.parametrize("change", [0.3, 3.0])
def test_matrices_that_were_trained_apart_stay_apart(
    tmp_path: Path, make_tiny: Make, change: float
) -> None:
    path = two_matrices(tmp_path, make_tiny, "Q8_0", "Q4_0", change=change)
    assert not import_gguf(path, tmp_path / "back", report=Silent())["tied"]
    assert not open_base(tmp_path / "back").tied


TYPES = sorted(
    kind.name for kind in quants._type_traits
)  # every type that the gguf package decodes, but F32 and F16


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered")
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_decodes_to_the_gguf_packages_bits(kind: str) -> None:
    """Random bytes: all codes, all scales, infinite ones and NaN among them."""
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    raw = np.random.default_rng(0).integers(0, 256, (256, 4 * size), np.uint8)
    expected = quants.dequantize(raw, GGMLQuantizationType[kind]).reshape(-1)
    found = dequantize_rows(kind, raw.reshape(-1), raw.shape[0] * 4 * values)
    same = (found.view(np.uint32) == expected.view(np.uint32)) | (
        np.isnan(found) & np.isnan(expected)
    )
    assert same.all()
    assert np.isfinite(found).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_a_file_with_a_tensor_of_any_type_is_imported(
    tmp_path: Path, tiny: Path, kind: str
) -> None:
    rows = np.random.default_rng(1).standard_normal((256, 256), np.float32) * np.float32(0.05)
    encoded = quantize_rows(kind, rows, np.ones(256, np.float32))
    path = with_tensor(
        gguf(tiny, "F16", tmp_path / "x.gguf"), "blk.1.ffn_down.weight", kind, encoded
    )
    import_gguf(path, tmp_path / "back", report=Silent())
    expected = quants.dequantize(encoded.reshape(256, -1), GGMLQuantizationType[kind]).astype(
        np.float16
    )
    assert (
        open_base(tmp_path / "back").read("model.layers.1.mlp.down_proj.weight") == expected
    ).all()
    assert np.abs(expected - rows).mean() < 0.05


def test_a_type_without_weights_in_it_is_refused(tmp_path: Path, tiny: Path) -> None:
    path = with_tensor(
        gguf(tiny, "F16", tmp_path / "x.gguf"),
        "blk.1.ffn_down.weight",
        "I8",
        np.zeros(256 * 256, np.uint8),
    )
    with pytest.raises(UsageError, match="type I8 cannot be decoded"):
        import_gguf(path, tmp_path / "back", report=Silent())


def with_tensor(path: Path, name: str, kind: str, encoded: np.ndarray) -> Path:
    """The file with one tensor's bytes replaced by others of another type."""
    header, raw = read_header(path), path.read_bytes()
    tensors, pieces, at = [], [], 0
    for info in header.tensors.values():
        start = header.start + info.offset
        data = encoded.tobytes() if info.name == name else raw[start : start + info.nbytes]
        tensors.append(
            TensorInfo(info.name, info.shape, kind if info.name == name else info.type, at)
        )
        pieces.append(data + bytes(padded(len(data)) - len(data)))
        at += len(pieces[-1])
    path.write_bytes(encode_header(header.fields, tensors) + b"".join(pieces))
    return path


def two_matrices(tmp_path: Path, make_tiny: Make, fine: str, coarse: str, change: float) -> Path:
    """A GGUF whose output matrix (`fine`) is its embedding (`coarse`), or differs in one row by `change` deviations."""
    source = gguf(make_tiny(tmp_path / "base"), "F32", tmp_path / "x.gguf")
    header = read_header(source)
    raw = np.fromfile(source, np.uint8)
    tensors, pieces, at = [], [], 0
    for name, info in {
        "output.weight": header.tensors["token_embd.weight"],
        **header.tensors,
    }.items():
        start = header.start + info.offset
        values = dequantize_rows("F32", raw[start : start + info.nbytes].copy(), 0).reshape(
            -1, info.shape[-1]
        )
        if name == "output.weight" and change:
            values[7] += (
                np.random.default_rng(0).standard_normal(values.shape[1]).astype("f4")
                * 0.02
                * change
            )
        kind = {"output.weight": fine, "token_embd.weight": coarse}.get(name, info.type)
        encoded = quantize_rows(kind, values)
        tensors.append(TensorInfo(name, info.shape, kind, at))
        pieces.append(encoded.tobytes() + bytes(padded(encoded.nbytes) - encoded.nbytes))
        at += len(pieces[-1])
    source.write_bytes(encode_header(header.fields, tensors) + b"".join(pieces))
    return source


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"general.architecture": Field("string", "mamba")},
            "'mamba' is not supported; supported: qwen2",
        ),
        ({"general.architecture": None}, "None is not supported"),
        ({"qwen2.embedding_length": Field("uint32", 0)}, "embedding_length is 0"),
        ({"qwen2.block_count": Field("uint32", 3)}, r"lacks tensor blk\.2"),
        (
            {"qwen2.block_count": Field("uint32", 1)},
            r"tensors that its architecture lacks, such as blk\.1",
        ),
        ({"qwen2.feed_forward_length": Field("uint32", 512)}, "has shape"),
        (
            {"tokenizer.ggml.model": Field("string", "llama")},
            "'qwen2' with pre-tokenizer 'default'",
        ),
        ({"tokenizer.ggml.pre": Field("string", "gpt-4o")}, "pre-tokenizer 'gpt-4o'"),
        ({"tokenizer.ggml.tokens": None}, "no vocabulary"),
        ({"tokenizer.ggml.tokens": Field("[string]", ["a"] * 500)}, "occurs twice"),
        ({"tokenizer.ggml.merges": Field("[string]", ["no-space"])}, "is not a merge"),
        ({"tokenizer.ggml.merges": Field("[string]", ["absent token"])}, "not in the vocabulary"),
        ({"tokenizer.ggml.eos_token_id": Field("uint32", 70_000)}, "eos token is 70000"),
        ({"qwen2.rope.scaling.type": Field("string", "dynamic")}, "rope scaling 'dynamic'"),
        ({"qwen2.rope.scaling.type": Field("string", "yarn")}, r"rope\.scaling\.factor is None"),
    ],
)
def test_what_cannot_be_imported_is_named(
    tmp_path: Path, tiny: Path, fields: dict[str, Field | None], message: str
) -> None:
    path = gguf(tiny, "Q8_0", tmp_path / "x.gguf")
    rewrite(path, fields)
    with pytest.raises(UsageError, match=message) as caught:
        import_gguf(path, tmp_path / "back", report=Silent())
    assert caught.value.fix


def test_a_truncated_file_is_refused_before_anything_is_written(tmp_path: Path, tiny: Path) -> None:
    path = gguf(tiny, "Q8_0", tmp_path / "x.gguf")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UsageError, match="cut short"):
        import_gguf(path, tmp_path / "back", report=Silent())
    assert not (tmp_path / "back").exists()


CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
QUESTIONS = (
    "Write a Python function that reverses a string.",
    "List the planets of the solar system.",
    "Explain what a hash table is in two sentences.",
    "What does HTTP status 404 mean?",
    "Write a haiku about the sea.",
)


@pytest.fixture(scope="module")
def imported(real_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    found = import_gguf(real_gguf, folder, report=Silent())
    assert found == {
        "name": "Qwen2.5 Coder 0.5B Instruct AWQ",
        "architecture": "Qwen2ForCausalLM",
        "parameters": 494_032_768,
        "dtype": "float16",
        "tied": True,
        "tied_from": "output.weight",
    }
    return folder


@pytest.fixture(scope="module")
def server(real_gguf: Path) -> Any:
    """llama.cpp itself, on the original file."""
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(real_gguf)
    params.n_ctx, params.n_parallel, params.warmup, params.cpuparams.n_threads = 512, 1, False, 2
    return xllamacpp.Server(params)


@pytest.mark.real
def test_the_real_tokenizer_has_every_id(imported: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(imported)
    assert len(tokenizer) == 151_665
    assert [
        tokenizer.convert_tokens_to_ids(t)
        for t in ("<|endoftext|>", "<|im_end|>", "<tool_call>", "<|file_sep|>")
    ] == [151_643, 151_645, 151_657, 151_664]


@pytest.mark.real
def test_the_real_tokenizer_agrees_with_llama_cpp(server: Any, imported: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(imported / "tokenizer.json"))
    marks = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values())
    own = Path(__file__).read_text(encoding="utf-8")
    texts = [
        text
        for text in [*TEXTS, *map(CHAT.format, QUESTIONS), own, *strings(11_000, special=marks)]
        if unicodedata.is_normalized(
            "NFC", text
        )  # llama.cpp does not normalise, and makes a control token of
        and "</s>" not in text
    ]  # what looks like one; Qwen's own tokenizer has it as text
    assert len(texts) > 10_000
    connection = http.client.HTTPConnection(server.listening_address.removeprefix("http://"))
    for text in texts:
        connection.request(
            "POST",
            "/tokenize",
            json.dumps({"content": text, "parse_special": True}),
            {"Content-Type": "application/json"},
        )
        found = json.load(connection.getresponse())["tokens"]
        assert tokenizer.encode(text, add_special_tokens=False).ids == found, text


@pytest.mark.real
@pytest.mark.slow
def test_the_real_model_answers_as_the_gguf_does(server: Any, imported: Path) -> None:
    """The GGUF's own greedy answer is, token for token, the imported model's first choice.

    llama.cpp rounds activations to 8 bits where the imported model computes in fp32, so near-ties may fall the other
    way: where another token wins, it wins by little. Two answers are held to no difference at all.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    answers = [
        server.handle_completions({"prompt": CHAT.format(q), "n_predict": 28, "temperature": 0})[
            "choices"
        ][0]["text"]
        for q in QUESTIONS
    ]
    tokenizer = AutoTokenizer.from_pretrained(imported)
    model = AutoModelForCausalLM.from_pretrained(imported, dtype=torch.float32)
    gaps = []
    for question, answer in zip(QUESTIONS, answers, strict=True):
        prompt, ids = tokenizer(CHAT.format(question)).input_ids, tokenizer(answer).input_ids
        with torch.inference_mode():
            scores = (
                model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            )
        gaps.append((scores.max(-1).values - scores[range(len(ids)), ids]).tolist())
    assert min(len(gaps[0]), len(gaps[1])) >= 24
    assert max(gaps[0] + gaps[1]) == 0
    assert max(map(max, gaps)) < 0.5
    assert sum(gap > 0 for answer in gaps for gap in answer) <= 5
