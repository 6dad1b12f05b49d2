"""One training stack on one GPU: tokens a second and peak memory of a step, for bench/train.py.

Random weights of a real model's shapes, since neither speed nor memory depends on them. Prints one JSON line a row.
Usage: python bench/train_gpu.py forge [ROW ...]
       python bench/train_gpu.py real EXAMPLES.json ({"examples": [[ids, trained], ...]})
       python bench/train_gpu.py {peft|unsloth|unsloth-keep} TOKENIZER_FOLDER (tokenizer files of any Qwen2 model)
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from phoenix_forge.catalog.memory import Placement

GIB = 2**30
QWEN7 = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
QWEN14 = {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
}
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
QWEN_HALF = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
SHAPES = ((1, 2048), (4, 2048), (1, 8192))


def config(sizes: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        **sizes,
    }


def measured(step: Callable[[], float], repeats: int = 7) -> tuple[float, float]:
    """Median seconds of the last repeats but two, and the last loss."""
    times, loss = [], 0.0
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        loss = step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[(repeats - 2) // 2], float(loss)


def report(row: str, batch: int, length: int, step: Callable[[], float], **more: Any) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    line: dict[str, Any] = {"row": row, "batch": batch, "length": length, **more}
    try:
        seconds, loss = measured(step)
        line |= {
            "tokens_per_second": round(batch * length / seconds),
            "ms": round(seconds * 1e3, 1),
            "allocated_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
            "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
            "loss": round(loss, 3),
        }
    except torch.OutOfMemoryError as error:
        line["error"] = str(error)[:120]
    print(json.dumps(line), flush=True)


def profile(row: str, step: Callable[[], float]) -> None:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    step()
    with record(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize()
    print(
        row,
        seen.key_averages().table(
            sort_by="cuda_time_total", row_limit=40, max_name_column_width=70
        ),
    )


# ---- Forge ----


def decoder(sizes: dict[str, int], placement: Placement) -> Any:
    """The engine's decoder on random weights, used as the planner would use it."""
    from phoenix_forge.train.engine.load import ComputeDevice, LoraSettings, load
    from phoenix_forge.train.engine.shape import shape as shape_of

    folder = Path(tempfile.mkdtemp())
    (folder / "config.json").write_text(json.dumps(config(sizes)))
    s = config(sizes)
    width, ffn = s["hidden_size"], s["intermediate_size"]
    kv = s["num_key_value_heads"] * width // s["num_attention_heads"]
    shapes = {
        "q_proj.weight": (width, width),
        "k_proj.weight": (kv, width),
        "v_proj.weight": (kv, width),
        "o_proj.weight": (width, width),
        "gate_proj.weight": (ffn, width),
        "up_proj.weight": (ffn, width),
        "down_proj.weight": (width, ffn),
        "q_proj.bias": (width,),
        "k_proj.bias": (kv,),
        "v_proj.bias": (kv,),
        "embed_tokens.weight": (s["vocab_size"], width),
        "lm_head.weight": (s["vocab_size"], width),
    }

    def read(name: str) -> torch.Tensor:
        if "norm" in name:
            return torch.ones(width, dtype=torch.bfloat16, device="cuda")
        shape = next(v for k, v in shapes.items() if name.endswith(k))
        if "embed" in name and placement.embedding_on_host:
            return torch.randn(shape, dtype=torch.bfloat16).mul_(0.02)
        return torch.randn(shape, dtype=torch.bfloat16, device="cuda").mul_(0.02)

    made = load(
        folder,
        shape_of(s, "qwen2"),
        read,
        LoraSettings(TARGETS, 16, 2.0, 0),
        placement,
        ComputeDevice(torch.device("cuda"), torch.bfloat16),
    )
    torch.cuda.empty_cache()
    return made


def inputs(batch: int, length: int) -> Any:
    from phoenix_forge.train.engine.attention import Spans
    from phoenix_forge.train.engine.model import Inputs

    ids = torch.randint(0, 150000, (batch * length,), device="cuda")
    where = torch.arange(batch * length, device="cuda")
    at = where[where % length != length - 1]
    starts = torch.arange(0, batch * length + 1, length, dtype=torch.int32, device="cuda")
    return Inputs(ids, where % length, Spans((length,) * batch, 0, starts), at, ids[at + 1])


