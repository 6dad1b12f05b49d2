"""For one release `forge` goes on working as the name of phoenix_forge, wherever a checkout's environment is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OLD = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from forge.catalog.families import QWEN3
    import forge.chat.template as template
    import forge.errors
    from forge.dataset import formats
    from forge import __version__, names_nothing
"""
SAME = (
    OLD.replace(", names_nothing", "")
    + """
import sys
import phoenix_forge.catalog.families, phoenix_forge.examples.formats
new = sys.modules
assert QWEN3 is new["phoenix_forge.catalog.families"].QWEN3
assert template is new["phoenix_forge.chat.template"]
assert formats is new["phoenix_forge.examples.formats"]
assert forge is new["phoenix_forge"] and forge.errors is new["phoenix_forge.errors"]
assert template.__spec__.name == "phoenix_forge.chat.template"
assert [(w.category, w.filename, w.lineno) for w in told] == [(DeprecationWarning, "<string>", 5)], told
"""
)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_old_imports_are_the_same_objects_and_one_warning(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", SAME)
    assert done.returncode == 0, done.stderr


def test_what_never_was_is_missed_by_the_name_that_was_asked_for(tmp_path: Path) -> None:
    assert "cannot import name 'names_nothing'" in python(tmp_path, "-c", OLD).stderr
    assert (
        "No module named 'forge.nothing'" in python(tmp_path, "-c", "import forge.nothing").stderr
    )


def test_the_old_program_runs_among_documents_that_have_names_of_modules(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')", encoding="utf-8")
    done = python(tmp_path, "-m", "forge", "--version")
    assert (done.returncode, done.stderr) == (0, "")
