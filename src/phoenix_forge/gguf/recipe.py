"""Which tensor gets which ggml type: llama.cpp's choices at one tag, restated as a table for the types Forge offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from phoenix_forge.gguf.container import Header, block_size
from phoenix_forge.gguf.names import in_order
from phoenix_forge.weights.base import ModelFolder

LLAMA_CPP_TAG: Final = "b10605"  # src/llama-quant.cpp there is what the parity tests compare with

FLOATS: Final = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True)
class Facts:
    """What the choice depends on beside a tensor's name and shape. `sharing` query heads use one key head; `large` is
    what llama.cpp takes for a 70B; `weighted`: there is an importance matrix."""

    layers: int
    tied: bool
    sharing: int = 1
    large: bool = False
    weighted: bool = False


def facts(base: ModelFolder, weighted: bool) -> Facts:
    heads = base.config["num_attention_heads"]
    groups = base.config.get("num_key_value_heads") or heads
    layers = base.config["num_hidden_layers"]
    # load_hparams of llama.cpp's models: 80 layers make a Qwen2 a 70B, a Llama only if heads share their keys.
    large = layers == 80 and (
        base.family.gguf == "qwen2" or (base.family.gguf == "llama" and groups < heads)
    )
    return Facts(layers, base.tied, heads // groups, large, weighted)


def more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between (llama.cpp's use_more_bits)."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


@dataclass(frozen=True)
class Rule:
    """`type` for the tensors whose name ends in one of `ends`, in layers `where` it holds."""

    ends: tuple[str, ...]
    type: str
    where: Callable[[int, Facts], bool] = lambda layer, model: True


@dataclass(frozen=True)
class Recipe:
    """`matrix` for most, `output` for the output matrix (or the embedding that doubles as one); the first rule that
    fits comes before either's turn."""

    matrix: str
    output: str
    rules: tuple[Rule, ...] = ()


# Where the three are one matrix, it is treated as the values' is.
_VALUE = (".attn_v.weight", ".attn_qkv.weight", ".attn_kv_b.weight")
_DOWN = (".ffn_down.weight", ".ffn_down_exps.weight", ".ffn_down_shexp.weight")
_ATTENTION_OUTPUT = (".attn_output.weight",)


def _first(share: int) -> Callable[[int, Facts], bool]:
    """The first `share`-th of the layers."""
    return lambda layer, model: layer < model.layers // share


def _more(layer: int, model: Facts) -> bool:
    return more_bits(layer, model.layers)


RECIPES: Final = {
    "F32": Recipe("F32", "F32"),
    "F16": Recipe("F16", "F16"),
    "BF16": Recipe("BF16", "BF16"),
    "Q8_0": Recipe("Q8_0", "Q8_0"),
    "Q6_K": Recipe("Q6_K", "Q6_K"),
    "Q5_K_M": Recipe("Q5_K", "Q6_K", (Rule(_VALUE + _DOWN, "Q6_K", _more),)),
    "Q5_K_S": Recipe("Q5_K", "Q6_K"),
    "Q4_K_M": Recipe("Q4_K", "Q6_K", (Rule(_VALUE + _DOWN, "Q6_K", _more),)),
    "Q4_K_S": Recipe(
        "Q4_K",
        "Q6_K",
        (Rule(_VALUE, "Q5_K", lambda layer, model: layer < 4), Rule(_DOWN, "Q5_K", _first(8))),
    ),
    "IQ4_XS": Recipe(
        "IQ4_XS",
        "Q6_K",
        (
            Rule(_VALUE, "Q5_K", lambda layer, model: model.sharing >= 4),
            Rule(
                _DOWN, "Q5_K", lambda layer, model: not model.weighted and _first(8)(layer, model)
            ),
        ),
    ),
    "Q3_K_M": Recipe(
        "Q3_K",
        "Q6_K",
        (
            Rule(_VALUE, "Q5_K", lambda layer, model: layer < 2),
            Rule(_VALUE, "Q4_K"),
            Rule(_DOWN, "Q5_K", _first(16)),
            Rule(_DOWN + _ATTENTION_OUTPUT, "Q4_K"),
        ),
    ),
    "Q4_0": Recipe(
        "Q4_0",
        "Q6_K",
        (Rule(_DOWN, "Q4_1", lambda layer, model: model.weighted and _first(8)(layer, model)),),
    ),
}
_LARGE: Final = {"Q3_K": "Q5_K", "Q4_K": "Q5_K"}  # a 70B's value matrices, small beside the rest
# Where a row is not a multiple of the type's block; F16 where it is not one of the fallback's either.
_FALLBACK: Final = {
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "IQ4_XS": "IQ4_NL",
}


