"""The merge equals PEFT's, bit for bit, for every way PEFT scales a pair and every type weights are stored in."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_forge.catalog.families import FAMILIES
from phoenix_forge.core.report import Silent
from phoenix_forge.gguf.write import quantize
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.merge import _embedded, merged, write_merged
from phoenix_forge.weights.writer import copy_side_files, write_shards

torch = pytest.importorskip("torch")


def bits(tensor: Any) -> bytes:
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


def train_adapter(
    base: Path, folder: Path, dtype: Any, rows: int | None = None, **config: Any
) -> dict[str, bytes]:
    """An adapter as PEFT saves it, with everything that it trains moved, and the bytes of PEFT's own merge.

    `rows`: the vocabulary is resized to so many first.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    model = get_peft_model(loaded(base, dtype, rows), LoraConfig(task_type="CAUSAL_LM", **config))
    for name, parameter in model.named_parameters():
        if (
            "lora_magnitude" in name
        ):  # it starts as the norm of the base's rows, and training moves it a little
            parameter.data *= 1 + 0.3 * torch.randn_like(parameter)
        elif "lora_" in name:
            parameter.data.normal_(0, 0.1)
        elif parameter.requires_grad or (rows and ("embed_tokens" in name or "lm_head" in name)):
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return peft_merge(base, folder, dtype, rows)


def loaded(base: Path, dtype: Any, rows: int | None) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    if rows:
        model.resize_token_embeddings(rows)
    return model


def peft_merge(base: Path, folder: Path, dtype: Any, rows: int | None = None) -> dict[str, bytes]:
    from peft import PeftModel

    whole = PeftModel.from_pretrained(loaded(base, dtype, rows), folder)
    return {name: bits(value) for name, value in whole.merge_and_unload().state_dict().items()}


LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PATTERNS: dict[str, Any] = {
    "r": 4,
    "lora_alpha": 8,
    "target_modules": LINEAR,
    "rank_pattern": {"q_proj": 3, r".*layers\.1\.mlp\.up_proj": 6},
    "alpha_pattern": {"down_proj": 5, "layers.0.self_attn.q_proj": 3, "q_proj": 2},
}  # the first match counts
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"r": 8, "lora_alpha": 13, "target_modules": LINEAR},
    "rslora": {
        "r": 5,
        "lora_alpha": 7,
        "target_modules": ["v_proj", "up_proj"],
        "use_rslora": True,
    },
    "patterns": PATTERNS,
    "rslora, patterns": {**PATTERNS, "use_rslora": True},
    "dora": {"r": 8, "lora_alpha": 13, "target_modules": LINEAR, "use_dora": True},
    "dora, rslora": {
        "r": 5,
        "lora_alpha": 7,
        "target_modules": ["v_proj", "up_proj"],
        "use_rslora": True,
        "use_dora": True,
    },
    "dora, rslora, patterns": {**PATTERNS, "use_rslora": True, "use_dora": True},
}
UNTIED = ("plain", "dora")
CHANGED = {"rslora": 4, "dora, rslora": 4}  # elsewhere all 7 linear layers of both blocks
TORCH = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", TORCH)
def test_equal_to_peft(
    tmp_path: Path, make_tiny: Callable[..., Path], dtype: str, config: str
) -> None:
    make_tiny(tmp_path / "base", layers=2, dtype=dtype, tied=config not in UNTIED)
    expected = train_adapter(
        tmp_path / "base", tmp_path / "adapter", TORCH[dtype], **CONFIGS[config]
    )
    base = open_base(tmp_path / "base")
    found = {t.name: t.load() for t in merged(base, open_adapter(tmp_path / "adapter", base))}
    assert found.keys() <= expected.keys()
    changed = [name for name in found if found[name].tobytes() != base.read(name).tobytes()]
    assert len(changed) == CHANGED.get(config, 14)
    assert [name for name in found if found[name].tobytes() != expected[name]] == []


