"""What a step will need, before it starts: bytes of disk and memory, from parameters alone."""

from __future__ import annotations

from phoenix_forge.catalog.memory import Sizes
from phoenix_forge.catalog.quants import quant

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


def reference_memory(parameters: int, stored: int) -> int:
    """A Hugging Face model that computes in fp32, module by module: `stored` bytes of weights, the largest matrix in
    fp32 (as for stream_memory), activations and libraries."""
    return stored + max(parameters // 50, min(parameters // 4, 600_000_000)) * 4 + 1_000_000_000


BYTES_A_TOKEN = 4.2  # English prose and Markdown under Qwen2's tokenizer
TRAINED_SHARE = 0.4  # of a row's tokens; the rest are prompts (measured: 0.37-0.42)
# Floating-point operations a second while training: a core's with and without bf16 instructions, as measured on two
# cores of an EPYC (bench/results/train_cpu.json); GPUs' as measured on an H200, the others in proportion to the dense
# bf16 rates of their data sheets.
CORE_FLOPS = {True: 110e9, False: 45e9}
GPU_FLOPS = {
    "H200": 480e12,
    "H100": 450e12,
    "A100": 180e12,
    "L40": 100e12,
    "4090": 95e12,
    "4080": 55e12,
    "4070": 35e12,
    "4060": 20e12,
    "3090": 40e12,
    "3080": 35e12,
    "3070": 22e12,
    "3060": 14e12,
    "A10": 40e12,
    "L4": 35e12,
}
OTHER_GPU_FLOPS = 14e12


def train_tokens(source_tokens: float, amplification: float, epochs: float) -> float:
    """Tokens that a training reads, prompts included."""
    return source_tokens * amplification / TRAINED_SHARE * epochs


def gpu_flops(name: str) -> float:
    return next((rate for part, rate in GPU_FLOPS.items() if part in name), OTHER_GPU_FLOPS)


def train_seconds(sizes: Sizes, tokens: float, flops: float, recompute: bool) -> float:
    """Before anything was measured: 4 operations a weight and token, forward and to the inputs (LoRA leaves the weights
    frozen), or 6 where activations are computed again; the vocabulary for trained tokens only."""
    weights = sizes.layers * sizes.layer * (6 if recompute else 4)
    return tokens * (weights + sizes.vocabulary * sizes.hidden * 4 * TRAINED_SHARE) / flops


def teacher_requests(gguf_bytes: int, cores: int) -> float:
    """A teacher's requests a second in the built-in runtime: 0.66 on two cores, of a 0.5B in 8 bits (93 requests of 670
    tokens in, 11 out, whose demonstrations are computed once)."""
    return 0.33 * cores * 531e6 / gguf_bytes
