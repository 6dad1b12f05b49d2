"""The layers of docs/architecture.md, read from the imports themselves."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import phoenix_forge
from phoenix_forge.core import extensions

PACKAGE = Path(phoenix_forge.__file__).parent
# Lowest first. Rooms of one row do not import each other.
LAYERS = [
    {"errors"},
    {"core"},
    {"catalog"},
    {"chat"},
    {"corpus", "weights", "hub"},
    {"gguf"},
    {"runtime"},
    {"examples"},
    {"questions", "teacher"},
    {"exam"},
    {"dataset", "train"},
    {"evaluate"},
    {"doctor"},
    {"stages"},
    {"pipeline"},
    {"project"},
    {"cli"},
    {"workflow"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.name != "__init__.py"
)

# Formats that hold each other: Markdown has YAML and HTML in it, what is written as JSON is read as Markdown. One left.
READERS_CIRCLE = {"chats", "data", "html", "markdown", "mdx", "records", "tags"}


def room_of(module: str) -> str:
    return Path(module).parts[0].removesuffix(".py")


parsed = functools.cache(ast.parse)


def imported(source: str, module: str) -> set[str]:
    """Dotted names that a module imports, anywhere in it."""
    package = ["phoenix_forge", *Path(module).parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*start, *([node.module] if node.module else [])])
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


def imported_rooms(source: str, module: str) -> set[str]:
    """Rooms of phoenix_forge that a module imports, anywhere in it."""
    parts = [name.split(".") for name in imported(source, module)]
    return {
        p[1] for p in parts if p[0] == "phoenix_forge" and len(p) > 1 and not p[1].startswith("__")
    }


def test_nothing_below_knows_the_workflow():
    own = re.compile(r"sanctuary|style.{0,12}seed", re.IGNORECASE)
    known = {m for m in MODULES if own.search((PACKAGE / m).read_text(encoding="utf-8"))}
    assert {room_of(module) for module in known} == {"workflow"}


def test_every_extension_lies_where_its_room_says():
    for table, entries in extensions.tables().items():
        for name in entries:
            assert extensions.extension(table, name) is not None, (table, name)


def test_without_its_folder_the_workflow_is_not_missed():
    program = (
        "from phoenix_forge.core import extensions\nextensions.tables = dict\n"
        "from phoenix_forge.cli.boundary import invoke\ncode = invoke(['--help']) or invoke(['config', 'schema'])\n"
        "from phoenix_forge.doctor import CHECKS\nassert code == 0 and 'llama_cpp' not in CHECKS"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "Stand in" not in done.stdout
    assert "sanctuary" not in done.stdout


def test_imports_are_found_wherever_they_are():
    source = (
        "import phoenix_forge.core.fsio\ndef f():\n    from phoenix_forge import pipeline\n    from . import x\n"
        "    from ..gguf import y"
    )
    assert imported_rooms(source, "train/loop.py") == {"core", "pipeline", "train", "gguf"}
    assert imported_rooms("from phoenix_forge import __version__", "cli/app.py") == set()


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_one_above_or_beside_it(module: str):
    own = room_of(module)
    assert own in LEVEL, f"{own} has no place among the layers"
    for room in imported_rooms((PACKAGE / module).read_text(encoding="utf-8"), module) - {own}:
        assert LEVEL[room] < LEVEL[own], f"{module} imports {room}"


def dotted(module: str) -> str:
    return ".".join(["phoenix_forge", *Path(module).with_suffix("").parts]).removesuffix(
        ".__init__"
    )


def circles(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules that reach each other (strongly connected components of more than one)."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = edges[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    reach = {module: reached(module) for module in edges}
    return {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in edges
        if module in reach[module]
    }


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {frozenset("bc")}


def test_modules_of_a_room_do_not_import_each_other_in_a_circle():
    """Not even inside functions: who reads one module of a circle has to read them all."""
    names = {
        dotted(module): imported((PACKAGE / module).read_text(encoding="utf-8"), module)
        for module in MODULES
    }
    edges = {}
    for module, imports in names.items():
        targets = {name if name in names else name.rpartition(".")[0] for name in imports}
        edges[module] = targets & (names.keys() - {module})
    assert circles(edges) == {
        frozenset(f"phoenix_forge.corpus.readers.{name}" for name in READERS_CIRCLE)
    }


@pytest.mark.parametrize("module", [m for m in MODULES if LEVEL[room_of(m)] < LEVEL["cli"]])
def test_below_the_commands_nothing_prints_and_nothing_is_swallowed(module: str):
    for node in ast.walk(parsed((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{module}:{node.lineno} prints"
        if isinstance(node, ast.ExceptHandler):
            named = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = any(
                n is None or ast.unparse(n) in ("Exception", "BaseException") for n in named
            )
            assert not broad, f"{module}:{node.lineno} catches everything"


def test_every_room_and_package_file_is_seen():
    assert {room_of(m) for m in MODULES} >= {
        "errors",
        "core",
        "chat",
        "gguf",
        "train",
        "pipeline",
        "cli",
        "doctor",
    }
    assert ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    assert imported_rooms((PACKAGE / "__init__.py").read_text(encoding="utf-8"), "__init__.py") == {
        "core",
        "errors",
        "project",
    }, "only what is offered"


def test_the_package_is_imported_without_its_rooms():
    program = (
        "import sys, phoenix_forge\nprint(sorted(n for n in sys.modules if n.startswith('phoenix_')))\n"
        "phoenix_forge.Project\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["['phoenix_forge']", "False"]


def test_help_loads_nothing_heavy():
    program = (
        "import sys, json\nfrom phoenix_forge.cli.boundary import invoke\ncode = invoke(['--help'])\n"
        "print(json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stderr)
    assert code == 0
    assert "quantize" in done.stdout
    heavy = {
        "torch",
        "pydantic",
        "transformers",
        "numpy",
        "tokenizers",
        "huggingface_hub",
        "gguf",
        "xllamacpp",
        "yaml",
    }
    assert not heavy & set(modules)
