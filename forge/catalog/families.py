"""Model families: one row an architecture. A new family is a new row, and transforms where its weights need any."""

from __future__ import annotations

from dataclasses import dataclass

from forge.errors import UsageError

CHATML_GO = (
    "{{- if .Messages }}{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{- range .Messages }}{{ if ne .Role \"system\" }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "{{- end }}<|im_start|>assistant\n"
    "{{- else }}{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ end }}{{ .Response }}"
)


@dataclass(frozen=True)
class Family:
    """`architecture` is what config.json's `architectures` says; `gguf` is llama.cpp's name for it.

    `targets` are its linear layers; `stop` ends an assistant turn; `go_template` is the chat template in Ollama's Go
    syntax. The system prompt that a Jinja template adds by itself is not a family's but each model's: forge.chat asks
    the template.
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


QWEN2 = Family(
    name="qwen2", architecture="Qwen2ForCausalLM", model_type="qwen2", gguf="qwen2",
    targets=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    stop="<|im_end|>", pad="<|endoftext|>", go_template=CHATML_GO, stops=("<|im_end|>", "<|endoftext|>"))

FAMILIES = (QWEN2,)


def _row(attribute: str, value: str | None, what: str, where: str) -> Family:
    known = {getattr(family, attribute): family for family in FAMILIES}
    if value not in known:
        raise UsageError(f"{where}: {what} {value!r} is not supported; supported: {', '.join(known)}",
                         fix="choose a base of a supported architecture with --set model.base=…")
    return known[value]


def by_architecture(architecture: str | None, where: str) -> Family:
    """The row for config.json's architecture; an unknown one is refused by name before anything is read."""
    return _row("architecture", architecture, "architecture", where)


def by_gguf(architecture: str | None, where: str) -> Family:
    """The row for a GGUF's general.architecture."""
    return _row("gguf", architecture, "GGUF architecture", where)
