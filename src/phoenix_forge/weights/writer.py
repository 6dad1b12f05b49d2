"""Writes a model folder: safetensors in shards, streamed, and the small files copied from the base."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from phoenix_forge.chat.template import FOLDER, TEMPLATE
from phoenix_forge.core.fsio import write_json
from phoenix_forge.weights.safetensors import Tensor, write

SHARD_BYTES = 4_000_000_000
# Everything beside the weights that a model folder may need at run time; a pickle or code file is never among them.
MODEL_FILES = ("config.json", "generation_config.json", "LICENSE", "NOTICE")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    TEMPLATE,
    f"{FOLDER}/tool_use.jinja",
    "tokenizer.model",
)


def plan_shards(
    tensors: Iterable[Tensor], max_shard_bytes: int = SHARD_BYTES
) -> list[list[Tensor]]:
    """Tensors in their order, cut so that no shard exceeds the limit; a tensor above it has a shard of its own."""
    shards: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    return shards


def write_shards(
    folder: Path,
    tensors: Iterable[Tensor],
    *,
    max_shard_bytes: int = SHARD_BYTES,
    on_bytes: Callable[[int], None] | None = None,
) -> list[Path]:
    """model.safetensors, or numbered shards with model.safetensors.index.json; returns the weight files."""
    shards = plan_shards(tensors, max_shard_bytes)
    if len(shards) == 1:
        path = folder / "model.safetensors"
        write(path, shards[0], on_bytes)
        return [path]
    paths = [
        folder / f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)
    ]
    for path, shard in zip(paths, shards, strict=True):
        write(path, shard, on_bytes)
    write_json(
        folder / "model.safetensors.index.json",
        {
            "metadata": {"total_size": sum(t.nbytes for shard in shards for t in shard)},
            "weight_map": {
                t.name: path.name for path, shard in zip(paths, shards, strict=True) for t in shard
            },
        },
    )
    return paths


def copy_side_files(
    source: Path, folder: Path, names: Sequence[str] = MODEL_FILES + TOKENIZER_FILES
) -> list[Path]:
    """Copies config, tokenizer and template files that are there, content only; returns the copies."""
    found = [name for name in names if (source / name).is_file()]
    for name in found:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    return [folder / name for name in found]
