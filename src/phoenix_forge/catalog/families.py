"""Model families: one row an architecture. A new family is a new row, and transforms where its weights need any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from phoenix_forge.errors import UsageError


def _turns(before: str, between: str, after: str, opening: str = "") -> str:
    """The Go template of a format whose turns look alike; `opening` is what a prompt adds to the answer's header."""
    turn = f"{before}{{{{ .Role }}}}{between}{{{{ .Content }}}}{after}"
    # No {{- stands behind white space: it would take it away, and a prompt has to end with its newline.
    return f"{{{{ range .Messages }}}}{turn}{{{{ end }}}}{before}assistant{between}{opening}{{{{ .Response }}}}"


# Ollama puts its SYSTEM in front of .Messages as a turn of its own. Without .Prompt it fills in no code: a chat model's
# template has no words for that.
CHATML_GO = _turns("<|im_start|>", "\n", "<|im_end|>\n")
# An empty thought is how a Qwen3 is told not to think, which is how it is trained (see ChatTemplate.render).
QWEN3_GO = _turns("<|im_start|>", "\n", "<|im_end|>\n", opening="<think>\n\n</think>\n\n")
LLAMA3_GO = _turns("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>")
PHI3_GO = _turns("<|", "|>\n", "<|end|>\n")
PHI4_GO = _turns("<|im_start|>", "<|im_sep|>", "<|im_end|>")
MISTRAL_GO = (  # the system prompt stands in the last question
    '{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}[INST] '
    '{{ if and (eq (len (slice $.Messages $i)) 1) (eq (index $.Messages 0).Role "system") }}{{ $.System }}\n\n'
    "{{ end }}{{ .Content }}[/INST]"
    '{{ else if eq .Role "assistant" }} {{ .Content }}</s>{{ end }}{{ end }}{{ .Response }}'
)
GEMMA_GO = (  # the system prompt stands in the first question
    '{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}<start_of_turn>user\n'
    '{{ if and (eq $i 1) (eq (index $.Messages 0).Role "system") }}{{ $.System }}\n\n{{ end }}'
    "{{ .Content }}<end_of_turn>\n"
    '{{ else if eq .Role "assistant" }}<start_of_turn>model\n{{ .Content }}<end_of_turn>\n{{ end }}{{ end }}'
    "<start_of_turn>model\n{{ .Response }}"
)


@dataclass(frozen=True)
class Family:
    """`architecture` is what config.json's `architectures` says; `gguf` is llama.cpp's name for it.

    `targets` are its linear layers; `stop` ends an assistant turn; `pad` is in every tokenizer of the family and never
    trained; `go_template` is the chat template in Ollama's Go syntax. The system prompt that a Jinja template adds by
    itself is not a family's but each model's: phoenix_forge.chat asks the template.
    `pre` are llama.cpp's names for its tokenizers ("default" is SentencePiece). `vocabulary` is a variant's: the size
    by which config.json tells it from its family. `converted`: its GGUF is made by llama.cpp's own converter from a
    merged folder, because no row describes the model, or its tokenizer is not the row's.
    """

    name: str
    architecture: str
    model_type: str
    gguf: str
    targets: tuple[str, ...]
    stop: str
    pad: str
    go_template: str
    stops: tuple[str, ...]
    pre: tuple[str, ...]
    vocabulary: int | None = None
    converted: bool = False


SEPARATE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FUSED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")