# What PEFT trains beside pairs: settings, rows of a resized vocabulary, and the tensors that change besides the pairs'.
TARGETS = {
    "qwen2": ["q_proj", "down_proj"],
    "llama3": ["q_proj", "down_proj"],
    "phi3": ["qkv_proj", "gate_up_proj"],
}
BEYOND: dict[str, tuple[dict[str, Any], int | None]] = {
    "embedding saved": ({"modules_to_save": ["embed_tokens"]}, None),
    "output saved": ({"modules_to_save": ["lm_head"]}, None),
    "both saved": ({"modules_to_save": ["embed_tokens", "lm_head"]}, None),
    "both saved as one": ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, None),
    "norms saved": ({"modules_to_save": ["norm", "input_layernorm"]}, None),
    "embedding's LoRA": (
        {"targets": ["embed_tokens"], "use_rslora": True, "rank_pattern": {"embed_tokens": 3}},
        None,
    ),
    "tokens": ({"trainable_token_indices": [7, 3, 399]}, None),
    "tokens of both ends": (
        {"trainable_token_indices": {"embed_tokens": [7, 3], "lm_head": [7, 3]}},
        None,
    ),
    "biases": ({"bias": "all"}, None),
    "biases of targets": ({"bias": "lora_only", "use_dora": True}, None),
    "resized": ({}, 417),
    "cut": ({}, 384),
    "resized, tokens": ({"trainable_token_indices": [400, 416, 2]}, 417),
    "resized, saved": ({"modules_to_save": ["embed_tokens"]}, 417),
    "resized, both saved": ({"modules_to_save": ["embed_tokens", "lm_head"]}, 417),
    "resized, embedding's LoRA": ({"targets": ["embed_tokens"]}, 417),
}
# (what, tied): the output has new rows and PEFT does not save them.
NOT_SO = {("resized, embedding's LoRA", False)}


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", TARGETS)
@pytest.mark.parametrize("beyond", BEYOND)
def test_what_is_trained_beside_pairs_equals_pefts(
    tmp_path: Path, make_tiny: Callable[..., Path], beyond: str, family: str, tied: bool
) -> None:
    if (beyond, tied) in NOT_SO:
        pytest.skip("PEFT does not save the output's new rows, so nobody can merge them")
    settings, rows = BEYOND[beyond]
    dtype = {"qwen2": "BF16", "llama3": "F16", "phi3": "F32"}[family]
    base = open_base(
        make_tiny(
            tmp_path / "base",
            layers=2,
            dtype=dtype,
            tied=tied,
            family=next(f for f in FAMILIES if f.name == family),
        )
    )
    config = {
        "r": 4,
        "lora_alpha": 7,
        "target_modules": TARGETS[family] + settings.get("targets", []),
        **{key: value for key, value in settings.items() if key != "targets"},
    }
    expected = train_adapter(base.folder, tmp_path / "adapter", TORCH[dtype], rows, **config)
    adapter = open_adapter(tmp_path / "adapter", base)
    found = {t.name: (t.shape, t.load()) for t in merged(base, adapter)}
    assert all(array.shape == shape for shape, array in found.values())
    assert found.keys() == adapter.model.entries.keys()
    assert [name for name, (_, array) in found.items() if array.tobytes() != expected[name]] == []
    unseen = {name: expected[name] for name in expected.keys() - found.keys()}
    assert unseen in ({}, {"lm_head.weight": expected["model.embed_tokens.weight"]})

    write_merged(base.folder, tmp_path / "adapter", tmp_path / "merged", report=Silent())
    written, model = open_base(tmp_path / "merged"), loaded(tmp_path / "merged", TORCH[dtype], None)
    assert written.config["vocab_size"] == (rows or base.config["vocab_size"])
    assert {name: bits(value) for name, value in model.state_dict().items()} == expected
    assert model.config.tie_word_embeddings == written.tied == bool(unseen)


