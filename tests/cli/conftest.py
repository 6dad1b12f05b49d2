"""One workspace that a whole run has been through, for tests that only look; copies of it for tests that change it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def first_run(
    tmp_path_factory: pytest.TempPathFactory,
    make_workspace: Callable[..., Path],
    run_forge: Callable[..., Any],
) -> tuple[Path, Any]:
    """The workspace, and what its first `forge run --json` said."""
    folder = make_workspace(tmp_path_factory.mktemp("work"))
    ran = run_forge("run", "--json", cwd=folder)
    assert ran.code == 0, ran.stderr
    return folder, ran


@pytest.fixture(scope="session")
def done(first_run: tuple[Path, Any]) -> Path:
    """A finished workspace. Tests leave its artifacts as they are."""
    return first_run[0]


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """A finished workspace of one's own; times are kept, so nothing looks new."""
    return Path(shutil.copytree(done, tmp_path / "copy"))
