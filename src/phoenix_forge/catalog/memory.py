"""What a training step needs, from sizes alone, and the fastest way to use a device that fits. No torch.

The terms are the tensors that phoenix_forge/train/engine holds at its three narrowest points: at the end of a layer's
backward pass through the MLP, through attention, and in the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

GIB = 2**30
WORKSPACE = 96 * 2**20  # cuBLAS's and cuDNN's own, and tensors of a few kB
SLACK = 1.03  # the allocator's rounding


@dataclass(frozen=True)
class Sizes:
    """Widths of one decoder; `attention` is heads × head_dim, `kv` the same of keys."""

    layers: int
    hidden: int
    ffn: int
    attention: int
    kv: int
    vocabulary: int
    tied: bool

    @property
    def linears(self) -> tuple[tuple[int, int, int, bool], ...]:
        """Per matrix of a layer: outputs, inputs, adapted parts, whether the adapter lies in extra columns."""
        return (
            (self.attention + 2 * self.kv, self.hidden, 3, True),
            (self.hidden, self.attention, 1, False),
            (2 * self.ffn, self.hidden, 2, True),
            (self.hidden, self.ffn, 1, False),
        )

    @property
    def layer(self) -> int:
        """Parameters of a layer's matrices."""
        return sum(out * into for out, into, _, _ in self.linears)

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA on every linear layer."""
        return self.layers * rank * sum(out + into * parts for out, into, parts, _ in self.linears)

    def spread(self, rank: int) -> int:
        """Elements of a layer's matrices with room for the adapter."""
        return sum(
            out * (into + parts * rank) if columns else (out + parts * rank) * into
            for out, into, parts, columns in self.linears
        )


def sizes(config: dict[str, Any]) -> Sizes:
    """From config.json."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    return Sizes(
        config["num_hidden_layers"],
        hidden,
        config["intermediate_size"],
        heads * head,
        (config.get("num_key_value_heads") or heads) * head,
        config["vocab_size"],
        bool(config.get("tie_word_embeddings", False)),
    )


def equivalent(config: dict[str, Any], parameters: int, tied: bool) -> Sizes:
    """Of a decoder whose layers no row describes: a plain one of as many parameters, width and layers. Experts and
    state spaces count as one feed-forward part, so that what they take is not predicted too low."""
    config = config.get("text_config") or config
    layers, hidden, vocabulary = (
        int(config[key]) for key in ("num_hidden_layers", "hidden_size", "vocab_size")
    )
    heads = config.get("num_attention_heads") or 1
    head = config.get("head_dim") or hidden // heads
    kv = (config.get("num_key_value_heads") or heads) * head
    rest = (parameters - vocabulary * hidden * (1 if tied else 2)) // layers - 2 * hidden * (
        heads * head + kv
    )
    return Sizes(
        layers, hidden, max(hidden, rest // (3 * hidden)), heads * head, kv, vocabulary, tied
    )


@dataclass(frozen=True)
class Placement:
    """What a training keeps, and where.

    Of the base: `width` bytes of a number in the computation; `bits` of a frozen weight (4 is NF4, 8 is e4m3 in both
    directions, else as in the computation); `expanded`: NF4's values laid out in the type of the computation, which
    spares dequantising and takes four times the memory; `streamed`: frozen layers come from RAM, two at a time;
    `sharded`: over how many GPUs they are spread.

    Of activations, from forward to backward: the last `whole` layers keep everything, the others the stream before
    them only, with `attention` all but gate and up; `on_host` puts what those keep into pinned memory of the host, and
    their MLP runs over `chunk` tokens at a time. `logits` tokens have logits at a time.
    """

    whole: int
    width: int = 2
    bits: int = 16
    expanded: bool = False
    streamed: bool = False
    sharded: int = 1
    embedding_on_host: bool = False
    on_host: bool = False
    attention: bool = False
    chunk: int = 1 << 30
    logits: int = 2048

    @property
    def store(self) -> str:
        """Where the frozen layers are: a name in the engine's STORES."""
        if self.streamed:
            return "streamed"
        return "sharded" if self.sharded > 1 else "resident"


def layer_bytes(s: Sizes, placement: Placement, rank: int) -> int:
    """One frozen layer as it is stored. NF4: half a byte a weight, and 2 bytes for every 64; e4m3: a byte, twice."""
    if placement.expanded or placement.bits >= 16:
        return s.spread(rank) * placement.width
    return s.layer // 2 + s.layer // 32 if placement.bits == 4 else 2 * s.layer