def test_a_tokenizer_beside_an_adapter_that_adds_tokens_is_the_merged_models(
    tmp_path: Path, tiny: Path
) -> None:
    """And the GGUF written in one pass is the one of PEFT's merge, with its vocabulary."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens(["<|forge|>"], special_tokens=True)
    tokenizer.save_pretrained(tmp_path / "adapter")
    rows = len(tokenizer)
    expected = train_adapter(tiny, tmp_path / "adapter", torch.bfloat16, rows, **CONFIGS["plain"])
    merged_files = write_merged(tiny, tmp_path / "adapter", tmp_path / "merged", report=Silent())
    assert len(merged_files) == len(set(merged_files))
    own = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert (
        own.encode("<|forge|>")
        == [own.convert_tokens_to_ids("<|forge|>")]
        == tokenizer.encode("<|forge|>")
    )
    written = open_base(tmp_path / "merged")
    assert written.entries["model.embed_tokens.weight"].shape[0] == rows
    assert (
        written.read("model.embed_tokens.weight").tobytes() == expected["model.embed_tokens.weight"]
    )
    digests = [
        quantize(folder, lora, {"Q8_0": tmp_path / "x.gguf"}, name="n", report=Silent())[0][
            "sha256"
        ]
        for folder, lora in ((tiny, tmp_path / "adapter"), (tmp_path / "merged", None))
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("hidden", "rows", "rank"), [(64, 16_385, 4), (130, 40_003, 33), (896, 33_000, 16)]
)
def test_an_embedding_merged_in_blocks_is_merged_as_a_whole(
    hidden: int, rows: int, rank: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(rows, hidden, generator=generator).to(torch.bfloat16)
    a, b = (
        torch.randn(rank, rows, generator=generator),
        torch.randn(hidden, rank, generator=generator),
    )
    whole = weight + ((b @ a).t() * 0.3).to(torch.bfloat16)
    assert bits(_embedded(weight, a, b, 0.3)) == bits(whole)


def test_the_bits_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, make_tiny: Callable[..., Path]
) -> None:
    base = open_base(make_tiny(tmp_path / "base", layers=1, hidden=192, ffn=640))
    train_adapter(
        base.folder,
        tmp_path / "adapter",
        torch.bfloat16,
        r=24,
        lora_alpha=13,
        use_dora=True,
        target_modules=["q_proj", "up_proj", "down_proj"],
    )
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            found.append(
                {
                    t.name: t.load().tobytes()
                    for t in merged(base, open_adapter(tmp_path / "adapter", base))
                }
            )
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("config", ["plain", "dora"])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_an_adapter_saved_in_16_bits_merges_as_peft_loads_it(
    tmp_path: Path, make_tiny: Callable[..., Path], stored: Any, config: str
) -> None:
    """PEFT widens 16-bit adapters to fp32 when it loads them, so the delta is not rounded before it is added."""
    from safetensors.torch import load_file, save_file

    make_tiny(tmp_path / "base", layers=2, tied=False)
    train_adapter(tmp_path / "base", tmp_path / "adapter", torch.bfloat16, **CONFIGS[config])
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({k: v.to(stored) for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    expected = peft_merge(tmp_path / "base", tmp_path / "adapter", torch.bfloat16)
    base = open_base(tmp_path / "base")
    assert all(
        t.load().tobytes() == expected[t.name]
        for t in merged(base, open_adapter(tmp_path / "adapter", base))
    )


@pytest.mark.parametrize("config", ["rslora, patterns", "dora", "dora, rslora, patterns"])
def test_both_ways_out_carry_pefts_bytes(
    tmp_path: Path, make_tiny: Callable[..., Path], config: str
) -> None:
    """The merged folder, and the GGUF in one pass, which equals the GGUF of PEFT's own merge."""
    adapter = tmp_path / "adapter"
    base = open_base(make_tiny(tmp_path / "base", layers=2, tied=config not in UNTIED))
    expected = train_adapter(base.folder, adapter, torch.bfloat16, **CONFIGS[config])

    write_merged(base.folder, adapter, tmp_path / "merged", report=Silent())
    written = open_base(tmp_path / "merged")
    assert all(written.read(name).tobytes() == expected[name] for name in base.entries)

    (tmp_path / "peft").mkdir()
    copy_side_files(base.folder, tmp_path / "peft")
    write_shards(
        tmp_path / "peft",
        [
            replace(t, load=lambda t=t: np.frombuffer(expected[t.name], "<u2").reshape(t.shape))
            for t in base.tensors()
        ],
    )
    files = {quant: tmp_path / f"{quant}.gguf" for quant in ("BF16", "Q8_0")}
    digests = [
        [file["sha256"] for file in quantize(source, lora, files, name="n", report=Silent())]
        for source, lora in ((base.folder, adapter), (tmp_path / "peft", None), (base.folder, None))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_without_an_adapter_the_base_passes_through(tiny: Path) -> None:
    base = open_base(tiny)
    assert all((t.load() == base.read(t.name)).all() for t in merged(base, None))


def test_the_merged_folder_loads_and_the_base_is_untouched(
    tiny: Path, adapter: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before = {p.name: p.read_bytes() for p in tiny.iterdir()}
    (tiny / "pytorch_model.bin").write_bytes(b"a pickle")
    out = tmp_path / "merged"
    files = write_merged(tiny, adapter(), out, report=Silent())
    assert {p.name for p in files} == {p.name for p in out.iterdir()} == set(before)
    assert all(
        before[name] == (out / name).read_bytes()
        for name in before
        if not name.endswith("safetensors")
    )
    assert {p.name: p.read_bytes() for p in tiny.iterdir() if p.name in before} == before
    base = open_base(tiny)
    expected = {t.name: t.load() for t in merged(base, open_adapter(tmp_path / "adapter", base))}
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16)
    assert all(
        bits(value) == expected[name].tobytes()
        for name, value in model.state_dict().items()
        if name in expected
    )
    assert AutoTokenizer.from_pretrained(out).eos_token == "<|im_end|>"


def test_progress_ends_at_the_whole(tiny: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, float | None]] = []

    class Recorder(Silent):
        def progress(
            self, label: str, done: float, total: float | None, unit: str = "", **fields: object
        ) -> None:
            seen.append((done, total))

    write_merged(tiny, None, tmp_path / "out", report=Recorder())
    assert seen[-1] == (open_base(tiny).nbytes, open_base(tiny).nbytes)
    assert np.all(np.diff([done for done, _ in seen]) > 0)


def test_shards_are_cut_and_indexed(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = open_base(tiny)
    copy_side_files(tiny, tmp_path)
    paths = write_shards(tmp_path, base.tensors(), max_shard_bytes=60_000)
    assert len(paths) > 3
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == base.nbytes
    assert index["weight_map"].keys() == base.entries.keys()
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).state_dict()
    assert all(bits(model[name]) == base.read(name).tobytes() for name in base.entries)
