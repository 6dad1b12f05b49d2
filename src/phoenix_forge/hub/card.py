"""The cards: README.md with the front matter that the Hub reads, from what the stages recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

import yaml

from phoenix_forge.core.fsio import human
from phoenix_forge.hub.licenses import front_matter

Relation = Literal["quantized", "adapter", "finetune"]
LIBRARY: dict[Relation, str] = {"quantized": "gguf", "adapter": "peft", "finetune": "transformers"}
LOCAL = ("local/", "ollama/", "forge/")  # identities of bases that are not on the Hub
# Key of dataset_card.json → how the card words it.
DATASET_ROWS = {
    "documents": "documents",
    "sections": "sections",
    "examples": "training examples",
    "source_tokens": "tokens in the documents",
    "trained_tokens": "tokens trained on",
    "coverage": "share of the documents trained on",
    "duplicates": "near-duplicates left out",
    "redactions": "secrets redacted",
}


@dataclass(frozen=True)
class Quant:
    """One GGUF. `bits` a weight over the whole file; `measured` is its condition in the evaluation, if it was asked."""

    name: str
    type: str
    bytes: int
    sha256: str
    bits: float
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What the cards tell. `dataset` is dataset_card.json; `training` the settings and results worth showing;
    `evaluation` what was measured, in Markdown; `revision` the base's commit; `terms` what its licence asks for;
    `tools`: the template has a place for them; `manifests` those of the stages, in order."""

    name: str
    repo: str | None
    base: str
    license: str
    system: str | None
    num_ctx: int
    private: bool = False
    tools: bool = False
    revision: str | None = None
    base_license: str = "unknown"
    terms: Sequence[str] = ()
    files: Sequence[Quant] = ()
    dataset: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    evaluation: str = ""
    manifests: Sequence[dict[str, Any]] = ()

    @property
    def base_on_hub(self) -> bool:
        return "/" in self.base and not self.base.startswith(LOCAL)


def metadata(facts: Facts, relation: Relation) -> dict[str, Any]:
    """The front matter's keys, as the Hub names them."""
    return {
        **front_matter(facts.license, facts.base if facts.base_on_hub else None),
        **(
            {"base_model": facts.base, "base_model_relation": relation} if facts.base_on_hub else {}
        ),
        "library_name": LIBRARY[relation],
        "pipeline_tag": "text-generation",
        "tags": [
            "phoenix-forge",
            {"quantized": "gguf", "adapter": "lora", "finetune": "merged"}[relation],
            "conversational",
        ],
    }


def model_card_yaml(facts: Facts, relation: Relation = "quantized") -> str:
    """model_card.yaml: the front matter as a file of its own."""
    return yaml.safe_dump(
        {"model_name": facts.name, **metadata(facts, relation)}, sort_keys=False, allow_unicode=True
    )


def readme(facts: Facts, relation: Relation = "quantized") -> str:
    """README.md of a repository of GGUFs (quantized), or of the merged model (finetune)."""
    made = (
        "quantised for llama.cpp and Ollama"
        if relation == "quantized"
        else "merged into 16-bit safetensors"
    )
    return _card(
        facts, relation, f"# {facts.name}\n\n`{facts.base}`, fine-tuned on documents and {made}.\n"
    )


def readme_lora(facts: Facts) -> str:
    """README_LORA.md: the card of the adapter alone."""
    return _card(
        facts,
        "adapter",
        f"# {facts.name} (LoRA adapter)\n\nLoRA weights in PEFT format for `{facts.base}`.\n",
    )


def readme_dataset(facts: Facts, splits: dict[str, str]) -> str:
    """README.md of the dataset as a repository of its own; `splits` are names of splits and files."""
    front = {
        **front_matter(facts.license),
        "task_categories": ["text-generation"],
        "tags": ["phoenix-forge"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": path} for split, path in splits.items()],
            }
        ],
    }
    parts = [
        _front(front)
        + f"# {facts.name}: the examples it was trained on\n\nConversations (`messages`) made from "
        "documents, each with its source: path, span of bytes and SHA-256.\n"
    ]
    parts += _data(facts)
    parts.append(
        "The closed-book questions that measure its recall of taught facts are not in here: once published "
        "they would be trained on.\n"
    )
    return "\n".join(parts)


