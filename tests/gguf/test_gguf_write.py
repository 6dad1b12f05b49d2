import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phoenix_forge.chat.template import THINKING, ChatTemplate
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.verify import verify
from phoenix_forge.gguf.write import expected_bytes, quantize
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.merge import write_merged
from phoenix_forge.weights.safetensors import Tensor, write

Make = Callable[..., Path]


def damage(folder: Path, name: str, value: float) -> None:
    """Rewrites an F32 model with one value replaced."""
    base = open_base(folder)
    arrays = {n: base.read(n).copy() for n in base.entries}
    arrays[name].flat[5] = value
    write(
        folder / "model.safetensors",
        [Tensor(n, "F32", a.shape, lambda a=a: a) for n, a in arrays.items()],
    )


def test_the_result_describes_the_file(tiny: Path, tmp_path: Path) -> None:
    targets = {"Q4_K_M": tmp_path / "a.gguf", "F16": tmp_path / "b.gguf"}
    results = quantize(tiny, None, targets, name="n", report=Silent())
    assert [(r["type"], Path(r["path"])) for r in results] == list(targets.items())
    for result in results:
        content = Path(result["path"]).read_bytes()
        assert result["sha256"] == hashlib.sha256(content).hexdigest()
        assert result["bytes"] == len(content) == expected_bytes(tiny, "n", result["type"])
        assert verify(Path(result["path"]))["type"] == result["type"]


def test_the_number_of_threads_does_not_change_a_byte(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = set()
    for threads, block in ((1, 4_000_000), (3, 4_000_000), (2, 1000), (5, 777)):
        monkeypatch.setattr("phoenix_forge.gguf.write._BLOCK", block)
        digests.add(
            quantize(
                tiny,
                None,
                {"Q4_K_M": tmp_path / "x.gguf"},
                name="n",
                threads=threads,
                report=Silent(),
            )[0]["sha256"]
        )
    assert len(digests) == 1


def test_merging_on_the_way_equals_merging_first(tiny: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8})
    )
    pairs = {
        "A": random.standard_normal((4, 256), np.float32),
        "B": random.standard_normal((256, 4), np.float32),
    }
    write(
        adapter / "adapter_model.safetensors",
        [
            Tensor(
                f"base_model.model.model.layers.1.self_attn.q_proj.lora_{half}.weight",
                "F32",
                array.shape,
                lambda array=array: array,
            )
            for half, array in pairs.items()
        ],
    )
    asking = THINKING + ChatTemplate.load(tiny).source
    (adapter / "chat_template.jinja").write_text(asking)  # what training fixed goes both ways
    write_merged(tiny, adapter, tmp_path / "merged", report=Silent())
    assert ChatTemplate.load(tmp_path / "merged").source == asking
    first, second, plain = (
        quantize(base, lora, {"Q8_0": tmp_path / "x.gguf"}, name="n", report=Silent())[0]["sha256"]
        for base, lora in ((tiny, adapter), (tmp_path / "merged", None), (tiny, None))
    )
    assert first == second != plain


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, make_tiny: Make, value: float
) -> None:
    folder = make_tiny(tmp_path / "base", dtype="F32")
    damage(folder, "model.layers.1.mlp.up_proj.weight", value)
    with pytest.raises(StageFailed, match=r"blk\.1\.ffn_up\.weight holds NaN or infinite"):
        quantize(folder, None, {"Q8_0": tmp_path / "x.gguf"}, name="n", report=Silent())


def test_weights_beyond_fp16_are_refused_for_f16_only(tmp_path: Path, make_tiny: Make) -> None:
    folder = make_tiny(tmp_path / "base", dtype="F32")
    damage(folder, "model.layers.1.mlp.up_proj.weight", 1e5)
    quantize(folder, None, {"BF16": tmp_path / "x.gguf"}, name="n", report=Silent())
    with pytest.raises(StageFailed, match="beyond the range of F16"):
        quantize(folder, None, {"F16": tmp_path / "x.gguf"}, name="n", report=Silent())


def test_llama_cpp_loads_and_answers(tiny: Path, tmp_path: Path) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    quantize(tiny, None, {"Q4_K_M": tmp_path / "x.gguf"}, name="n", report=Silent())
    params = xllamacpp.CommonParams()
    params.model.path = str(tmp_path / "x.gguf")
    params.n_ctx, params.n_parallel, params.warmup = 128, 1, False
    answer = xllamacpp.Server(params).handle_completions(
        {"prompt": "The forge", "n_predict": 4, "temperature": 0}
    )
    assert answer["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "its pre-tokenizer is none"),
        ({"model": {"type": "WordPiece"}}, "not a BPE"),
        (
            {
                "added_tokens": [
                    {"id": 99_999, "content": "<|im_end|>", "special": True},
                    {"id": 499, "content": "<|endoftext|>", "special": True},
                ]
            },
            "has id 99999, the embedding has 500",
        ),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_misread_is_refused(
    tmp_path: Path, make_tiny: Make, change: dict[str, object], message: str
) -> None:
    folder = make_tiny(tmp_path / "base")
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=message):
        quantize(folder, None, {"Q8_0": tmp_path / "x.gguf"}, name="n", report=Silent())


def test_verify_refuses_truncated_long_and_foreign_files(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    quantize(tiny, None, {"Q8_0": path}, name="n", report=Silent())
    sound = path.read_bytes()
    path.write_bytes(sound[:-100])
    with pytest.raises(UsageError, match="cut short"):
        verify(path)
    path.write_bytes(sound + bytes(32))
    with pytest.raises(UsageError, match="its tensors end at"):
        verify(path)
    path.write_bytes(
        sound.replace(
            b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0qwen2",
            b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0qwen9",
        )
    )
    with pytest.raises(UsageError, match="'qwen9' and says nothing of it"):
        verify(path)


def test_the_tensors_come_in_llama_cpps_order(tiny: Path, tmp_path: Path) -> None:
    quantize(tiny, None, {"F16": tmp_path / "x.gguf"}, name="n", report=Silent())
    names = list(read_header(tmp_path / "x.gguf").tensors)
    assert names[:3] == ["output_norm.weight", "token_embd.weight", "blk.0.attn_k.bias"]
    assert names[-1] == "blk.1.ffn_up.weight"