def tensor_type(quant: str, name: str, shape: tuple[int, ...], model: Facts) -> str:
    """The ggml type of GGUF tensor `name` in a file of type `quant`; one-dimensional tensors and norms stay F32."""
    if len(shape) < 2 or name.endswith("_norm.weight"):
        return "F32"
    layer = int(name.split(".")[1]) if name.startswith("blk.") else -1
    return _fitting(_wanted(RECIPES[quant], name, layer, model), shape)


def _fitting(wanted: str, shape: tuple[int, ...]) -> str:
    if shape[-1] % block_size(wanted):
        wanted = _FALLBACK.get(wanted, "F16")
    return wanted if shape[-1] % block_size(wanted) == 0 else "F16"


def _wanted(recipe: Recipe, name: str, layer: int, model: Facts) -> str:
    if name == "output.weight" or (model.tied and name.endswith("token_embd.weight")):
        return recipe.output
    found = next(
        (
            rule.type
            for rule in recipe.rules
            if name.endswith(rule.ends) and rule.where(layer, model)
        ),
        recipe.matrix,
    )
    return _LARGE.get(found, found) if model.large and name.endswith(_VALUE) else found


# ---- files that the converter wrote ----

# Matrices that llama.cpp leaves in the source's type: routers, convolutions, and others too small to matter.
_KEPT: Final = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_",
    "attn_rel_b",
)
# With eight experts, attention is small beside them and gets more bits.
_EIGHT: Final = {
    ".attn_k.weight": dict.fromkeys(RECIPES, "Q8_0"),
    ".attn_v.weight": dict.fromkeys(RECIPES, "Q8_0"),
    ".attn_output.weight": dict.fromkeys(("Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_XS"), "Q5_K"),
}


def trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without leading ones, which ggml does not count as dimensions."""
    start = next((i for i, size in enumerate(shape) if size != 1), len(shape) - 1)
    return shape[start:]


def converted_types(header: Header, quant: str) -> dict[str, str]:
    """The ggml type of each tensor of a 16-bit file in type `quant`, for any architecture, without an importance
    matrix. Value matrices are counted where there are some, not by layer: a hybrid has them in few layers."""
    arch = header.get("general.architecture")

    def number(key: str) -> int:
        """Of the first layer, where each has its own: llama.cpp looks at that one."""
        value = header.get(f"{arch}.{key}", 0)
        return int(value) if isinstance(value, int) else int(value[0])

    layers, experts = number("block_count"), number("expert_count")
    heads, groups = number("attention.head_count"), number("attention.head_count_kv")
    model = Facts(layers, "output.weight" not in header.tensors, heads // groups if groups else 1)
    names = in_order(header.tensors)
    values = [name for name in names if name.endswith(_VALUE)]
    downs = [name for name in names if name.endswith(_DOWN)]
    found = {}
    for name in names:
        info = header.tensors[name]
        shape = trimmed(info.shape)
        if len(shape) < 2 or not name.endswith("weight") or any(part in name for part in _KEPT):
            found[name] = info.type
            continue
        place, facts_here = int(name.split(".")[1]) if name.startswith("blk.") else -1, model
        if name in values:
            place, facts_here = values.index(name), replace(model, layers=len(values))
        elif name in downs and experts < 2:
            place = downs.index(name)
        wanted = _wanted(RECIPES[quant], name, place, facts_here)
        if experts == 8 and quant not in FLOATS and quant != "Q8_0":
            wanted = next(
                (types.get(quant, wanted) for end, types in _EIGHT.items() if name.endswith(end)),
                wanted,
            )
        found[name] = _fitting(wanted, shape)
    return found
