"""A LoRA adapter folder in PEFT's format, checked against the base it is to be merged with. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import regex

from phoenix_forge.catalog.families import ANY
from phoenix_forge.errors import UsageError
from phoenix_forge.weights.base import ModelFolder, read_json
from phoenix_forge.weights.foreign import stored_as
from phoenix_forge.weights.safetensors import NUMPY, Entry, Files, read_header

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
# What follows a module's name in adapter_model.safetensors → what it is. A wrapper's name stands in between where PEFT
# trained something of that module and also kept it whole.
_PARTS = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_embedding_A": "embedding A",
    "lora_embedding_B": "embedding B",
    # PEFT writes DoRA's magnitudes without ".weight" and reads them either way.
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "token_adapter.trainable_tokens_delta": "tokens",
    "weight": "weight",
    "base_layer.weight": "weight",
    "token_adapter.base_layer.weight": "weight",
    "bias": "bias",
    "base_layer.bias": "bias",
    # A module saved whole whose vocabulary was resized is there three times: as trained, again, and as it was.
    "modules_to_save.weight": "copy",
    "original_module.weight": "copy",
}
_LORA = ("A", "B", "embedding A", "embedding B", "magnitude")
_PATTERN_SECONDS = 0.5  # patterns come with the adapter, and one can be written that takes years
_BLOCK = 4_000_000  # values looked at at a time: a saved embedding has a billion
_PLAIN = "train a plain LoRA adapter, or merge this one with peft and use the merged folder as base"
_AGAIN = "forge train --force"

# Settings of PEFT's LoraConfig that can ask for more than phoenix_forge.weights.merge does, with the values that do
# not.
_ONLY: dict[str, tuple[Any, ...]] = {
    "use_dora": (True, False, None),
    "bias": ("none", "all", "lora_only", None),
    "fan_in_fan_out": (False, None),
    "layer_replication": (None, []),
    "lora_bias": (False, None),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "use_bdlora": (None, False),
    "arrow_config": (None,),
    "alora_invocation_tokens": (None, []),
    "monteclora_config": (None,),
    "velora_config": (None,),
    "kasa_config": (None,),
    # pissa, olora, corda, loftq and lora_ga rewrite the base's weights when training starts: see _FIXES
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}


def _is_rank(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 31


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


def _all(good: Callable[[object], bool], kind: type) -> Callable[[object], bool]:
    """Absent, or a list (a dict of values) that are all good."""

    def check(value: object) -> bool:
        items = (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
        return value is None or (isinstance(value, kind) and all(map(good, items)))

    return check


_KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "r": ("a positive number", _is_rank),
    "lora_alpha": ("a positive number", _is_alpha),
    "rank_pattern": ("ranks by pattern", _all(_is_rank, dict)),
    "alpha_pattern": ("numbers by pattern", _all(_is_alpha, dict)),
    "modules_to_save": ("a list of names", _all(lambda value: isinstance(value, str), list)),
}
_FIXES = {
    "init_lora_weights": "save it with path_initial_model_for_weight_conversion, which makes it plain LoRA on "
    "the base as it was (peft's documentation, PiSSA)"
}


@dataclass(frozen=True)
class Pair:
    """What one target learnt: `a` is (rank, in), `b` is (out, rank), the delta is b @ a * scaling.

    `magnitude` is (out,), in DoRA adapters only: the length of each row of the merged weight. An embedding's delta is
    `transposed`: a row of the weight is a column of b @ a.
    """

    a: Entry
    b: Entry
    scaling: float
    magnitude: Entry | None = None
    transposed: bool = False

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry in (self.a, self.b, self.magnitude) if entry]


@dataclass(frozen=True)
class Tokens:
    """Rows trained by themselves: `rows` is (ids, hidden) and replaces those of `ids` in an embedding."""

    ids: list[int]
    rows: Entry


@dataclass(frozen=True)
class Adapter:
    """Everything by the base tensor it changes, such as model.layers.0.self_attn.q_proj.weight.

    `model` is what the merged model consists of: the base's config with the vocabulary that the adapter has and with
    its embeddings tied or no longer, every tensor's shape, and where it starts from: in the base's files, or in the
    adapter's own where PEFT saved it whole (`saved`). `twins` are tensors stored twice that have to be equal.
    """

    folder: Path
    config: dict[str, Any]
    pairs: dict[str, Pair]
    saved: dict[str, Entry]
    tokens: dict[str, Tokens]
    model: ModelFolder
    twins: list[tuple[Entry, Entry]]
    _files: Files = field(default_factory=Files, repr=False, compare=False)

    def fp32(self, entry: Entry) -> np.ndarray:
        """One stored tensor in the type PEFT itself merges in."""
        return _fp32(self._files.read(entry), entry.dtype)

    def require_sound(self) -> None:
        """Reads every weight. Raises UsageError at the first NaN or infinity, and where the input and output embeddings
        of a tied base were saved and differ."""
        for name, entry in self._entries():
            flat = self._files.read(entry).reshape(-1)
            blocks = (flat[i : i + _BLOCK] for i in range(0, flat.size, _BLOCK))
            bad = sum(int((~np.isfinite(_fp32(block, entry.dtype))).sum()) for block in blocks)
            if bad:
                raise UsageError(
                    f"{entry.path}: the adapter of {name} has {bad:,} NaN or infinite values: its "
                    "training diverged",
                    fix="train again with a lower train.learning_rate",
                )
        for one, other in self.twins:
            if not np.array_equal(self._files.read(one), self._files.read(other)):
                raise UsageError(
                    f"{one.path}: {EMBEDDING} and {HEAD} differ, but the base ties them to one tensor",
                    fix="name both in modules_to_save when training, or use the base untied",
                )

    def _entries(self) -> Iterator[tuple[str, Entry]]:
        for name, pair in self.pairs.items():
            yield from ((name, entry) for entry in pair.entries)
        yield from self.saved.items()
        yield from ((name, tokens.rows) for name, tokens in self.tokens.items())


def _fp32(bits: np.ndarray, dtype: str) -> np.ndarray:
    return (
        (bits.astype(np.uint32) << 16).view(np.float32)
        if dtype == "BF16"
        else bits.astype(np.float32)
    )


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
            raise UsageError(
                f"{folder} has only adapter_model.bin: pickle refused, it can run code when loaded",
                fix="save the adapter as safetensors (PEFT's default)",
            )
        raise UsageError(f"{folder} has no {WEIGHTS}", fix="forge train")
    return _matched(folder, config, _modules(read_header(weights), weights), weights, base)


def _require_plain(config: dict[str, Any], where: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise UsageError(
            f"{where}: peft_type {config.get('peft_type')!r} is not supported; supported: LORA",
            fix=_PLAIN,
        )
    for key, harmless in _ONLY.items():
        value = config.get(key)
        if value not in harmless:
            raise UsageError(
                f"{where}: {key} is {value!r}, which cannot be merged exactly",
                fix=_FIXES.get(key, _PLAIN),
            )
    for key, (expected, good) in _KINDS.items():
        if not good(config.get(key)):
            raise UsageError(
                f"{where}: {key} is {config.get(key)!r}, expected {expected}", fix=_AGAIN
            )


Parts = dict[str, Entry]


def _modules(entries: dict[str, Entry], where: Path) -> dict[str, Parts]:
    """What is stored of each module, by the names in _PARTS."""
    modules: dict[str, Parts] = {}
    for name, entry in entries.items():
        # The longest first: base_layer.weight also ends in weight.
        suffix = next(
            (s for s in sorted(_PARTS, key=len, reverse=True) if name.endswith(f".{s}")), None
        )
        if (
            suffix is None
            or not name.startswith(_PREFIX)
            or len(name) <= len(_PREFIX) + len(suffix)
        ):
            raise UsageError(
                f"{where}: {name} is nothing that a LoRA adapter is known to hold", fix=_PLAIN
            )
        if entry.dtype not in NUMPY:
            raise UsageError(
                f"{where}: {name} is stored as {entry.dtype}; supported: {', '.join(NUMPY)}",
                fix=_PLAIN,
            )
        module, part = name[len(_PREFIX) : -len(suffix) - 1], _PARTS[suffix]
        if part != "copy" and modules.setdefault(module, {}).setdefault(part, entry) is not entry:
            raise UsageError(f"{where}: {module} has its {part} twice", fix=_AGAIN)
    return modules


def _matched(
    folder: Path, config: dict[str, Any], modules: dict[str, Parts], where: Path, base: ModelFolder
) -> Adapter:
    _require_explained(config, modules, where)
    if base.family.name == ANY:
        modules = {
            stored_as(module, base.entries) or module: parts for module, parts in modules.items()
        }
    untied = (
        base.tied
        and not config.get("ensure_weight_tying")
        and any(_kept(config, module) for module in (EMBEDDING, HEAD) if module in modules)
    )
    if modules.keys() & {EMBEDDING, HEAD} and (folder / "tokenizer.json").is_file():
        base = replace(base, tokenizer=folder)  # whoever adds tokens saves it beside the adapter
    base = replace(base, adapter=folder)
    twins = _drop_twin(config, modules, where) if base.tied and not untied else []
    saved = {
        f"{module}.{part}": parts[part]
        for module, parts in modules.items()
        for part in ("weight", "bias")
        if part in parts
    }
    model = _model(base, saved, where, untied=untied)
    pairs = {
        f"{module}.weight": _pair(config, module, parts, where, model)
        for module, parts in modules.items()
        if parts.keys() & set(_LORA)
    }
    tokens = {
        f"{module}.weight": _tokens(config, module, parts, where, model)
        for module, parts in modules.items()
        if "tokens" in parts
    }
    if not pairs:
        raise UsageError(f"{where} holds no LoRA weights", fix=_AGAIN)
    return Adapter(folder, config, pairs, saved, tokens, model, twins)


def _kept(config: dict[str, Any], module: str) -> bool:
    """PEFT's rule for modules_to_save: the end of the module's path."""
    return any(module.endswith(kept) for kept in config.get("modules_to_save") or ())


def _require_explained(config: dict[str, Any], modules: dict[str, Parts], where: Path) -> None:
    """Refuses a whole tensor that no setting asks for, and a setting whose tensors are not there."""
    for module, parts in modules.items():
        kept = _kept(config, module)
        asked = {
            "weight": kept or module in (EMBEDDING, HEAD),
            "bias": kept or config.get("bias") in ("all", "lora_only"),
        }
        if any(part in parts and not ok for part, ok in asked.items()):
            raise UsageError(
                f"{where}: {module} is stored whole, which neither modules_to_save "
                f"{config.get('modules_to_save')} nor bias {config.get('bias')!r} asks for",
                fix=_AGAIN,
            )
    for kept in config.get("modules_to_save") or ():
        if not any(
            module.endswith(kept) and parts.keys() & {"weight", "bias"}
            for module, parts in modules.items()
        ):
            raise UsageError(
                f"{where}: modules_to_save names {kept}, of which nothing is stored", fix=_AGAIN
            )
    trained = config.get("trainable_token_indices")
    if trained and not any("tokens" in parts for parts in modules.values()):
        raise UsageError(
            f"{where}: trainable_token_indices is {trained!r}, but no rows are stored", fix=_AGAIN
        )


def _drop_twin(
    config: dict[str, Any], modules: dict[str, Parts], where: Path
) -> list[tuple[Entry, Entry]]:
    """A tied base has one matrix for both ends: what is stored of the output is the input's again."""
    embedding, head = modules.get(EMBEDDING, {}), modules.pop(HEAD, {})
    trained = config.get("trainable_token_indices")
    apart = isinstance(trained, dict) and len({str(ids) for ids in trained.values()}) > 1
    if head.keys() - embedding.keys() or head.keys() & set(_LORA) or ("tokens" in head and apart):
        raise UsageError(
            f"{where}: {HEAD} has {' and '.join(head)} of its own, but the base ties it to {EMBEDDING}",
            fix="train the embedding alone, or use the base with tie_word_embeddings false",
        )
    if config.get("ensure_weight_tying") and embedding.keys() & set(_LORA):
        raise UsageError(
            f"{where}: ensure_weight_tying with LoRA on {EMBEDDING} of a tied base is not merged exactly",
            fix=_PLAIN,
        )
    return [(embedding[part], head[part]) for part in head]


