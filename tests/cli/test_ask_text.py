"""Questions that are no UTF-8 are refused with their place, wherever they come from."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_forge.cli.ask import read_prompts
from phoenix_forge.errors import UsageError


@pytest.mark.parametrize(
    "ask",
    [lambda file: read_prompts([], file), lambda file: read_prompts([], None)],
    ids=["--file", "stdin"],
)
def test_a_stray_byte_is_named(
    ask: Callable[[Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "q.txt").write_bytes("Größe, caf".encode() + b"\xe9")
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "q.txt").read_bytes()), "utf-8")
    )
    with pytest.raises(UsageError, match="is not UTF-8: byte 13 is 0xe9") as caught:
        ask(tmp_path / "q.txt")
    assert "iconv" in str(caught.value.fix)
