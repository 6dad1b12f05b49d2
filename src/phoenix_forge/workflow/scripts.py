"""The workflow's scripts by name: which Forge command each one is, and how its flags read today."""

from __future__ import annotations

import sys
from collections.abc import Callable

from phoenix_forge.cli.boundary import guarded, invoke
from phoenix_forge.errors import UsageError
from phoenix_forge.workflow.old_config import ground

# Script → Forge command line. Flags that Forge spells the same pass through unchanged.
COMMANDS = {
    "forge_whole_genome_dataset": ["dataset"],
    "validate_dataset": ["validate"],
    "download_model": ["download"],
    "fine_tune": ["train"],
    "merge_adapter": ["merge"],
    "convert_to_gguf": ["quantize"],
    "create_modelfile": ["modelfile"],
    "evaluate": ["evaluate"],
    "forge_test_set": ["evaluate", "--test-set"],
    "upload_to_huggingface": ["publish"],
    "verify_adapter": ["ask"],
}
VERIFICATIONS = (
    "verify_environment",
    "test_torch_cuda",
    "test_bitsandbytes",
    "test_triton",
    "test_transformers",
    "test_xformers",
    "test_llama_cpp",
    "test_tensorflow",
)


def _asked(arguments: list[str]) -> list[str]:
    """verify_adapter's flags → forge ask's: --input TEXT is the question, --model-type is --model (adapter by default),
    --do-sample the opposite of --greedy. What the script verifies is the model, so no passages come with the question.
    """
    translated: list[str] = []
    model = "adapter"
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in ("--input", "--model-type", "--max-new-tokens") and not equals:
            value = next(rest, "")
            if not value:
                raise UsageError(f"{name} needs a value", fix=f"{name} VALUE")
        if name == "--input":
            translated.append(value)
        elif name == "--model-type":
            model = value
        elif name == "--max-new-tokens":
            translated += ["--max-tokens", value]
        elif name == "--do-sample":
            if not any(a.startswith("--temperature") for a in arguments):
                translated += ["--temperature", "0.7"]
        else:
            translated.append(argument)
    return ["--closed-book", "--model", model, *translated]


def _evaluated(arguments: list[str]) -> list[str]:
    """evaluate.py's flags → forge evaluate's: --dataset FILE holds the questions, --model PATH is the merged model."""
    translated: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name not in ("--dataset", "--model"):
            translated.append(argument)
            continue
        value = value if equals else next(rest, "")
        if not value:
            raise UsageError(f"{name} needs a value", fix=f"{name} PATH")
        translated += (
            ["--questions", value]
            if name == "--dataset"
            else ["--model", "base", "--model", "merged", "--set", f"paths.merged={value}"]
        )
    return translated


FLAGS: dict[str, Callable[[list[str]], list[str]]] = {
    "verify_adapter": _asked,
    "evaluate": _evaluated,
}


def _verification(name: str) -> int:
    from phoenix_forge.cli.setup import Setup
    from phoenix_forge.workflow.harness import verify

    setup = Setup(ground=ground, quiet=True)
    lines, passed = verify(name, setup.root, setup.report)
    print("\n".join(lines))
    return 0 if passed else 3


def main(name: str, argv: list[str] | None = None) -> int:
    """Runs the workflow's script `name` with its flags; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if name in VERIFICATIONS:
        return guarded(lambda: _verification(name))

    def work() -> int:
        translated = FLAGS.get(name, list)(arguments)
        return invoke([*COMMANDS[name], *translated], ground=ground)

    return guarded(work)
