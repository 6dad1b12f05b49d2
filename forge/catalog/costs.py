"""What a step will need, before it starts: bytes of disk and memory, from parameters alone."""

from __future__ import annotations

from forge.catalog.quants import quant

MARGIN = 1.10  # predictions must not be below what is measured


def base_bytes(parameters: int) -> int:
    """16-bit safetensors on disk."""
    return int(parameters * 2 * 1.01)


def gguf_bytes(parameters: int, quant_name: str) -> int:
    """A quantised file; small models keep a larger share in their embeddings, hence the flat 70 MB on top."""
    return int(parameters * quant(quant_name).bits / 8 * MARGIN) + 70_000_000


def import_disk(parameters: int) -> int:
    """A GGUF source next to the 16-bit folder made from it."""
    return base_bytes(parameters) + gguf_bytes(parameters, "Q8_0")


def stream_memory(parameters: int, threads: int) -> int:
    """Merging and quantising hold a few tensors at a time, the largest about a quarter of a small model's weights."""
    largest = max(parameters // 50, min(parameters // 4, 600_000_000))
    return int(largest * (4 + 2 + 1)) + threads * 16_000_000 + 300_000_000


def train_memory(parameters: int, layers: int, hidden: int, vocabulary: int, tokens: int, rank: int, *,
                 four_bit: bool, recompute: bool, bytes_per_value: int) -> int:
    """Peak bytes of one training step of `tokens` tokens in a forward pass, on the device that trains.

    Weights (4-bit: 0.53 bytes a parameter, embeddings 16-bit), adapter with gradients and two Adam moments, activations
    (34 hidden-sized values a token and layer without recomputation, Korthikanti et al. 2022; one with), fp32 logits
    three times over.
    """
    embedding = vocabulary * hidden
    weights = (parameters - embedding) * 0.53 + embedding * 2 if four_bit else parameters * bytes_per_value
    adapter = layers * rank * hidden * 26 * 16
    activations = tokens * hidden * bytes_per_value * (layers + 34 if recompute else layers * 34)
    logits = tokens * vocabulary * 4 * 3
    return int((weights + adapter + activations + logits) * MARGIN) + 700_000_000


BYTES_A_TOKEN = 4.2  # English prose and Markdown under Qwen2's tokenizer
TRAINED_SHARE = 0.4  # of a row's tokens; the rest are prompts (measured: 0.37-0.42)
CORE_FLOPS = 35e9  # fp32 on one AVX2-class core while training; bf16 instructions give up to twice that
GPU_FLOPS = 24e12  # an 8 GB card while training in 4 bits; large ones are several times faster


def train_tokens(source_tokens: float, amplification: float, epochs: float) -> float:
    """Tokens that a training reads, prompts included."""
    return source_tokens * amplification / TRAINED_SHARE * epochs


def train_seconds(parameters: int, tokens: float, cores: int, gpu: bool) -> float:
    """A cautious guess before anything was measured: 4 FLOP a parameter and token on a CPU (forward, and backward to
    the inputs only, since LoRA leaves the weights frozen), 6 on a GPU that recomputes activations."""
    return tokens * parameters * (6 / GPU_FLOPS if gpu else 4 / (CORE_FLOPS * cores))
