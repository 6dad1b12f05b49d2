"""The model card: README.md with the front matter that the Hub reads, from what the stages recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

import yaml

from forge.core.fsio import human

Relation = Literal["quantized", "adapter", "finetune"]
LIBRARY: dict[Relation, str] = {"quantized": "gguf", "adapter": "peft", "finetune": "transformers"}
LOCAL = ("local/", "ollama/", "forge/")  # identities of bases that are not on the Hub
# Key of dataset_card.json → how the card words it.
DATASET_ROWS = {"documents": "documents", "sections": "sections", "examples": "training examples",
                "source_tokens": "tokens in the documents", "trained_tokens": "tokens trained on",
                "coverage": "share of the documents trained on", "duplicates": "near-duplicates left out",
                "redactions": "secrets redacted"}


@dataclass(frozen=True)
class Facts:
    """What the cards tell. `files` are (name, bytes, SHA-256) of the GGUFs; `dataset` is dataset_card.json;
    `training` the settings and results worth showing; `evaluation` what was measured, in Markdown; `manifests` those of
    the stages, in order."""

    name: str
    repo: str | None
    base: str
    license: str
    system: str | None
    num_ctx: int
    files: Sequence[tuple[str, int, str]] = ()
    dataset: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    evaluation: str = ""
    manifests: Sequence[dict[str, Any]] = ()


def metadata(facts: Facts, relation: Relation) -> dict[str, Any]:
    """The front matter's keys, as the Hub names them."""
    on_hub = "/" in facts.base and not facts.base.startswith(LOCAL)
    return {
        "license": facts.license,
        **({"base_model": facts.base, "base_model_relation": relation} if on_hub else {}),
        "library_name": LIBRARY[relation],
        "pipeline_tag": "text-generation",
        "tags": ["phoenix-forge", {"quantized": "gguf", "adapter": "lora", "finetune": "merged"}[relation],
                 "conversational"],
    }


def model_card_yaml(facts: Facts, relation: Relation = "quantized") -> str:
    """model_card.yaml: the front matter as a file of its own."""
    return yaml.safe_dump({"model_name": facts.name, **metadata(facts, relation)}, sort_keys=False, allow_unicode=True)


def readme(facts: Facts) -> str:
    """README.md of a GGUF repository."""
    title = f"# {facts.name}\n\n`{facts.base}`, fine-tuned on documents and quantised for llama.cpp and Ollama.\n"
    return _card(facts, "quantized", title, _run_gguf(facts))


def readme_lora(facts: Facts) -> str:
    """README_LORA.md: the card of the adapter alone."""
    title = f"# {facts.name} (LoRA adapter)\n\nLoRA weights in PEFT format for `{facts.base}`.\n"
    return _card(facts, "adapter", title, _run_adapter(facts))


def _card(facts: Facts, relation: Relation, title: str, run: str) -> str:
    front = yaml.safe_dump(metadata(facts, relation), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---\n\n{title}", run]
    if facts.system:
        parts.append(f"## System prompt\n\n{_fenced(facts.system)}")
    if relation == "quantized" and facts.files:
        rows = [(f"`{name}`", human(size), f"`{digest}`") for name, size, digest in facts.files]
        parts.append("## Files\n\n" + _table(("file", "size", "SHA-256"), rows))
    data = [(label, _shown(key, facts.dataset[key])) for key, label in DATASET_ROWS.items() if key in facts.dataset]
    if data:
        parts.append("## Data\n\n" + _table(("what", "how many"), data))
    if facts.training:
        parts.append("## Training\n\n" + _table(("setting", "value"), facts.training.items()))
    if facts.evaluation:
        parts.append(facts.evaluation)
    if facts.manifests:
        parts.append("## Provenance\n\nEach result, the step that made it and its SHA-256.\n\n" + _table(
            ("step", "result", "SHA-256", "made", "versions"), _provenance(facts.manifests)))
    parts.append("Answers can be wrong: the model learned from a limited set of documents and has no access to them.\n")
    return "\n".join(parts)


def _run_gguf(facts: Facts) -> str:
    lines = ["## Run it\n"]
    if facts.repo:
        quants = [name.removesuffix(".gguf").rpartition("-")[2] for name, _, _ in facts.files] or ["Q4_K_M"]
        lines += ["```bash", *(f"ollama run hf.co/{facts.repo}:{quant}" for quant in quants), "```\n"]
    lines.append(f"Template, stop tokens and system prompt come along. Context: {facts.num_ctx} tokens.\n")
    return "\n".join(lines)


def _run_adapter(facts: Facts) -> str:
    where = facts.repo or "PATH"
    return ("## Use it\n\n```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{facts.base}", dtype="auto")\n'
            f'model = PeftModel.from_pretrained(base, "{where}")\n```\n')


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}\n"


def _shown(key: str, value: Any) -> str:
    return f"{value:.1%}" if key == "coverage" else f"{value:,}" if isinstance(value, int) else str(value)


def _provenance(manifests: Iterable[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    for manifest in manifests:
        versions = ", ".join(f"{tool} {version}" for tool, version in manifest.get("versions", {}).items())
        for output in manifest.get("outputs", {}).values():
            # Only the name: a path may tell about the machine it was made on.
            yield (manifest["stage"], f"`{PurePath(output['path']).name}`", f"`{output['sha256'][:16]}…`",
                   str(manifest.get("started", ""))[:10], versions)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)]) + "\n"