def _model(base: ModelFolder, saved: dict[str, Entry], where: Path, *, untied: bool) -> ModelFolder:
    """The base as the adapter makes it. Raises UsageError where a saved tensor is none of it or of another shape."""
    config = base.config | ({"tie_word_embeddings": False} if untied else {})
    rows, found = base.config.get("vocab_size", 0), base.entries | saved
    if embedding := base.entries.get(
        f"{EMBEDDING}.weight"
    ):  # a family without a row may call it otherwise
        rows = found[f"{EMBEDDING}.weight"].shape[0]
        found = {f"{HEAD}.weight": embedding} | found
        if rows != embedding.shape[0]:
            config |= {"vocab_size": rows}
    shapes = base.shapes(config, str(where))
    other = f"train an adapter for {base.folder}, or name the base this one was trained on"
    for name in saved.keys() - shapes.keys():
        raise UsageError(
            f"{where}: {name} is no tensor of the base {base.folder}: the adapter is for another base",
            fix=other,
        )
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise UsageError(
                f"{where}: with an embedding of {rows:,} rows {name} is to be {list(shape)}, found "
                f"{list(found[name].shape)}",
                fix=other,
            )
    return replace(base, config=config, entries={name: found[name] for name in shapes})


def _tokens(
    config: dict[str, Any], module: str, parts: Parts, where: Path, model: ModelFolder
) -> Tokens:
    trained = config.get("trainable_token_indices")
    ids = (
        next((v for k, v in trained.items() if module.endswith(k)), None)
        if isinstance(trained, dict)
        else trained
        if module == EMBEDDING
        else None
    )
    target = model.entries.get(f"{module}.weight")
    if target is None or module not in (EMBEDDING, HEAD) or parts.keys() & set(_LORA):
        raise UsageError(
            f"{where}: rows of {module} are trained by themselves, which is merged for embeddings "
            "only and not beside LoRA",
            fix=_PLAIN,
        )
    rows, width = target.shape
    known = isinstance(ids, list) and all(isinstance(i, int) and 0 <= i < rows for i in ids)
    if (
        not isinstance(ids, list)
        or not known
        or len(set(ids)) < len(ids)
        or parts["tokens"].shape != (len(ids), width)
    ):
        raise UsageError(
            f"{where}: {module} has trained rows {list(parts['tokens'].shape)} for "
            f"trainable_token_indices {ids!r}; the embedding is {[rows, width]}",
            fix=_AGAIN,
        )
    return Tokens(ids, parts["tokens"])


