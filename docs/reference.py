"""A hook of mkdocs: pages made of what the code says, pages that lie beside docs/, and links that lead out of it.

The reference of commands is the text of `--help`, that of settings is docs/schema.json; neither is kept as a file.
"""

from __future__ import annotations

import json
import posixpath
import re
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Files of the repository that are pages or pictures of the site, too: place in the repository → place in the site.
BESIDE = {
    "CHANGELOG.md": "development/changelog.md",
    "CODE_OF_CONDUCT.md": "development/conduct.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "RELEASING.md": "development/releasing.md",
    "SECURITY.md": "development/reporting.md",
    "bench/README.md": "bench/index.md",
    "bench/knowledge.md": "bench/knowledge.md",
    "bench/reading.md": "bench/reading.md",
    "bench/recipes.md": "bench/recipes.md",
    "bench/retrieval.md": "bench/retrieval.md",
    "bench/results/package.png": "bench/results/package.png",
    "bench/results/recipes.png": "bench/results/recipes.png",
    "bench/results/train_cpu.png": "bench/results/train_cpu.png",
}
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]*`)", re.M | re.S)  # nothing in it is a link
COMMON = ("--config", "--set", "--workspace", "--json", "--quiet", "--verbose", "--help")


# --- reference pages ---------------------------------------------------------------------------------------------


def cell(text: str) -> str:
    """A text as one cell of a table; what looks like a tag is text."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def options(command: Any, context: Any) -> dict[str, str]:
    """What a command takes, as `--help` writes it: the name with its type → what it does."""
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return dict(record for record in records if record)


def table(rows: dict[str, str]) -> str:
    body = "".join(f"| `{name}` | {cell(text)} |\n" for name, text in rows.items())
    return f"\n| option | does |\n|---|---|\n{body}"


def described(command: Any, name: str, level: int = 2) -> str:
    """A command's section, and those of the commands below it."""
    context = command.context_class(command, info_name=name)
    rows = options(command, context)
    own = {key: text for key, text in rows.items() if not key.startswith(COMMON)}
    text = f"\n{'#' * level} {name}\n\n{' '.join((command.help or '').split())}\n"
    if own:
        text += table(own)
    below = getattr(command, "commands", {})
    return text + "".join(
        described(one, f"{name} {word}", level + 1) for word, one in below.items()
    )


def cli_page() -> str:
    """Every command with its options; the common ones once, taken from one that has them all."""
    import typer.main

    from phoenix_forge.cli.app import app

    group: Any = typer.main.get_command(app)
    status = group.commands["status"]
    common = options(status, status.context_class(status, info_name="forge status"))
    text = (
        "# Commands\n\nMade of `forge --help`, when this site was built.\n\n## Options of every command\n"
        + table(common)
        + "\nExit codes: 0 done · 1 a bug in Forge · 2 config or usage · 3 the machine lacks "
        "something · 4 the stage failed · 130 interrupted.\n"
    )
    return text + "".join(described(one, f"forge {word}") for word, one in group.commands.items())


def kind(field: dict) -> str:
    """The type of a setting in a reader's words, with its bounds."""
    if "anyOf" in field:
        return " or ".join(kind(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    words = {
        "string": "text",
        "integer": "whole number",
        "boolean": "true or false",
        "array": "list",
        "object": "map",
    }
    named = words.get(field.get("type", ""), field.get("type", "any"))
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[key]}" for key, sign in signs.items() if key in field]
    return " ".join([named, *([f"({', '.join(bounds)})"] if bounds else [])])


def settings(schema: dict, section: dict, prefix: str) -> list[tuple[str, dict]]:
    """The settings of a section and of those in it, by their dotted names."""
    rows: list[tuple[str, dict]] = []
    for name, field in section["properties"].items():
        if "$ref" in field:
            inner = schema["$defs"][field["$ref"].rpartition("/")[2]]
            rows += settings(schema, inner, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, field))
    return rows


def row(name: str, field: dict) -> str:
    default = json.dumps(field.get("default"), ensure_ascii=False)
    return f"| `{name}` | {cell(kind(field))} | `{cell(default)}` | {cell(field.get('description', ''))} |\n"


def config_page() -> str:
    """Every setting of forge.yaml with its type, default and meaning."""
    schema = json.loads((ROOT / "docs/schema.json").read_text(encoding="utf-8"))
    text = (
        "# Settings\n\nEverything that `forge.yaml` can hold, made of [schema.json](../schema.json), which editors "
        "read, too. `forge config show` says what is in force and where it came from; `--set section.key=value` "
        "sets one for one command.\n"
    )
    for section, rows in groupby(
        settings(schema, schema, ""), lambda pair: pair[0].rpartition(".")[0].split(".")[0]
    ):
        text += f"\n## {section or 'forge.yaml'}\n\n| setting | type | default | meaning |\n|---|---|---|---|\n"
        text += "".join(row(name, field) for name, field in rows)
    return text


# --- links -------------------------------------------------------------------------------------------------------


def home(uri: str) -> str:
    """Where the source of a page of the site lies in the repository."""
    return next((place for place, page in BESIDE.items() if page == uri), f"docs/{uri}")


def moved(target: str, uri: str, repository: str | None) -> str | None:
    """Where a link of a page leads on the site, or None where only the repository has it and nobody said where that is.

    Args:
        target: the link as it is written, for the repository's own pages.
        uri: the page, in the site.
        repository: address of the repository, for what is no page.
    """
    path, hash_, anchor = target.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return target
    place = posixpath.normpath(posixpath.join(posixpath.dirname(home(uri)), path))
    if place.startswith("docs/"):
        page = place.removeprefix("docs/")
    elif place in BESIDE:
        page = BESIDE[place]
    else:
        return f"{repository.rstrip('/')}/blob/HEAD/{place}{hash_}{anchor}" if repository else None
    return posixpath.relpath(page, posixpath.dirname(uri) or ".") + hash_ + anchor


def relinked(markdown: str, uri: str, repository: str | None) -> str:
    """A page whose links lead to where things lie on the site. What leads nowhere from there stays as text."""

    def link(found: re.Match[str]) -> str:
        target = moved(found[2], uri, repository)
        return f"[{found[1]}]({target})" if target else found[1]

    pieces = CODE.split(markdown)
    # A link's text may be code, so links are looked for where code stands as a mark.
    codes = pieces[1::2]
    marked = "\0".join(pieces[::2])
    parts = LINK.sub(link, marked).split("\0")
    return "".join(part + code for part, code in zip(parts, [*codes, ""], strict=True))


# --- what mkdocs calls -------------------------------------------------------------------------------------------


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference/commands.md", content=cli_page()))
    files.append(File.generated(config, "reference/settings.md", content=config_page()))
    for place, page in BESIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return relinked(markdown, page.file.src_uri, config.repo_url)
