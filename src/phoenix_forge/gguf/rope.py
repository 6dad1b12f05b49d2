"""Rotary embeddings: config.json's settings, and what of them is written as tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phoenix_forge.errors import UsageError
from phoenix_forge.weights.layout import number

Config = dict[str, Any]


def rope(config: Config, kind: str = "full_attention") -> dict[str, Any]:
    """Rotary settings of one kind of layers, from transformers 5's rope_parameters or the older rope_theta and
    rope_scaling; `rope_theta` and `rope_type` are always there."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found = (
        dict(found.get(kind) or {})
        if "full_attention" in found or "sliding_attention" in found
        else found
    )
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    found["rope_type"] = found.get("rope_type", found.get("type", "default"))
    for key in ("partial_rotary_factor", "original_max_position_embeddings"):
        if config.get(key) is not None:
            found.setdefault(key, config[key])
    return found


def local_theta(config: Config) -> float | None:
    """The base of the layers that see a window only, where they have one of their own."""
    sliding = (config.get("rope_parameters") or {}).get("sliding_attention") or {}
    return sliding.get("rope_theta", config.get("rope_local_base_freq"))


def real(value: object, key: str, where: str) -> float:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise UsageError(
            f"{where}: {key} is {value!r}, expected a positive number", fix="forge download --force"
        )
    return float(value)


def head_width(config: Config) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def rotated(config: Config) -> int:
    """How many values of a head are rotated."""
    return (
        int(rope(config).get("partial_rotary_factor", 1.0) * config["hidden_size"])
        // config["num_attention_heads"]
    )


def llama3_factors(config: Config, where: str) -> dict[str, np.ndarray]:
    """What each frequency is divided by where rope_type is llama3 (transformers' modeling_rope_utils describes it).

    Short wavelengths stay, long ones are stretched by `factor`, between them it goes smoothly; as float32 arithmetic
    has it in torch, since the last bit counts: a number over a tensor is the tensor's reciprocal times the number.
    """
    settings = rope(config)
    if settings["rope_type"] != "llama3":
        return {}
    import torch

    width, one = head_width(config), np.float32(1)
    theta = real(settings["rope_theta"], "rope_theta", where)
    factor = real(settings.get("factor", 8.0), "rope factor", where)
    low = real(settings.get("low_freq_factor", 1.0), "low_freq_factor", where)
    high = real(settings.get("high_freq_factor", 4.0), "high_freq_factor", where)
    before = real(
        settings.get("original_max_position_embeddings", 8192),
        "original_max_position_embeddings",
        where,
    )
    frequencies = (1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)).numpy()
    found = []
    for wavelength in (one / frequencies) * np.float32(2 * math.pi):
        if wavelength < before / high:
            found.append(one)
        elif wavelength > before / low:
            found.append(np.float32(factor))
        else:
            smooth = ((one / wavelength) * np.float32(before) - np.float32(low)) / np.float32(
                high - low
            )
            found.append(one / ((one - smooth) / np.float32(factor) + smooth))
    return {"rope_freqs.weight": np.array(found, np.float32)}


def longrope_factors(config: Config, where: str) -> dict[str, np.ndarray]:
    """Phi's factors for short and long contexts, as config.json lists them: one for each pair of rotated values."""
    settings = rope(config)
    found = {}
    for key in ("long_factor", "short_factor"):
        values = settings.get(key)
        if values is None and settings["rope_type"] == "default":
            continue
        if not isinstance(values, list) or len(values) != rotated(config) // 2:
            raise UsageError(
                f"{where}: rope {key} has {len(values) if isinstance(values, list) else values} values, "
                f"expected {rotated(config) // 2}",
                fix="forge download --force",
            )
        found[f"rope_factors_{key.partition('_')[0]}.weight"] = np.array(values, np.float32)
    return found


def attention_factor(config: Config, where: str) -> float | None:
    """What longrope multiplies attention by: sqrt(1 + ln(s) / ln(original context)) for a context stretched s times
    (LongRoPE, arXiv 2402.13753)."""
    settings = rope(config)
    if not settings.get("long_factor"):
        return None
    before = number(settings, "original_max_position_embeddings", where)
    scale = number(config, "max_position_embeddings", where) / before
    stretched = {
        "su": lambda: math.sqrt(1 + math.log(scale) / math.log(before)),
        "longrope": lambda: math.sqrt(1 + math.log(scale) / math.log(before)),
        "yarn": lambda: 0.1 * math.log(scale) + 1.0,
    }.get(settings["rope_type"])
    if stretched is None:
        raise UsageError(
            f"{where}: rope_type {settings['rope_type']!r} is not supported; supported: longrope, su, "
            "yarn",
            fix="choose a base with plain rotary embeddings",
        )
    return stretched() if scale > 1.0 else 1.0
