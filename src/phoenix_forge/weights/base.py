"""A base (or merged) model folder: config.json and safetensors, checked by their headers, read tensor by tensor.

Opening reads headers only and imports no torch, so pre-flight checks can afford it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_forge.catalog import memory
from phoenix_forge.catalog.bases import require_plain
from phoenix_forge.catalog.families import ANY, Family
from phoenix_forge.errors import UsageError
from phoenix_forge.weights.files import AGAIN as _AGAIN
from phoenix_forge.weights.files import read_json
from phoenix_forge.weights.foreign import family_of
from phoenix_forge.weights.layout import Shapes, layout, tied
from phoenix_forge.weights.safetensors import NUMPY, Entry, Files, Tensor, read_header

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD = "lm_head.weight"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,200}")  # no path, on any system
_SKIPPED = (
    ".rotary_emb.inv_freq",
    ".attention.masked_bias",
)  # derived buffers that old exports carry


@dataclass(frozen=True)
class ModelFolder:
    """`entries` are exactly the tensors that the config asks for, in canonical order (see
    phoenix_forge.weights.layout); of a family without a row all that are stored, by name.
    `tokenizer` is the folder of its tokenizer files: an adapter that adds tokens may bring its own. `adapter` is the
    folder of the adapter, which may bring a chat template."""

    folder: Path
    config: dict[str, Any]
    family: Family
    entries: dict[str, Entry]
    tokenizer: Path
    _files: Files = field(default_factory=Files, repr=False, compare=False)
    adapter: Path | None = None

    @property
    def tied(self) -> bool:
        if self.family.name == ANY:
            return HEAD not in self.entries
        return tied(self.family.name, self.config)

    @property
    def sizes(self) -> memory.Sizes:
        """Of its layers, for predictions."""
        if self.family.name == ANY:
            return memory.equivalent(self.config, self.parameters, self.tied)
        return memory.sizes(self.config)

    def shapes(self, config: dict[str, Any], where: str) -> Shapes:
        """What the model would consist of with another config.json; of a family without a row, what it does."""
        if self.family.name == ANY:
            return {name: entry.shape for name, entry in self.entries.items()}
        return layout(self.family.name, config, where)

    @property
    def parameters(self) -> int:
        return sum(math.prod(entry.shape) for entry in self.entries.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(entry.nbytes for entry in self.entries.values())

    def read(self, name: str) -> np.ndarray:
        """One tensor as a view of the file; BF16 as raw bits in uint16."""
        return self._files.read(self.entries[name])

    def tensors(self) -> Iterator[Tensor]:
        for name, entry in self.entries.items():
            yield Tensor(name, entry.dtype, entry.shape, partial(self.read, name))


def open_base(folder: Path) -> ModelFolder:
    """Opens a model folder by config and headers.

    Raises UsageError where the folder is absent, its architecture unsupported (told before anything else is read), its
    weights are pickles, damaged, incomplete, or not of the shapes that config.json implies.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no model folder {folder}", fix="forge download")
    config_file = folder / "config.json"
    config = read_json(config_file)
    family = family_of(folder, config)
    require_plain(config, str(config_file))
    stored = _stored(folder)
    if family.name == ANY:
        plain = {name: entry.shape for name, entry in sorted(stored.items())}
        return ModelFolder(
            folder,
            config,
            family,
            {name: _checked(folder, name, shape, stored) for name, shape in plain.items()},
            folder,
        )
    shapes = layout(family.name, config, str(config_file))
    extra = [n for n in stored if n not in shapes and not n.endswith(_SKIPPED) and n != HEAD]
    if extra:
        raise UsageError(
            f"{folder} has {len(extra)} tensors that a {family.architecture} lacks, such as {extra[0]}",
            fix="choose a base of a supported architecture",
        )
    return ModelFolder(
        folder,
        config,
        family,
        {n: _checked(folder, n, shape, stored) for n, shape in shapes.items()},
        folder,
    )


def _checked(folder: Path, name: str, shape: tuple[int, ...], stored: dict[str, Entry]) -> Entry:
    entry = stored.get(name)
    if entry is None:
        raise UsageError(f"{folder} lacks tensor {name}, which its config.json implies", fix=_AGAIN)
    if entry.dtype not in NUMPY:
        raise UsageError(
            f"{entry.path}: tensor {name} is stored as {entry.dtype}; supported: {', '.join(NUMPY)}",
            fix="choose the 16-bit version of this base",
        )
    if entry.shape != shape:
        raise UsageError(
            f"{entry.path}: tensor {name} has shape {list(entry.shape)}, config.json implies "
            f"{list(shape)}",
            fix=_AGAIN,
        )
    return entry


def _stored(folder: Path) -> dict[str, Entry]:
    """Every tensor in the folder's weight files; an index decides which shard holds which."""
    if (folder / INDEX).exists():
        return _sharded(folder)
    if (folder / SINGLE).exists():
        return read_header(_inside(folder, SINGLE, folder))
    if shards := sorted(path.name for path in folder.glob("*.safetensors")):
        shown = ", ".join(shards[:3]) + (" …" if len(shards) > 3 else "")
        raise UsageError(
            f"{folder} holds {shown}, and no {INDEX} that says which tensor is in which of them",
            fix=f"put {INDEX} beside them, from where the files are from",
        )
    pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    if pickles:
        raise UsageError(
            f"{folder} has only pickle weights ({', '.join(pickles[:3])}): refused, a pickle can run code "
            "when it is loaded",
            fix="choose a base that ships safetensors",
        )
    raise UsageError(f"{folder} has neither {SINGLE} nor {INDEX}", fix=_AGAIN)


def _inside(folder: Path, name: str, where: Path) -> Path:
    """A weight file of the folder itself: a link may stay inside it, or lead into the Hub cache that it belongs to."""
    path, home = folder / name, folder.resolve()
    if not path.is_file():
        raise UsageError(
            f"{where} names {name}, which is not there, or no file"
            if where != folder
            else f"{path} is no file",
            fix=_AGAIN,
        )
    found = path.resolve()
    cache = (
        home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    )  # models--ORG--NAME/snapshots/COMMIT
    if not found.is_relative_to(home) and found.parent != cache:
        raise UsageError(
            f"{path} is a link to {found}, which is not inside its folder: refused",
            fix="put the file itself there, or name the folder that it lies in as base",
        )
    return path


def _sharded(folder: Path) -> dict[str, Entry]:
    index = folder / INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UsageError(f"{index} has no weight_map", fix=_AGAIN)
    headers: dict[str, dict[str, Entry]] = {}
    for shard in places.values():
        if isinstance(shard, str) and shard in headers:
            continue
        if not isinstance(shard, str) or not _FILE_NAME.fullmatch(shard):
            raise UsageError(
                f"{index} names the file {shard!r:.100}, which is not inside its folder: refused",
                fix="do not use this model folder; fetch the base from a source you trust",
            )
        if not shard.endswith(".safetensors"):
            raise UsageError(
                f"{index} names {shard}, which is not safetensors: refused",
                fix="choose a base that ships safetensors",
            )
        headers[shard] = read_header(_inside(folder, shard, index))
    absent = [name for name, shard in places.items() if name not in headers[shard]]
    if absent:
        raise UsageError(
            f"{folder / places[absent[0]]} lacks tensor {absent[0]}, which the index says it holds",
            fix=_AGAIN,
        )
    return {name: headers[shard][name] for name, shard in places.items()}