def device_bytes(s: Sizes, placement: Placement, tokens: int, rank: int, optimizer: int) -> int:
    """Peak bytes on the device of a step whose passes compute `tokens` tokens; `optimizer`: bytes of its state a
    parameter (8: AdamW in fp32, 2: in 8 bits)."""
    w, h, m = placement.width, s.hidden, placement.chunk
    resident_layers = 2 if placement.streamed or placement.sharded > 1 else s.layers
    shards = s.layers // placement.sharded if placement.sharded > 1 else 0
    frozen = layer_bytes(s, placement, rank) * (resident_layers + shards)
    scratch = s.spread(rank) * w if placement.bits == 4 and not placement.expanded else 0
    embedding = s.vocabulary * h * w
    tables = embedding if s.tied or placement.embedding_on_host else 2 * embedding
    adapter = s.adapter(rank) * (8 + w + optimizer) + s.adapter(rank) * 2
    qkv = s.attention + 2 * s.kv
    inner = qkv + s.attention + h  # attention's part: q, k and v, its output, the stream after it
    whole = placement.whole * tokens * w * (h + inner + 2 * s.ffn)
    row = tokens * w * (h + (inner if placement.attention else 0))
    # What goes to the host is on its way for two layers.
    again = row * (
        min(2, s.layers - placement.whole) if placement.on_host else s.layers - placement.whole
    )
    fixed = frozen + scratch + tables + adapter + whole + again
    c = tokens if placement.whole == s.layers else min(m, tokens)
    stream = tokens * (h + rank) * w
    mlp = stream + tokens * w * (h + inner) + c * w * (3 * s.ffn + 3 * h + 2 * rank)
    # dq, dk and dv twice (as computed and as multiplied), and cuDNN's dq in fp32.
    attention = stream + tokens * w * (h + 3 * qkv + 2 * s.attention) + tokens * s.attention * 4
    n = min(placement.logits, tokens)
    loss = tokens * h * w * 5 + n * s.vocabulary * w
    rounded = (
        tokens * 2 * s.ffn if placement.bits == 8 else 0
    )  # the widest product's input in 8 bits
    return int((fixed + max(mlp + rounded, attention, loss)) * SLACK) + WORKSPACE


def host_bytes(s: Sizes, placement: Placement, tokens: int, rank: int) -> int:
    """RAM that a GPU's training asks for beside the libraries: streamed layers, activations, the embedding."""
    layers = s.layers * layer_bytes(s, placement, rank) if placement.streamed else 0
    row = s.hidden + (s.attention * 2 + 2 * s.kv + s.hidden if placement.attention else 0)
    activations = (
        (s.layers - placement.whole) * tokens * placement.width * row if placement.on_host else 0
    )
    return (
        layers
        + activations
        + (s.vocabulary * s.hidden * placement.width if placement.embedding_on_host else 0)
    )


def placements(
    s: Sizes,
    width: int,
    bits: int,
    gpu: bool,
    recompute: bool | None,
    streamed: bool | None,
    world: int = 1,
) -> Iterator[Placement]:
    """Placements to try, the fastest first. None: free to choose."""
    if not streamed and recompute is not True:
        whole = Placement(s.layers, width, bits)
        if bits == 4 and gpu:
            yield replace(whole, expanded=True)
        yield whole
        yield replace(whole, embedding_on_host=gpu)
    if recompute is False and streamed is None:
        return
    lean = Placement(0, width, bits, embedding_on_host=gpu, chunk=2048, logits=512)
    some = range(s.layers - 1, 0, -1) if recompute is None else ()
    if not streamed:
        if gpu:  # the transfers hide behind the products
            in_ram = replace(lean, on_host=True, attention=True, chunk=1 << 30, logits=2048)
            yield from (replace(in_ram, whole=n) for n in some)
            yield in_ram
            yield replace(in_ram, chunk=2048, logits=512)
        yield from (replace(lean, whole=n) for n in some)
        yield lean
        if gpu:
            yield replace(lean, on_host=True, chunk=512, logits=256)
    if world > 1 and bits < 16:
        yield replace(lean, on_host=True, chunk=512, logits=256, sharded=world)
    if gpu and bits < 16 and streamed is not False:
        yield replace(lean, on_host=True, chunk=512, logits=256, streamed=True)
        yield replace(lean, on_host=True, chunk=256, logits=128, streamed=True)


@dataclass(frozen=True)
class MemoryPlan:
    """`tokens` a pass, and what the step is predicted to take, in bytes."""

    placement: Placement
    tokens: int
    device_bytes: int
    host_bytes: int


ENOUGH = 1024  # tokens a pass from which a large GPU is busy; fewer are taken only when nothing else fits


def plans(
    s: Sizes,
    candidates: Iterator[Placement],
    passes: list[int],
    rank: int,
    optimizer: int,
    device: int,
    host: int,
) -> Iterator[MemoryPlan]:
    """What fits into `device` and `host` bytes, the fastest first; `passes` are tokens a pass, most first."""
    late = []
    for placement in candidates:
        for tokens in passes:
            plan = MemoryPlan(
                placement,
                tokens,
                device_bytes(s, placement, tokens, rank, optimizer),
                host_bytes(s, placement, tokens, rank),
            )
            if plan.device_bytes > device or plan.host_bytes > host:
                continue
            if tokens >= min(ENOUGH, passes[0]):
                yield plan
                break
            late.append(plan)
            break
    yield from late


def passes(max_length: int, tokens_per_update: int, rows: int | None, gpu: bool) -> list[int]:
    """Tokens a pass to try, most first: what was asked for; else at most what a large GPU needs to be busy."""
    if rows:
        return [rows * max_length]
    most = min(8192, tokens_per_update) if gpu else max_length
    sizes = [max_length]
    while sizes[-1] * 2 <= most:
        sizes.append(sizes[-1] * 2)
    return sizes[::-1]
