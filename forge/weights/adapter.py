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
# PEFT writes DoRA's magnitudes without ".weight" and reads them either way.
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?:(?P<half>[AB])\.weight|magnitude_vector(\.weight)?)")
_PLAIN = "train a plain LoRA adapter, or merge this one with peft and use the merged folder as base"
_AGAIN = "forge train --force"

# Settings of PEFT's LoraConfig that can ask for more than forge.weights.merge does, with the values that do not.
_ONLY: dict[str, tuple[Any, ...]] = {
    "use_dora": (True, False, None), "bias": ("none", None), "modules_to_save": (None, []),
    "fan_in_fan_out": (False, None), "layer_replication": (None, []), "lora_bias": (False, None),
    "trainable_token_indices": (None, [], {}), "target_parameters": (None, []), "use_qalora": (False, None),
    "use_bdlora": (None, False), "arrow_config": (None,),
    "alora_invocation_tokens": (None, []), "monteclora_config": (None,), "velora_config": (None,),
    "kasa_config": (None,),
    # pissa, olora, corda, loftq and lora_ga rewrite the base's weights when training starts
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}


@dataclass(frozen=True)
class Pair:
    """What one target learnt: `a` is (rank, in), `b` is (out, rank), the delta is b @ a * scaling.

    `magnitude` is (out,), in DoRA adapters only: the length of each row of the merged weight.
    """

    a: Entry
    b: Entry
    scaling: float
    magnitude: Entry | None = None

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry in (self.a, self.b, self.magnitude) if entry]


@dataclass(frozen=True)
class Adapter:
    """`pairs` by the base tensor they change, such as model.layers.0.self_attn.q_proj.weight."""

    folder: Path
    config: dict[str, Any]
    pairs: dict[str, Pair]
    _files: Files = field(default_factory=Files, repr=False, compare=False)

    def fp32(self, entry: Entry) -> np.ndarray:
        """One stored tensor in the type PEFT itself merges in."""
        bits = self._files.read(entry)
        return (bits.astype(np.uint32) << 16).view(np.float32) if entry.dtype == "BF16" else bits.astype(np.float32)

    def require_finite(self) -> None:
        """Reads every weight; raises UsageError at the first NaN or infinity."""
        for name, pair in self.pairs.items():
            for entry in pair.entries:
                bad = int((~np.isfinite(self.fp32(entry))).sum())
                if bad:
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
    modules: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        match = _TENSOR.fullmatch(name)
        if not match:
            raise UsageError(f"{where}: {name} is not a LoRA pair of a linear layer, nor its magnitude (trained "
                             "embeddings, biases and saved modules are not merged)", fix=_PLAIN)
        if entry.dtype not in NUMPY:
            raise UsageError(f"{where}: {name} is stored as {entry.dtype}; supported: {', '.join(NUMPY)}", fix=_PLAIN)
        parts = modules.setdefault(match["module"], {})
        if parts.setdefault(match["half"] or "magnitude", entry) is not entry:
            raise UsageError(f"{where}: {match['module']} has its magnitude twice", fix=_AGAIN)
    if not modules:
        raise UsageError(f"{where} holds no LoRA weights", fix=_AGAIN)
    return {f"{module}.weight": _pair(config, module, parts, where, base) for module, parts in modules.items()}


def _pair(config: dict[str, Any], module: str, parts: dict[str, Entry], where: Path, base: ModelFolder) -> Pair:
    other = f"train an adapter for {base.folder}, or name the base this one was trained on"
    target = base.entries.get(f"{module}.weight")
    if target is None or len(target.shape) != 2:
        raise UsageError(f"{where}: {module} is not a linear layer of the base {base.folder}: the adapter is for "
                         "another base", fix=other)
    rank = _pattern(config.get("rank_pattern"), module, config["r"])
    needed = _shapes(rank, target.shape, dora=bool(config.get("use_dora")))
    if parts.keys() != needed.keys():
        raise UsageError(f"{where}: {module} has {' and '.join(parts)}, but use_dora {config.get('use_dora')} asks for "
                         f"{' and '.join(needed)}", fix=_AGAIN)
    found = {part: parts[part].shape for part in needed}
    if found != needed:
        raise UsageError(f"{where}: {module} has {_spelt(found)}; rank {rank} on the base's {list(target.shape)} needs "
                         f"{_spelt(needed)}: the adapter is for another base", fix=other)
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    scaling = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    return Pair(parts["A"], parts["B"], scaling, parts.get("magnitude"))


def _shapes(rank: int, weight: tuple[int, ...], *, dora: bool) -> dict[str, tuple[int, ...]]:
    rows, columns = weight
    return {"A": (rank, columns), "B": (rows, rank)} | ({"magnitude": (rows,)} if dora else {})


def _spelt(shapes: dict[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{part} {list(shape)}" for part, shape in shapes.items())


def _pattern(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the end of the module's path, at a dot."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