def stepper(model: Any, make: Callable[[], Any]) -> Callable[[], float]:
    """A whole step: forward, backward, optimizer."""
    import bitsandbytes as bnb

    parameters = [torch.nn.Parameter(t) for t in (model.lora.a, model.lora.b)]
    parameters[0].grad, parameters[1].grad = model.lora.a_grad, model.lora.b_grad
    optimizer = bnb.optim.AdamW8bit(parameters, lr=2e-4, weight_decay=0.0)

    def step() -> float:
        x = make()
        loss = model.step(x, 1 / len(x.target)).mean()
        optimizer.step()
        model.lora.a_grad.zero_()
        model.lora.b_grad.zero_()
        model.lora.refresh()
        return loss

    return step


def lean(**more: Any) -> Placement:
    return Placement(0, 2, 4, **({"embedding_on_host": True, "chunk": 2048, "logits": 512} | more))


EVERY = ((1, 256), (1, 1024), (1, 4096))
Row = tuple[
    dict[str, int], Placement, tuple[tuple[int, int], ...], float | None
]  # sizes, use, shapes, cap in GiB
ROWS: dict[str, Row] = {
    "keep": (QWEN7, Placement(28, 2, 4), SHAPES, None),
    "keep expanded": (QWEN7, Placement(28, 2, 4, expanded=True), SHAPES, None),
    "fp8 keep": (QWEN7, Placement(28, 2, 8), SHAPES, None),
    "recompute": (QWEN7, lean(), SHAPES, None),
    "attention on host": (QWEN7, lean(on_host=True, attention=True), SHAPES, None),
    "attention on host, unchunked": (
        QWEN7,
        lean(on_host=True, attention=True, chunk=1 << 30, logits=2048),
        SHAPES,
        None,
    ),
    "lean": (QWEN7, lean(on_host=True, chunk=512, logits=256), ((1, 2048),), 5.6),
    "long": (QWEN7, lean(on_host=True, chunk=1024, logits=256), ((1, 16384), (1, 32768)), 8.0),
    "14B": (QWEN14, lean(streamed=True, chunk=512, logits=256), ((1, 2048),), 8.0),
    "3 GB": (QWEN7, lean(streamed=True, chunk=256, logits=128), ((1, 512),), 3.2),
    "0.5B keep": (QWEN_HALF, Placement(24, 2, 4), (*EVERY, (1, 8192)), None),
    "0.5B recompute": (QWEN_HALF, lean(), (*EVERY, (1, 8192)), None),
    "7B keep": (QWEN7, Placement(28, 2, 4), EVERY, None),
    "14B recompute": (QWEN14, lean(), ((1, 256), (1, 2048), (1, 8192)), None),
}


def planned(tokens: int, gib: float) -> Placement:
    """What the planner chooses for 7B and one pass of so many tokens."""
    from phoenix_forge.catalog.memory import placements, plans
    from phoenix_forge.catalog.memory import sizes as counted

    size = counted(config(QWEN7))
    return next(
        plans(
            size,
            placements(size, 2, 4, True, None, None),
            [tokens],
            16,
            2,
            int(gib * GIB),
            100 * GIB,
        )
    ).placement


# As much memory as Unsloth took in the same shapes.
ROWS |= {
    f"planned {batch}x{length}": (QWEN7, planned(batch * length, gib), ((batch, length),), gib)
    for batch, length, gib in ((1, 2048, 6.3), (4, 2048, 8.3), (1, 8192, 8.3))
}


def forge_row(name: str) -> None:
    from phoenix_forge.catalog.memory import device_bytes
    from phoenix_forge.catalog.memory import sizes as counted

    sizes, placement, shapes, cap = ROWS[name]
    print(json.dumps({"row": name, "use": vars(placement)}), flush=True)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(cap * GIB / total if cap else 1.0)
    model = decoder(sizes, placement)
    for batch, length in shapes:
        step = stepper(model, lambda batch=batch, length=length: inputs(batch, length))
        predicted = device_bytes(counted(config(sizes)), placement, batch * length, 16, 2)
        report(name, batch, length, step, predicted_gib=round(predicted / GIB, 2))
    if "--profile" in sys.argv:
        profile(name, step)


