"""forge validate: a dataset's figures and findings as text."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from phoenix_forge.chat.template import OTHER_BASE
from phoenix_forge.cli.setup import Setup
from phoenix_forge.errors import UsageError
from phoenix_forge.project.folder import CONFIG

SHOWN = 20  # findings printed; --json has more
BAR = 40  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉"


def check_file(setup: Setup, file: Path) -> tuple[dict, list[str]]:
    """The result of validating `file`, and the lines that say it; tokens are counted when the base is there."""
    from phoenix_forge.examples.validate import validate

    if not file.is_file():
        raise UsageError(f"no dataset at {file}", fix="forge dataset")
    encoder, length = None, None
    if setup.ground or (setup.root / CONFIG).exists() or setup.config:
        from phoenix_forge.stages.dataset import encoder as load

        ctx = setup.context()
        if (ctx.base_dir / "tokenizer.json").exists():
            encoder, length = load(ctx), ctx.config.train.max_length
    result = validate(file, encoder=encoder, max_length=length, report=setup.report)
    result["fix"] = fix_of(result, file)
    return result, lines_of(result)


def fix_of(result: dict, file: Path) -> str | None:
    """What leads out of the errors of a file: by the kind of the first, for all that are of it."""
    errors = [finding for finding in result["findings"] if finding["level"] == "error"]
    if not errors:
        return None
    kind = min(errors, key=lambda finding: finding["line"])["kind"]
    if kind == "empty":
        return "forge dataset makes one"
    if kind == "truncated":
        return "--set train.max_length=… higher, or split what is too long"
    other = (
        f"{OTHER_BASE}; or " if kind == "template" else ""
    )  # as forge train says, which names no lines
    lines = sorted({finding["line"] for finding in errors if finding["kind"] == kind})
    if file.suffix == ".parquet" or len(lines) > SHOWN:
        return f"{other}mend these lines where they come from; forge dataset --force makes Forge's own again"
    which = ";".join(f"{line}d" for line in lines)
    return (
        f"{other}mend line {', '.join(map(str, lines))}, or take {'it' if len(lines) == 1 else 'them'} out: "
        f"sed -i {quote(which)} {quote(str(file))}"
    )


def lines_of(result: dict) -> list[str]:
    """Findings, errors first; then figures; the verdict, and what to do, last."""
    lines = _findings(result)
    if result["kinds"]:
        lines.append(
            "kinds: " + ", ".join(f"{kind} {count:,}" for kind, count in result["kinds"].items())
        )
    if result["languages"]:
        lines.append(
            "languages: "
            + ", ".join(f"{name} {share:.1%}" for name, share in result["languages"].items())
        )
    if result["tokens"]:
        tokens = ", ".join(f"{name} {value:,}" for name, value in result["tokens"].items())
        lines += ["tokens an example:", *bars(result["histogram"])]
        lines.append(
            f"tokens an example: {tokens}; {result['trained_share']:.0%} of them trained; "
            f"{result['truncated']:,} too long"
        )
    if result["errors"]:
        lines.append(
            f"❌ {result['errors']} errors, {result['warnings']} warnings in {result['lines']} lines, "
            f"{result['valid_json']} of them valid JSON."
        )
        if result.get("fix"):
            lines.append(f"fix: {result['fix']}")
    else:
        lines.append(f"✅ All {result['lines']} lines are valid JSON.")
        if result["warnings"]:
            lines.append(f"   {result['warnings']} warnings.")
    return lines


def _findings(result: dict) -> list[str]:
    ranked = sorted(
        result["findings"], key=lambda finding: (finding["level"], finding["line"])
    )  # error < warning
    lines = [f"line {f['line']}: {f['level']}: {f['message']}" for f in ranked[:SHOWN]]
    total = sum(result["found"].values())
    if total > SHOWN:
        by_kind = ", ".join(f"{kind} {count:,}" for kind, count in result["found"].items())
        lines.append(f"… {total:,} in all: {by_kind} (--json lists the first 200 of each)")
    return lines


def bars(bins: list[dict]) -> list[str]:
    """A histogram as text, one line a bin; the longest bar is 40 characters."""
    most = max((one["examples"] for one in bins), default=0)
    lines = []
    for one in bins:
        eighths = round(one["examples"] / most * BAR * 8) if most else 0
        bar = "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        if one["examples"] and not bar:
            bar = EIGHTHS[1]
        lines.append(f"  {one['from']:>6}–{one['below'] - 1:<6} {bar:<{BAR}} {one['examples']:,}")
    return lines
