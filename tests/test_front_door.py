"""What a newcomer meets first: workflows, templates, pages and the container name only what exists."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from phoenix_forge import __version__
from phoenix_forge.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
AT_THE_TOP = [
    ROOT / name
    for name in (
        "README.md",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "RELEASING.md",
        "SECURITY.md",
        ".github/pull_request_template.md",
    )
]
PAGES = sorted(path for path in DOCS.rglob("*.md"))
# What these pages name, and a command of theirs, or the reader, makes first.
MADE = {
    "dist",
    "site",
    "notes.md",
    "/tmp/documents",
    "/tmp/release",
    "logs",
    "models",
    "outputs",
    ".venv",
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
)
TARGETS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


class Loader(yaml.SafeLoader):
    """YAML whose tags of its own (mkdocs.yml: !ENV, !!python/name) are words."""


Loader.add_multi_constructor("", lambda loader, tag, node: tag)


def read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def steps(workflow: Path) -> Iterator[dict]:
    for job in read(workflow)["jobs"].values():
        yield from job["steps"]


def scripts() -> Iterator[tuple[str, str]]:
    """(where, shell commands) of the workflows, and of the pages that tell someone what to type."""
    for workflow in WORKFLOWS:
        yield workflow.name, "\n".join(step["run"] for step in steps(workflow) if "run" in step)
    for page in [*AT_THE_TOP, DOCS / "getting-started.md", DOCS / "docker.md"]:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
        yield (
            page.name,
            "\n".join(
                [
                    *blocks,
                    *re.findall(
                        r"(?<!`)`([a-z][^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.S)
                    ),
                ]
            ),
        )


def commands(group: Any, prefix: str = "forge") -> dict[str, Any]:
    found = {}
    for name, one in group.commands.items():
        found |= {f"{prefix} {name}": one}
        found |= commands(one, f"{prefix} {name}") if hasattr(one, "commands") else {}
    return found


COMMANDS = commands(typer.main.get_command(app))


def module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def reference() -> Any:
    return module(DOCS / "reference.py")


# --- workflows and templates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_little_and_ends(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())
    for step in steps(path):
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@(v\d+|[0-9a-f]{40})", step["uses"]), step["uses"]
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_python_that_is_promised_is_tested() -> None:
    (matrix,) = [
        job["strategy"]["matrix"]
        for path in WORKFLOWS
        for job in read(path)["jobs"].values()
        if "strategy" in job
    ]
    promised = [
        line.rpartition(" :: ")[2]
        for line in PYPROJECT["project"]["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    ]
    assert matrix["python"] == promised
    assert PYPROJECT["project"]["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_have_what_github_asks_for(path: Path) -> None:
    form = read(path)
    if path.name == "config.yml":
        assert form["blank_issues_enabled"] in (True, False)
        return
    assert {"name", "description", "body"} <= set(form)
    names = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(names) == len(set(names)) > 0
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert part["attributes"].get("value" if part["type"] == "markdown" else "label")


@pytest.mark.parametrize(("where", "text"), list(scripts()), ids=[where for where, _ in scripts()])
def test_what_is_to_be_typed_exists(where: str, text: str) -> None:
    for words in re.findall(r"(?:^|[\s;&])make((?: [a-z]+)+)", text):
        assert set(words.split()) <= TARGETS, f"{where}: make{words}"
    for name in re.findall(r"(?:^|[\s/])forge ([a-z]+)", text):
        assert f"forge {name}" in COMMANDS, f"{where}: forge {name}"
    for extras in re.findall(r"(?:phoenix-forge|\.)\[([a-z,-]+)\]", text):
        assert set(extras.split(",")) <= set(PYPROJECT["project"]["optional-dependencies"]), (
            f"{where}: [{extras}]"
        )
    for path in re.findall(r"(?<![\w$\"{/~:.-])((?:\.?[\w-]+/)+[\w.-]+)", text):
        if Path(path).parts[0] not in MADE and "." in Path(path).name:
            assert (ROOT / path).exists() or (ROOT / "src/phoenix_forge" / path).exists(), (
                f"{where}: {path}"
            )


def test_what_is_checked_before_a_commit_is_checked_by_the_same_ruff() -> None:
    hooks = {
        hook["id"]: hook
        for repo in read(ROOT / ".pre-commit-config.yaml")["repos"]
        for hook in repo["hooks"]
    }
    assert hooks["ruff"]["additional_dependencies"] == [f"ruff=={PINS['ruff']}"]


# --- pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", [*AT_THE_TOP, *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|(?<!\[)`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:", target):
            path, _, anchor = target.partition("#")
            place = page.parent / path if path else page
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), target


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return {
        re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.+)$", text, re.M)
    }


def nav_pages(nav: list) -> Iterator[str]:
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from nav_pages(value) if isinstance(value, list) else [value]


def test_the_site_has_every_page_once(reference: Any) -> None:
    named = list(nav_pages(read(ROOT / "mkdocs.yml")["nav"]))
    made = {
        "reference/commands.md",
        "reference/settings.md",
        *(page for page in reference.BESIDE.values() if page.endswith(".md")),
    }
    assert sorted(named) == sorted(made | {page.relative_to(DOCS).as_posix() for page in PAGES})
    assert all((ROOT / place).is_file() for place in reference.BESIDE)


def test_decisions_are_numbered_and_listed() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    listed = (DOCS / "decisions/index.md").read_text(encoding="utf-8")
    for number, page in enumerate(pages, 1):
        assert page.name.startswith(f"{number:03d}-")
        title = page.read_text(encoding="utf-8").partition("\n")[0]
        assert title.startswith(f"# {number}. ")
        assert f"- [{title.removeprefix('# ')}]({page.name})" in listed.splitlines()


def test_the_reference_has_every_command_and_option(reference: Any) -> None:
    page = reference.cli_page()
    for name, command in COMMANDS.items():
        section = re.search(rf"^##+ {name}\n(.*?)(?=^##|\Z)", page, re.M | re.S)
        assert section, name
        for option in command.params:
            argument = option.param_type_name == "argument" and option.metavar
            flags = (
                [argument]
                if argument
                else [flag for flag in option.opts if flag not in reference.COMMON]
            )
            assert all(flag in section[1] for flag in flags) or option.name == "help", (name, flags)
    assert all(f"`{flag}" in page for flag in reference.COMMON)


def test_the_reference_has_every_setting(reference: Any) -> None:
    from phoenix_forge.core.config import Config, dotted

    page = reference.config_page()
    rows = dict(re.findall(r"^\| `([a-z_.]+)` (\|.*)$", page, re.M))
    assert set(rows) == set(dotted(Config().model_dump()))
    assert all(row.count("|") - row.count("\\|") == 4 for row in rows.values())
    assert "whole number (> 0)" in rows["deploy.num_ctx"]


@pytest.mark.parametrize(
    ("target", "uri", "expected"),
    [
        ("models.md", "data.md", "models.md"),
        ("models.md#families-tried", "index.md", "models.md#families-tried"),
        ("../../bench/README.md#a", "decisions/index.md", "../bench/index.md#a"),
        ("docs/security.md", "development/reporting.md", "../security.md"),
        ("../docs/evaluation.md", "bench/recipes.md", "../evaluation.md"),
        ("knowledge.md", "bench/index.md", "knowledge.md"),
        ("../tests/conftest.py", "data.md", None),
        ("https://x.org/a.md", "data.md", "https://x.org/a.md"),
        ("#here", "data.md", "#here"),
    ],
)
def test_a_link_leads_to_its_place_on_the_site(
    reference: Any, target: str, uri: str, expected: str | None
) -> None:
    assert reference.moved(target, uri, None) == expected


def test_what_is_no_page_is_linked_in_the_repository_or_not_at_all(reference: Any) -> None:
    text = "See [`a | b`](../src/x.py) and `[no](link.md)`.\n\n```text\n[no](../link.md)\n```\n"
    assert reference.relinked(text, "data.md", "https://x.org/r/") == text.replace(
        "(../src/x.py)", "(https://x.org/r/blob/HEAD/src/x.py)"
    )
    assert reference.relinked(text, "data.md", None) == text.replace(
        "[`a | b`](../src/x.py)", "`a | b`"
    )


def test_the_changelog_has_this_version_with_its_date() -> None:
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heads[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ · \d{4}-\d{2}-\d{2}", head) for head in heads[1:])
    assert heads[1].startswith(f"{__version__} ")


# --- the container -----------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M)).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def test_the_image_is_built_from_files_that_get_there() -> None:
    kept = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {
        word
        for name, text in instructions()
        if name == "COPY" and "--from" not in text
        for word in text.split()[:-1]
    }
    assert copied == kept
    assert all((ROOT / name).exists() for name in kept)
    said = next(text for name, text in instructions() if "pip install" in text and "[" in text)
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", said)
    assert set(extras.split(",")) <= set(PYPROJECT["project"]["optional-dependencies"])


def test_the_image_runs_forge_as_nobody_in_particular() -> None:
    last = dict(instructions())
    assert last["USER"].partition(":")[0] not in ("root", "0", "")
    assert ast.literal_eval(last["ENTRYPOINT"]) == ["forge"]
    assert ast.literal_eval(last["VOLUME"])[0] == last["WORKDIR"] == "/workspace"
    assert all(":" in text.split()[0] for name, text in instructions() if name == "FROM")


def test_accelerators_of_the_image_are_those_of_the_set_up() -> None:
    builds = set(module(ROOT / "setup_env.py").BUILDS)
    named = set(re.findall(r"ACCEL=(\w+)", (DOCS / "docker.md").read_text(encoding="utf-8")))
    assert {
        text.partition("=")[2] for name, text in instructions() if text.startswith("ACCEL=")
    } | named <= builds
    assert named


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^  make ([a-z]+)", listed, re.M)) == TARGETS
