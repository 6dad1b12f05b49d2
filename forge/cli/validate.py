"""forge validate: a dataset's figures and findings as text."""

from __future__ import annotations

from pathlib import Path

from forge.cli.setup import CONFIG, Setup
from forge.errors import UsageError

SHOWN = 20  # findings printed; --json has them all


def check_file(setup: Setup, file: Path) -> tuple[dict, list[str]]:
    """The result of validating `file`, and the lines that say it; tokens are counted when the base is there."""
    from forge.dataset.validate import validate
    if not file.is_file():
        raise UsageError(f"no dataset at {file}", fix="forge dataset")
    encoder, length = None, None
    if setup.seed or (setup.root / CONFIG).exists() or setup.config:
        from forge.stages.dataset import encoder as load
        ctx = setup.context()
        if (ctx.base_dir / "tokenizer.json").exists():
            encoder, length = load(ctx), ctx.config.train.max_length
    result = validate(file, encoder=encoder, max_length=length)
    return result, _lines(result)


def _lines(result: dict) -> list[str]:
    lines = []
    for finding in result["findings"][:SHOWN]:
        lines.append(f"line {finding['line']}: {finding['level']}: {finding['message']}")
    if len(result["findings"]) > SHOWN:
        lines.append(f"… and {len(result['findings']) - SHOWN} more (--json has all)")
    if result.get("tokens"):
        tokens = ", ".join(f"{name} {value}" for name, value in result["tokens"].items())
        lines.append(f"tokens an example: {tokens}; {result['trained_share']:.0%} of them trained; "
                     f"{result['truncated']} too long")
    if result["errors"]:
        lines.append(f"❌ {result['errors']} errors, {result['warnings']} warnings in {result['lines']} lines, "
                     f"{result['valid_json']} of them valid JSON.")
    else:
        lines.append(f"✅ All {result['lines']} lines are valid JSON.")
    return lines