QWEN2 = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    model_type="qwen2",
    gguf="qwen2",
    targets=SEPARATE,
    stop="<|im_end|>",
    pad="<|endoftext|>",
    go_template=CHATML_GO,
    stops=("<|im_end|>", "<|endoftext|>"),
    pre=("qwen2",),
)
QWEN3 = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    gguf="qwen3",
    targets=SEPARATE,
    stop="<|im_end|>",
    pad="<|endoftext|>",
    go_template=QWEN3_GO,
    stops=("<|im_end|>", "<|endoftext|>"),
    pre=("qwen2",),
)
LLAMA3 = Family(
    name="llama3",
    architecture="LlamaForCausalLM",
    model_type="llama",
    gguf="llama",
    targets=SEPARATE,
    stop="<|eot_id|>",
    pad="<|finetune_right_pad_id|>",
    go_template=LLAMA3_GO,
    stops=("<|eot_id|>", "<|end_of_text|>"),
    pre=("llama-bpe",),
)
MISTRAL = Family(  # <unk>: from the first Mistral on; <pad> came with a later tokenizer
    name="mistral",
    architecture="MistralForCausalLM",
    model_type="mistral",
    gguf="llama",
    targets=SEPARATE,
    stop="</s>",
    pad="<unk>",
    go_template=MISTRAL_GO,
    stops=("</s>",),
    pre=("default", "tekken"),
)
GEMMA3 = Family(
    name="gemma3",
    architecture="Gemma3ForCausalLM",
    model_type="gemma3_text",
    gguf="gemma3",
    targets=SEPARATE,
    stop="<end_of_turn>",
    pad="<pad>",
    go_template=GEMMA_GO,
    stops=("<end_of_turn>", "<eos>"),
    pre=("default",),
)
PHI3 = Family(
    name="phi3",
    architecture="Phi3ForCausalLM",
    model_type="phi3",
    gguf="phi3",
    targets=FUSED,
    stop="<|end|>",
    pad="<|endoftext|>",
    go_template=PHI3_GO,
    stops=("<|end|>", "<|endoftext|>"),
    pre=("default", "gpt-4o"),
)
PHI4 = replace(  # the 14B; Phi-4-mini speaks as Phi-3 does
    PHI3,
    stop="<|im_end|>",
    go_template=PHI4_GO,
    stops=("<|im_end|>", "<|endoftext|>"),
    pre=("dbrx",),
    vocabulary=100_352,
)

FAMILIES = (QWEN2, QWEN3, LLAMA3, MISTRAL, GEMMA3, PHI3)
VARIANTS = (PHI4,)  # of a family's weights with a chat format of their own
ANY = "any"  # the name of what has no row: see foreign()


def foreign(architecture: str, model_type: str, stop: str, pad: str) -> Family:
    """A family without a row: transformers and PEFT train it, llama.cpp's converter makes its GGUF. Its linear layers
    are found in the model itself, and its Go template is derived from its own (see phoenix_forge.chat.ollama)."""
    return Family(
        ANY, architecture, model_type, "", (), stop, pad, CHATML_GO, (stop,), (), converted=True
    )


def _row(
    attribute: str, value: str | None, what: str, where: str, families: tuple[Family, ...]
) -> Family:
    by_key = {getattr(family, attribute): family for family in families}
    if not isinstance(value, str) or value not in by_key:
        raise UsageError(
            f"{where}: the {what} {value!r} is not supported; supported: {', '.join(by_key)}",
            fix="choose a base of a supported architecture with --set model.base=…",
        )
    return by_key[value]


def architecture(config: dict[str, Any]) -> str | None:
    """What a config.json names first, if that is a name."""
    named = config.get("architectures")
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None


def has_row(config: dict[str, Any]) -> bool:
    return architecture(config) in {family.architecture for family in FAMILIES}


def by_config(config: dict[str, Any], where: str) -> Family:
    """The row for a config.json; an architecture without one is refused by name."""
    what = (
        "architecture with code of its own (auto_map), which is never run,"
        if config.get("auto_map")
        else "architecture"
    )
    family = _row("architecture", architecture(config), what, where, FAMILIES)
    return next(
        (
            variant
            for variant in VARIANTS
            if variant.architecture == family.architecture
            and variant.vocabulary == config.get("vocab_size")
        ),
        family,
    )


def by_gguf(architecture: str | None, pre: str | None, where: str) -> Family:
    """The row for a GGUF's general.architecture and tokenizer.ggml.pre: Llama and Mistral share the former."""
    _row("gguf", architecture, "GGUF architecture", where, FAMILIES)
    rows = [family for family in (*FAMILIES, *VARIANTS) if family.gguf == architecture]
    match = next((family for family in rows if pre in family.pre), None)
    if match is None:
        names = ", ".join(name for family in rows for name in family.pre)
        raise UsageError(
            f"{where}: a {architecture!r} with pre-tokenizer {pre!r} is not supported; supported: {names}",
            fix="take another file of the model, or its Hugging Face folder",
        )
    return match
