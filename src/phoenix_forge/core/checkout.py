"""The checkout that Forge runs from, where it does: what lies beside the package there is not in a wheel."""

from __future__ import annotations

from pathlib import Path

_ABOVE = Path(__file__).resolve().parents[3]
CHECKOUT: Path | None = (
    _ABOVE if (_ABOVE / "src").is_dir() and (_ABOVE / "setup_env.py").is_file() else None
)