def real(path: Path) -> None:
    """Examples of a real corpus in batches of 8,192 tokens: tokens a second, and of those the trained ones."""
    from phoenix_forge.chat.encode import Encoded
    from phoenix_forge.train.batches import pack, tensors

    stored = json.loads(path.read_text())
    batches = pack([Encoded(ids, trained) for ids, trained in stored["examples"]], 8192, 0)
    tokens, targets = (
        sum(getattr(b, what) for b in batches) / len(batches) for what in ("tokens", "targets")
    )
    for name, placement in (("real NF4", Placement(28, 2, 4)), ("real fp8", Placement(28, 2, 8))):
        model, turn = decoder(QWEN7, placement), iter(batches * 2)
        seconds, _ = measured(
            stepper(model, lambda turn=turn: tensors(next(turn), torch.device("cuda"))), 22
        )
        print(
            json.dumps(
                {
                    "row": name,
                    "tokens_per_second": round(tokens / seconds),
                    "trained_per_second": round(targets / seconds),
                }
            ),
            flush=True,
        )
        del model
        torch.cuda.empty_cache()


# ---- peers ----

LORA: dict[str, Any] = {
    "r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "bias": "none",
    "target_modules": list(TARGETS),
}


def checkpoint(tokenizer: Path) -> Path:
    """A folder that the peers can load: random weights, and a real tokenizer, which Unsloth insists on."""
    folder = Path(tempfile.gettempdir()) / "qwen2-7b-random"
    if (folder / "config.json").exists():
        return folder
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(
            Qwen2Config(**{k: v for k, v in config(QWEN7).items() if k != "torch_dtype"})
        )
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(str(folder), max_shard_size="4GB")
    for file in tokenizer.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def peer_rows(who: str, model: Any, shapes: Any) -> None:
    import bitsandbytes as bnb

    optimizer = bnb.optim.AdamW8bit(
        [p for p in model.parameters() if p.requires_grad], lr=2e-4, weight_decay=0.0
    )
    for batch, length in shapes:

        def step(batch: int = batch, length: int = length) -> float:
            ids = torch.randint(0, 150000, (batch, length), device="cuda")
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return loss.detach()

        report(who, batch, length, step)


def peft(tokenizer: Path) -> None:
    """transformers and PEFT as their documentation puts them together."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    four = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    base = AutoModelForCausalLM.from_pretrained(
        checkpoint(tokenizer), quantization_config=four, dtype=torch.bfloat16, device_map={"": 0}
    )
    base = prepare_model_for_kbit_training(
        base, gradient_checkpointing_kwargs={"use_reentrant": False}
    )
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **LORA))
    model.config.use_cache = False
    peer_rows("peft", model.train(), ((1, 256), *SHAPES))


def unsloth(tokenizer: Path, recompute: Any) -> None:
    os.environ |= {"UNSLOTH_DISABLE_STATISTICS": "1", "HF_HUB_OFFLINE": "1"}
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(checkpoint(tokenizer)),
        max_seq_length=8192,
        load_in_4bit=True,
        dtype=torch.bfloat16,
        local_files_only=True,
    )
    model = FastLanguageModel.get_peft_model(
        model, use_gradient_checkpointing=recompute, random_state=0, **LORA
    )
    FastLanguageModel.for_training(model)
    peer_rows(f"unsloth recompute={recompute}", model, SHAPES)


PEERS: dict[str, Callable[[Path], None]] = {
    "make": lambda tokenizer: print(checkpoint(tokenizer)),
    "peft": peft,
    "unsloth": lambda tokenizer: unsloth(tokenizer, "unsloth"),
    "unsloth-keep": lambda tokenizer: unsloth(tokenizer, False),
}


if __name__ == "__main__":
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    who, *wanted = [a for a in sys.argv[1:] if not a.startswith("--")]
    print(json.dumps({"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    if who == "forge":
        for label in wanted or ROWS:
            forge_row(label)
            torch.cuda.empty_cache()
    elif who == "real":
        real(Path(wanted[0]))
    else:
        PEERS[who](Path(wanted[0]))
