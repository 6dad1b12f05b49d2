"""A LoRA adapter folder in PEFT's format, checked against the base it is to be merged with. No torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forge.errors import UsageError
from forge.weights.base import ModelFolder, read_json
from forge.weights.safetensors import NUMPY, Entry, Files, read_header

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight")
_PLAIN = "train a plain LoRA adapter, or merge this one with peft and use the merged folder as base"

# Settings of PEFT's LoraConfig that can make base + B·A·scaling less than the whole truth, with their harmless values.
_ONLY: dict[str, tuple[Any, ...]] = {
    "use_dora": (False, None), "bias": ("none", None), "modules_to_save": (None, []), "fan_in_fan_out": (False, None),
    "layer_replication": (None, []), "lora_bias": (False, None), "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []), "use_qalora": (False, None), "use_bdlora": (None, False), "arrow_config": (None,),
    "alora_invocation_tokens": (None, []), "monteclora_config": (None,), "velora_config": (None,),
    "kasa_config": (None,),
    # pissa, olora, corda, loftq and lora_ga rewrite the base's weights when training starts
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}


@dataclass(frozen=True)
class Pair:
    """The two halves of one target: `a` is (rank, in), `b` is (out, rank); the delta is b @ a * scaling."""

    a: Entry
    b: Entry
    scaling: float


@dataclass(frozen=True)
class Adapter:
    """`pairs` by the base tensor they change, such as model.layers.0.self_attn.q_proj.weight."""

    folder: Path
    config: dict[str, Any]
    pairs: dict[str, Pair]
    _files: Files = field(default_factory=Files, repr=False, compare=False)

    def halves(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A and B of one target as fp32, the type PEFT itself merges in."""
        pair = self.pairs[name]
        return self._fp32(pair.a), self._fp32(pair.b)

    def _fp32(self, entry: Entry) -> np.ndarray:
        bits = self._files.read(entry)
        return (bits.astype(np.uint32) << 16).view(np.float32) if entry.dtype == "BF16" else bits.astype(np.float32)

    def require_finite(self) -> None:
        """Reads every weight; raises UsageError at the first NaN or infinity."""
        for pair in self.pairs.values():
            for entry in (pair.a, pair.b):
                bad = int((~np.isfinite(self._fp32(entry))).sum())
                if bad:
                    name = next(n for n, p in self.pairs.items() if p is pair)
                    raise UsageError(f"{entry.path}: the adapter of {name} has {bad:,} NaN or infinite values: its "
                                     "training diverged", fix="train again with a lower train.learning_rate")


def open_adapter(folder: Path, base: ModelFolder) -> Adapter:
    """Opens an adapter by config and header and matches it to `base`, tensor by tensor.

    `base_model_name_or_path` is not compared: a base can be renamed or moved; names and shapes decide.
    Raises UsageError where the folder is not a LoRA adapter, uses a feature that is not merged exactly, or does not
    fit.
    """
    config_file = folder / CONFIG
    if not folder.is_dir():
        raise UsageError(f"there is no adapter folder {folder}", fix="forge train")
    if not config_file.exists():
        raise UsageError(f"{folder} is not an adapter: it has no {CONFIG}", fix="forge train")
    config = read_json(config_file)
    _require_plain(config, config_file)
    weights = folder / WEIGHTS
    if not weights.exists():
        if (folder / "adapter_model.bin").exists():
            raise UsageError(f"{folder} has only adapter_model.bin: pickle refused, it can run code when loaded",
                             fix="save the adapter as safetensors (PEFT's default)")
        raise UsageError(f"{folder} has no {WEIGHTS}", fix="forge train")
    return Adapter(folder, config, _pairs(config, read_header(weights), weights, base))


def _require_plain(config: dict[str, Any], where: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise UsageError(f"{where}: peft_type {config.get('peft_type')!r} is not supported; supported: LORA",
                         fix=_PLAIN)
    for key, harmless in _ONLY.items():
        value = config.get(key)
        if value not in harmless:
            raise UsageError(f"{where}: {key} is {value!r}, which cannot be merged exactly", fix=_PLAIN)
    for key in ("r", "lora_alpha"):
        if not isinstance(config.get(key), int | float) or config[key] <= 0:
            raise UsageError(f"{where}: {key} is {config.get(key)!r}, expected a positive number", fix="forge train")


def _pairs(config: dict[str, Any], entries: dict[str, Entry], where: Path, base: ModelFolder) -> dict[str, Pair]:
    halves: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        match = _TENSOR.fullmatch(name)
        if not match:
            raise UsageError(f"{where}: {name} is not a LoRA pair of a linear layer (trained embeddings, DoRA "
                             "magnitudes, biases and saved modules are not merged)", fix=_PLAIN)
        if entry.dtype not in NUMPY:
            raise UsageError(f"{where}: {name} is stored as {entry.dtype}; supported: {', '.join(NUMPY)}", fix=_PLAIN)
        halves.setdefault(match["module"], {})[match["half"]] = entry
    if not halves:
        raise UsageError(f"{where} holds no LoRA weights", fix="forge train --force")
    return {f"{module}.weight": _pair(config, module, pair, where, base) for module, pair in halves.items()}


def _pair(config: dict[str, Any], module: str, pair: dict[str, Entry], where: Path, base: ModelFolder) -> Pair:
    if len(pair) != 2:
        raise UsageError(f"{where}: {module} has only half of its LoRA pair", fix="forge train --force")
    other = f"train an adapter for {base.folder}, or name the base this one was trained on"
    target = base.entries.get(f"{module}.weight")
    if target is None or len(target.shape) != 2:
        raise UsageError(f"{where}: {module} is not a linear layer of the base {base.folder}: the adapter is for "
                         "another base", fix=other)
    a, b = pair["A"], pair["B"]
    rank = _pattern(config.get("rank_pattern"), module, config["r"])
    if (a.shape, b.shape) != ((rank, target.shape[1]), (target.shape[0], rank)):
        raise UsageError(f"{where}: {module} has A {list(a.shape)} and B {list(b.shape)}; rank {rank} on the base's "
                         f"{list(target.shape)} needs A {[rank, target.shape[1]]} and B {[target.shape[0], rank]}: "
                         "the adapter is for another base", fix=other)
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return Pair(a, b, alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _pattern(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the end of the module's path, at a dot."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