def _pair(
    config: dict[str, Any], module: str, parts: Parts, where: Path, model: ModelFolder
) -> Pair:
    other = f"train an adapter for {model.folder}, or name the base this one was trained on"
    target = model.entries.get(f"{module}.weight")
    if target is None or len(target.shape) != 2:
        raise UsageError(
            f"{where}: {module} is not a linear layer of the base {model.folder}: the adapter is for "
            "another base",
            fix=other,
        )
    rank = _pattern(config.get("rank_pattern"), module, config["r"], where)
    dora, transposed = bool(config.get("use_dora")), module == EMBEDDING
    if dora and transposed:
        raise UsageError(f"{where}: use_dora on {EMBEDDING} is not merged exactly", fix=_PLAIN)
    needed = _shapes(rank, target.shape, dora=dora, transposed=transposed)
    lora = {part: parts[part] for part in _LORA if part in parts}
    if lora.keys() != needed.keys():
        raise UsageError(
            f"{where}: {module} has {' and '.join(lora)}, but use_dora {config.get('use_dora')} asks for "
            f"{' and '.join(needed)}",
            fix=_AGAIN,
        )
    found = {part: lora[part].shape for part in needed}
    if found != needed:
        raise UsageError(
            f"{where}: {module} has {_spelt(found)}; rank {rank} on the base's {list(target.shape)} needs "
            f"{_spelt(needed)}: the adapter is for another base",
            fix=other,
        )
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"], where)
    scaling = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    a, b = (lora[part] for part in list(needed)[:2])
    return Pair(a, b, scaling, lora.get("magnitude"), transposed)


def _shapes(
    rank: int, weight: tuple[int, ...], *, dora: bool, transposed: bool
) -> dict[str, tuple[int, ...]]:
    rows, columns = weight
    if transposed:
        return {"embedding A": (rank, rows), "embedding B": (columns, rank)}
    return {"A": (rank, columns), "B": (rows, rank)} | ({"magnitude": (rows,)} if dora else {})


def _spelt(shapes: dict[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{part} {list(shape)}" for part, shape in shapes.items())


def _pattern(patterns: dict[str, Any] | None, module: str, default: Any, where: Path) -> Any:
    """PEFT's rule: the first pattern that matches the end of the module's path, at a dot."""
    for pattern, value in (patterns or {}).items():
        try:
            if regex.match(rf"(.*\.)?({pattern})$", module, timeout=_PATTERN_SECONDS):
                return value
        except (regex.error, TimeoutError) as error:
            raise UsageError(
                f"{where}: the pattern {pattern!r} cannot be used: {str(error) or type(error).__name__}",
                fix="write the module's name, or an expression that matches at once",
            ) from None
    return default
