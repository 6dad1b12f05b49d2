"""Files that a stranger could send. Whatever they say: a ForgeError with a fix, soon, and in little memory."""

from __future__ import annotations

import contextlib
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from phoenix_forge.errors import ForgeError
from phoenix_forge.weights.tiny import build_tiny

GROWTH = 400_000_000  # bytes that refusing may take; what is declared would take gigabytes


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of one layer that nobody changes."""
    folder = tmp_path_factory.mktemp("hostile")
    build_tiny(
        folder,
        ["The forge turns documents into a model.\n" * 5],
        hidden=32,
        ffn=32,
        layers=1,
        heads=2,
        kv_heads=1,
        vocab=280,
    )
    return folder


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Path:
    """A copy of it, to be made hostile."""
    return shutil.copytree(tiny, tmp_path / "base")


@pytest.fixture
def refused() -> Callable[..., AbstractContextManager[None]]:
    """A block that has to end in a ForgeError of these words, with a fix, fit for a terminal, and in little memory."""

    @contextlib.contextmanager
    def check(words: str) -> Iterator[None]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ForgeError, match=words) as caught:
            yield
        assert caught.value.fix
        assert len(str(caught.value)) < 5_000
        assert all(character.isprintable() or character == "\n" for character in str(caught.value))
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH

    return check


@pytest.fixture
def sparse() -> Callable[[Path, bytes, int], Path]:
    """A file of any length that takes no room: bytes, then a hole."""

    def make(path: Path, begin: bytes, size: int) -> Path:
        with open(path, "wb") as out:
            out.write(begin)
            out.truncate(size)
        return path

    return make
