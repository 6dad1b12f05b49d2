import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_forge.errors import UsageError
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.safetensors import read_header


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, message: str) -> UsageError:
    with pytest.raises(UsageError, match=message) as caught:
        open_base(folder)
    assert caught.value.fix
    return caught.value


def test_an_opened_base_knows_its_tensors(tiny: Path) -> None:
    base = open_base(tiny)
    assert base.tied
    assert base.parameters == sum(p.size for p in (base.read(name) for name in base.entries))
    assert base.nbytes == 2 * base.parameters
    assert next(iter(base.entries)) == "model.embed_tokens.weight"


def test_opening_imports_neither_torch_nor_numpy_readers(tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from phoenix_forge.weights.base import open_base; "
        f"open_base(Path({str(tiny)!r})); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_absent_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", "no model folder")


def test_absent_or_broken_config(tiny: Path) -> None:
    (tiny / "config.json").write_text("{")
    refused(tiny, "not valid JSON")
    (tiny / "config.json").write_text("[]")
    refused(tiny, "expected an object")
    (tiny / "config.json").unlink()
    refused(tiny, r"has no config\.json")


def test_an_unsupported_architecture_is_named_before_the_weights_are_read(tiny: Path) -> None:
    edit(tiny, architectures=["NobodysForCausalLM"], model_type="nobodys")
    (tiny / "model.safetensors").write_bytes(b"never read")
    assert "Qwen2ForCausalLM" in refused(tiny, "NobodysForCausalLM").message
    edit(tiny, architectures=None)
    refused(tiny, "None")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
def test_only_pickles(tiny: Path, name: str) -> None:
    (tiny / "model.safetensors").rename(tiny / name)
    refused(tiny, f"{name}.*pickle can run code")


def test_no_weights(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    refused(tiny, r"neither model\.safetensors nor")


def test_shards_without_an_index_are_named(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    found = refused(sharded, "holds model-00001-of-0000")
    assert "model.safetensors.index.json" in found.fix


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"bits": 4}, "an unnamed method"),
    ],
)
def test_a_base_that_is_quantised_already_is_refused_before_its_weights_are_read(
    tiny: Path, how: dict, said: str
) -> None:
    edit(tiny, quantization_config=how)
    (tiny / "model.safetensors").write_bytes(b"never read")
    assert said in refused(tiny, "quantised already").message


def test_truncated_weights(tiny: Path) -> None:
    path = tiny / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1000])
    message = refused(tiny, "model.safetensors").message
    assert f"{size:,}" in message
    assert f"{size - 1000:,}" in message


def test_shapes_that_the_config_does_not_imply(tiny: Path) -> None:
    edit(tiny, intermediate_size=256)
    refused(tiny, r"down_proj\.weight has shape \[64, 128\], config\.json implies \[64, 256\]")


def test_missing_and_extra_tensors(tiny: Path) -> None:
    edit(tiny, num_hidden_layers=4)
    refused(tiny, r"lacks tensor model\.layers\.3")
    edit(tiny, num_hidden_layers=2)
    refused(tiny, r"tensors that a Qwen2ForCausalLM lacks, such as model\.layers\.2")
    edit(tiny, num_hidden_layers=3, tie_word_embeddings=False)
    refused(tiny, r"lacks tensor lm_head\.weight")


@pytest.mark.parametrize("value", [0, -1, "64", None, True])
def test_impossible_config_values(tiny: Path, value: object) -> None:
    edit(tiny, hidden_size=value)
    refused(tiny, "hidden_size is")


@pytest.fixture
def sharded(tmp_path: Path, make_tiny: Callable[..., Path]) -> Path:
    return make_tiny(tmp_path / "sharded", max_shard_bytes=100_000)


def test_shards_hold_what_one_file_holds(sharded: Path, tiny: Path) -> None:
    whole, parts = open_base(tiny), open_base(sharded)
    assert len({e.path for e in parts.entries.values()}) > 2
    assert list(whole.entries) == list(parts.entries)
    assert all((whole.read(name) == parts.read(name)).all() for name in whole.entries)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "/tmp/outside.safetensors",
        "..",
        "a/b.safetensors",
        "..\\x.safetensors",
        7,
        ["x"],
    ],
)
def test_an_index_that_names_a_file_outside(sharded: Path, name: object) -> None:
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.norm.weight"] = name
    index.write_text(json.dumps(content))
    refused(sharded, "not inside its folder")


def test_a_missing_shard_and_a_missing_tensor(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    shard = content["weight_map"]["model.norm.weight"]
    content["weight_map"]["model.absent"] = shard
    index.write_text(json.dumps(content))
    refused(sharded, r"lacks tensor model\.absent")
    content["weight_map"]["model.absent"] = "pytorch_model.bin"
    index.write_text(json.dumps(content))
    refused(sharded, "not safetensors")
    (sharded / shard).unlink()
    refused(sharded, f"names {shard}, which is not there")
    index.write_text("{}")
    refused(sharded, "no weight_map")


def test_weights_of_a_type_that_is_not_read(tiny: Path) -> None:
    path = tiny / "model.safetensors"
    assert read_header(path)["model.norm.weight"].dtype == "BF16"
    path.write_bytes(path.read_bytes().replace(b'"BF16"', b'"I16" '))
    refused(tiny, "stored as I16; supported: F32, F16, BF16")
