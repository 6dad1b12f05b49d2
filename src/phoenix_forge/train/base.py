"""A base folder as a torch model, on the device and in the type that were chosen."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.catalog.families import ANY
from phoenix_forge.train.choose import Compute, dtype
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import open_base

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel


def quiet() -> None:
    """Libraries log and draw bars of their own; Forge reports what matters itself."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is local by now
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "true"
    )  # said, so that it does not warn of every fork after
    for name in ("transformers", "peft", "accelerate", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|peft|bitsandbytes)\b.*")
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()
    disable_progress_bar()


def thaw(model: torch.nn.Module) -> None:
    """Lets a model that will only be asked compute fast on a CPU: torch 2.13 multiplies bf16 weights that need no
    gradient 16 times as slowly (0.5B, 30 prompts of 40 tokens, two cores: 20.4 s frozen, 1.2 s thawed). In inference
    mode no gradient is kept either way."""
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.is_floating_point():
            parameter.requires_grad_(True)


def with_adapter(model: PreTrainedModel, folder: Path, adapter: Path) -> PeftModel:
    """The base of `folder` with its adapter by PEFT, with the vocabulary that this one brings."""
    from peft import PeftModel

    base = open_base(folder)
    vocabulary = open_adapter(adapter, base).model.config["vocab_size"]
    if vocabulary != base.config["vocab_size"]:  # PEFT takes a base of the adapter's size only
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    return PeftModel.from_pretrained(model, str(adapter))


def load_base(folder: Path, compute: Compute) -> PreTrainedModel:
    """The frozen base. Call quiet() first.

    No prepare_model_for_kbit_training: it casts norms and embeddings to fp32 (+2.2 GB at 7B).
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype(compute.precision),
        )
        if compute.bits == 4
        else None
    )
    attention = (
        None if open_base(folder).family.name == ANY else "sdpa"
    )  # not every architecture has the latter
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype(compute.precision),
        quantization_config=quantization,
        attn_implementation=attention,
        device_map={"": 0 if compute.device == "cuda" else torch.device("cpu")},
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
    )
    model.config.use_cache = False
    return model
