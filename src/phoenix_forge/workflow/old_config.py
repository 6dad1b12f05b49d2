"""The workflow's YAML files, read as settings of the one config. Rows, not code: old key → new key."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phoenix_forge.core.checkout import CHECKOUT
from phoenix_forge.core.config import dotted, profile_layer, read_yaml
from phoenix_forge.errors import UsageError
from phoenix_forge.project.settings import Layer

PROFILE = Path(__file__).with_name("sanctuary.yaml")

Translate = Callable[[Any], dict[str, Any]]


def _to(key: str, convert: Callable[[Any], Any] = lambda value: value) -> Translate:
    return lambda value: {key: convert(value)}


def _precision(value: str) -> dict[str, Any]:
    return {
        "train.precision": {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}.get(
            value, value
        )
    }


def _when(key: str, value: Any) -> Translate:
    return lambda flag: {key: value} if flag else {}


def _adapter(value: str) -> dict[str, Any]:
    """The adapter's folder also names the model: models/NAME-adapter."""
    return {"paths.adapter": value, "model.name": Path(value).name.removesuffix("-adapter")}


def _base_folder(value: str) -> dict[str, Any]:
    """models/base/ORG/NAME is where `forge download` puts ORG/NAME; any other folder is a base of its own."""
    parts = Path(value).parts
    return {"model.base": "/".join(parts[2:]) if parts[:2] == ("models", "base") else value}


OPTIMIZERS = {"adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_bnb_8bit": "adamw_8bit"}
SAME = "always so"  # settings that state what Forge does anyway
GONE = "no longer needed"

# One table a file, recognised by the keys it holds. A string instead of a translation: accepted, and why it is unused.
TRAINING: dict[str, Translate | str] = {
    "model.base_model_name": _to("model.base"),
    "model.final_adapter_path": _adapter,
    "data.train_file": _to("paths.dataset"),
    "data.val_file": _to("paths.validation"),
    "max_seq_length": _to("train.max_length"),
    "max_length": _to("train.max_length"),
    "use_bf16": _when("train.precision", "bf16"),
    "torch_dtype": _precision,
    "quantization.load_in_4bit": lambda on: {"train.method": "auto" if on else "lora"},
    "quantization.bnb_4bit_quant_type": f"{SAME}: NF4",
    "quantization.bnb_4bit_compute_dtype": "follows torch_dtype",
    "quantization.bnb_4bit_use_double_quant": "scales are kept in 16 bits: closer, and 0.1 GB more at 7B",
    "lora.r": _to("train.rank"),
    "lora.lora_alpha": _to("train.alpha"),
    "lora.lora_dropout": _to("train.dropout"),
    "lora.bias": f"{SAME}: none",
    "lora.task_type": SAME,
    "lora.target_modules": _to("train.targets"),
    "training.output_dir": _to("paths.checkpoints"),
    "training.num_train_epochs": _to("train.epochs"),
    "training.max_steps": lambda n: {"train.max_steps": n} if n > 0 else {},
    "training.per_device_train_batch_size": _to("train.micro_batch"),
    "training.optim": _to("train.optimizer", lambda v: OPTIMIZERS.get(v, v)),
    "training.logging_steps": _to("train.log_steps"),
    "training.learning_rate": _to("train.learning_rate", float),
    "training.max_grad_norm": _to("train.max_grad_norm"),
    "training.warmup_ratio": _to("train.warmup"),
    "training.lr_scheduler_type": _to("train.schedule"),
    "training.save_strategy": f"{SAME}: steps",
    "training.save_steps": _to("train.save_steps"),
    "training.save_total_limit": _to("train.keep_checkpoints"),
    "training.fp16": _when("train.precision", "fp16"),
    "training.bf16": _when("train.precision", "bf16"),
    "training.gradient_checkpointing": _to("train.recompute"),
    "training.evaluation_strategy": "the validation file is used whenever it has examples",
    "training.eval_strategy": "the validation file is used whenever it has examples",
    "training.eval_steps": "measured at every checkpoint",
    "training.load_best_model_at_end": _when("train.select", "best"),
    "training.metric_for_best_model": GONE,
    "training.dataloader_num_workers": GONE,
    "training.dataloader_pin_memory": GONE,
    "training.seed": _to("train.seed"),
    "training.report_to": _to("train.report_to"),
}
INFERENCE: dict[str, Translate | str] = {
    "model.base_path": _base_folder,
    "model.adapter_path": _adapter,
    "model.merged_path": _to("paths.merged"),
    "quantization.load_in_4bit": "forge ask loads what the machine holds",
    "quantization.bnb_4bit_compute_dtype": SAME,
    "quantization.bnb_4bit_use_double_quant": SAME,
    "quantization.bnb_4bit_quant_type": SAME,
    "generation.max_new_tokens": _to("generation.max_tokens"),
    "generation.temperature": _to("generation.temperature"),
    "generation.top_p": _to("generation.top_p"),
    "generation.do_sample": _to("generation.greedy", lambda on: not on),
}
EVALUATION: dict[str, Translate | str] = {
    "model.path": _to("paths.merged"),
    "model.torch_dtype": SAME,
    "model.device_map": SAME,
    "dataset.path": "probes are frozen beside the dataset",
    # Evaluation has its own answer length and temperature: these must not change how the model is served.
    "generation.max_new_tokens": "evaluation only",
    "generation.temperature": "evaluation only",
    "generation.top_p": "evaluation only",
    "generation.do_sample": "evaluation only",
    "generation.pad_token_id": "padding never equals the stop token here",
    "metrics.rouge_types": "evaluation only",
}
MERGE: dict[str, Translate | str] = {
    "model.base_model_name": _to("model.base"),
    "model.adapter_path": _adapter,
    "model.merged_output_path": lambda value: {"paths.merged": value, "merge.enabled": True},
}
GGUF: dict[str, Translate | str] = {
    "model.merged_path": _to("paths.merged"),
    "model.gguf_output_dir": _to("paths.gguf_dir"),
    "model.gguf_model_name": _to("model.name"),
    "model.ollama_model_name": _to("deploy.name"),
}
UPLOAD: dict[str, Translate | str] = {
    "files.gguf_path": _to("paths.gguf"),
    "files.modelfile_path": _to("paths.modelfile"),
    "files.readme_path": _to("paths.readme"),
    "files.readme_lora_path": _to("paths.readme_lora"),
    "files.model_card_path": _to("paths.model_card"),
    "repository.default_repo": _to("publish.repo"),
    "repository.private": _to("publish.private"),
    "upload.create_repo_if_missing": _to("publish.create"),
    "upload.log_file": _to("paths.publish_log"),
}
# First file whose every listed key is present names the kind; the order settles ties.
KINDS: list[tuple[str, tuple[str, ...], dict[str, Translate | str]]] = [
    ("training", ("model.base_model_name", "training.output_dir"), TRAINING),
    ("training", ("training.per_device_train_batch_size",), TRAINING),
    ("merge", ("model.base_model_name", "model.merged_output_path"), MERGE),
    ("gguf", ("model.gguf_model_name",), GGUF),
    ("inference", ("model.base_path", "model.adapter_path"), INFERENCE),
    ("evaluation", ("model.path", "metrics.rouge_types"), EVALUATION),
    ("upload", ("files.gguf_path", "repository.default_repo"), UPLOAD),
]
# The workflow's troubleshooting speaks of these two by their shouted names.
SHOUTED = {
    "MICRO_BATCH_SIZE": "training.per_device_train_batch_size",
    "GRADIENT_ACCUMULATION_STEPS": "training.gradient_accumulation_steps",
}