def _card(facts: Facts, relation: Relation, title: str) -> str:
    parts = [_front(metadata(facts, relation)) + title, RUN[relation](facts)]
    if facts.system:
        parts.append(f"## System prompt\n\n{_fenced(facts.system)}")
    if relation == "quantized" and facts.files:
        parts.append(_quants(facts.files))
    parts += _data(facts)
    if facts.training:
        parts.append(
            "## Training\n\n"
            + _table(
                ("setting", "value"),
                [(key, _shown(key, value)) for key, value in facts.training.items()],
            )
        )
    if facts.evaluation:
        parts.append(facts.evaluation)
    parts.append(_license(facts))
    if facts.manifests:
        at = f"The base is `{facts.base}` at commit `{facts.revision}`. " if facts.revision else ""
        parts.append(
            f"## Provenance\n\n{at}Each result, the step that made it and its SHA-256.\n\n"
            + _table(
                ("step", "result", "SHA-256", "made", "versions"), _provenance(facts.manifests)
            )
        )
    parts.append(
        "Answers can be wrong: the model learned from a limited set of documents and has no access to them.\n"
    )
    return "\n".join(parts)


def _front(values: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n\n"


def _run_gguf(facts: Facts) -> str:
    lines = ["## Run it\n"]
    if facts.repo:
        quants = [quant.type for quant in facts.files] or ["Q4_K_M"]
        if facts.private:
            lines.append(
                "The repository is private: add Ollama's key (`~/.ollama/id_ed25519.pub`) to the SSH keys of "
                "your account, and set HF_TOKEN for llama.cpp.\n"
            )
        lines += [
            "```bash",
            *(f"ollama run hf.co/{facts.repo}:{quant}" for quant in quants),
            f"llama-server -hf {facts.repo}:{quants[0]} -c {facts.num_ctx}",
            "```\n",
        ]
    lines.append(
        f"Ollama finds template, stop tokens and system prompt here. Context: {facts.num_ctx} tokens.\n"
    )
    if facts.tools:
        lines.append(
            "Requests with tools go to `forge serve` or `llama-server`: Ollama's template has no words for "
            "them.\n"
        )
    return "\n".join(lines)


def _run_adapter(facts: Facts) -> str:
    where = facts.repo or "PATH"
    return (
        "## Use it\n\n```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{facts.base}", dtype="auto")\n'
        f'model = PeftModel.from_pretrained(base, "{where}")\n```\n'
    )


def _run_merged(facts: Facts) -> str:
    where = facts.repo or "PATH"
    return (
        "## Use it\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{where}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{where}", dtype="auto")\n'
        'prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Who are you?"}],\n'
        "                                       add_generation_prompt=True, return_dict=True, "
        'return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**prompt, max_new_tokens=100)[0]))\n```\n"
    )


RUN = {"quantized": _run_gguf, "adapter": _run_adapter, "finetune": _run_merged}


def _quants(files: Sequence[Quant]) -> str:
    asked = any(quant.measured for quant in files)
    head = (
        "file",
        "type",
        "size",
        "bits a weight",
        *(("choice accuracy", "nats a token") if asked else ()),
        "SHA-256",
    )
    rows = [
        (
            f"`{q.name}`",
            q.type,
            human(q.bytes),
            f"{q.bits:.2f}",
            *(
                (_percent(q.measured), _shown("", q.measured.get("nats_per_token", "–")))
                if asked
                else ()
            ),
            f"`{q.sha256}`",
        )
        for q in files
    ]
    return "## Files\n\n" + _table(head, rows)


def _percent(condition: dict[str, Any]) -> str:
    accuracy, low, high = (
        condition.get(key) for key in ("choice_accuracy", "choice_low", "choice_high")
    )
    if accuracy is None:
        return "–"
    return f"{accuracy:.1%}" + (
        f" ({low:.1%} to {high:.1%})" if low is not None and high is not None else ""
    )


def _data(facts: Facts) -> list[str]:
    rows = [
        (label, _shown(key, facts.dataset[key]))
        for key, label in DATASET_ROWS.items()
        if key in facts.dataset
    ]
    return ["## Data\n\n" + _table(("what", "how many"), rows)] if rows else []


def _license(facts: Facts) -> str:
    base = (
        f"[`{facts.base}`](https://huggingface.co/{facts.base})"
        if facts.base_on_hub
        else f"`{facts.base}`"
    )
    lines = [f"Published under {facts.license}. The base, {base}, is under {facts.base_license}."]
    return (
        "## Licence\n\n"
        + "\n".join([*lines, *(f"\n{term[0].upper()}{term[1:]}." for term in facts.terms)])
        + "\n"
    )


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}\n"


def _shown(key: str, value: Any) -> str:
    if key == "coverage":
        return f"{value:.1%}"
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )


def _provenance(manifests: Iterable[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    for manifest in manifests:
        versions = ", ".join(
            f"{tool} {version}" for tool, version in manifest.get("versions", {}).items()
        )
        for output in manifest.get("outputs", {}).values():
            # Only the name: a path may tell about the machine it was made on.
            yield (
                manifest["stage"],
                f"`{PurePath(output['path']).name}`",
                f"`{output['sha256'][:16]}…`",
                str(manifest.get("started", ""))[:10],
                versions,
            )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return (
            "| "
            + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
            + " |"
        )

    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)]) + "\n"
