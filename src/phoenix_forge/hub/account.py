"""Who talks to the Hub, and where it is. Tokens are returned to the caller and never logged."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from phoenix_forge.errors import UsageError

TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGING_FACE_TOKEN")
LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*"""
    r"""(?:(?P<quote>["'])(?P<quoted>.*?)(?P=quote)\s*(?:\#.*)?|(?P<bare>.*?))(?:\s+\#.*)?\s*$"""
)
PLACEHOLDERS = {
    "your_token_here",
    "hf_your_token_here",
}  # what instructions write, and nobody means


def endpoint() -> str:
    """The Hub's address, or the mirror's that HF_ENDPOINT names. Raises UsageError for one that is not of the web."""
    address = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    try:
        split = urlsplit(address)
        known = split.scheme in ("http", "https") and bool(split.hostname) and (split.port or True)
    except ValueError:
        known = False
    if not known or not address.isprintable():
        raise UsageError(
            f"HF_ENDPOINT is {address!r}, expected http(s)://HOST", fix="unset HF_ENDPOINT"
        )
    return address


def offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def read_env(path: Path) -> dict[str, str]:
    """NAME=VALUE lines, with `export`, quotes and comments behind a value allowed, whatever editor wrote them; other
    lines are ignored, and so is a missing file."""
    if not path.is_file():
        return {}
    lines = (
        LINE.match(line)
        for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    )
    return {
        line["name"]: line["quoted"] if line["quoted"] is not None else line["bare"]
        for line in lines
        if line
    }


def token(workspace: Path) -> str | None:
    """The Hub token: from the environment, then from .env in the workspace, then as `hf auth login` stored it."""
    for source in (os.environ, read_env(workspace / ".env")):
        for name in TOKEN_NAMES:
            value = source.get(name, "").strip()
            if value and value not in PLACEHOLDERS:
                return value
    from huggingface_hub import get_token

    return get_token()