def kind_of(settings: dict[str, Any]) -> str | None:
    """Which of the workflow's YAML files these dotted settings are, or None for a forge.yaml."""
    return next((name for name, keys, _ in KINDS if all(key in settings for key in keys)), None)


def translate(path: Path, tree: dict) -> tuple[dict[str, Any], list[str]]:
    """One of these files → dotted Forge settings and notices about every key whose name or meaning changed."""
    flat = dotted(tree)
    for old, new in SHOUTED.items():
        for key in [k for k in flat if k.rpartition(".")[2] == old]:
            flat[new] = flat.pop(key)
    kind = kind_of(flat)
    table = next((rows for name, _, rows in KINDS if name == kind), None)
    if table is None:
        raise UsageError(
            f"{path} is none of the workflow's config files", fix="forge init writes a forge.yaml"
        )
    settings: dict[str, Any] = {}
    notices: list[str] = []
    accumulation = flat.pop("training.gradient_accumulation_steps", None)
    for key, value in flat.items():
        row = table.get(key)
        if row is None:
            close = difflib.get_close_matches(key, table, 1, 0.5)
            raise UsageError(
                f"{path}: {key}: no such setting"
                + (f"; did you mean {close[0]}?" if close else ""),
                fix=f"remove or mend {key} in {path}",
            )
        if isinstance(row, str):
            notices.append(f"{path.name}: {key} is not used ({row})")
            continue
        try:
            translated = row(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"{path}: {key}: impossible value {value!r}", fix=f"mend {key} in {path}"
            ) from None
        settings.update(translated)
        renamed = [new for new in translated if new != key]
        if renamed:
            notices.append(f"{path.name}: {key} is now {', '.join(renamed)}")
    if accumulation is not None:
        sizes = (
            settings.get("train.micro_batch", 1),
            accumulation,
            settings.get("train.max_length", 2048),
        )
        if not all(isinstance(size, int) for size in sizes):
            raise UsageError(
                f"{path}: batch size, gradient_accumulation_steps and length must be whole numbers; found "
                f"{', '.join(map(repr, sizes))}",
                fix=f"mend them in {path}",
            )
        settings["train.tokens_per_update"] = math.prod(sizes)
        notices.append(
            f"{path.name}: gradient_accumulation_steps is now train.tokens_per_update "
            f"({settings['train.tokens_per_update']})"
        )
    return settings, notices


def translated(path: Path, tree: dict) -> tuple[dict[str, Any], list[str]] | None:
    """What `translate` gives for one of the workflow's YAML files; None for any other config."""
    return translate(path, tree) if kind_of(dotted(tree)) else None


# Later files win; evaluation_config.yaml has nothing but the merged folder, which the others name too.
FILES = (
    "training_config.yaml",
    "inference_config.yaml",
    "evaluation_config.yaml",
    "merge_config.yaml",
    "gguf_config.yaml",
    "upload_config.yaml",
)


def ground(root: Path) -> tuple[list[Layer], list[str]]:
    """What the workflow's scripts stand on: its profile, and the YAML files in the project's forge/config, else in the
    checkout's."""
    own = root / "forge" / "config"
    shipped = (CHECKOUT or root) / "forge" / "config"
    layers, notices = read_all(own if own.is_dir() else shipped)
    return [profile_layer("sanctuary"), *layers], notices


def read_all(folder: Path) -> tuple[list[Layer], list[str]]:
    """The layers that the workflow's YAML files in `folder` stand for, in their fixed order."""
    layers: list[Layer] = []
    notices: list[str] = []
    for name in FILES:
        path = folder / name
        if path.exists():
            settings, changes = translate(path, read_yaml(path))
            # gguf_path names one finished file for uploading; the pipeline still derives it from name and type.
            layers.append((str(path), settings))
            notices += changes
    return layers, notices
