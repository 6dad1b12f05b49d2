"""What people see of the server in a browser: pages without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from phoenix_forge.runtime.server.documents import PassageView

DATA = Path(__file__).parent / "data"

Headers = Sequence[tuple[bytes, bytes]]
JSON: Headers = [(b"content-type", b"application/json; charset=utf-8")]
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


class Body(NamedTuple):
    """A response: `data` with its `headers`."""

    status: int
    data: bytes
    headers: Headers = JSON


def headers(page: str) -> Headers:
    """Lets a page do what it does itself, by the digests of its style and script, and nothing else."""
    allowed: dict[str, list[str]] = {"style": [], "script": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    policy = [
        "default-src 'none'",
        *(f"{kind}-src {' '.join(digests)}" for kind, digests in allowed.items() if digests),
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", "; ".join(policy).encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    ]


def _read(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


@cache
def ask() -> Body:
    """Where people ask."""
    page = _read("page.html")
    return Body(200, page.encode(), headers(page))


def source(shown: PassageView | None) -> Body:
    """A passage with its file, headings and lines, the cited one marked."""
    page = _read("source.html")
    filled = Environment(autoescape=True).from_string(page).render(shown=shown)
    return Body(200 if shown else 404, filled.encode("utf-8", "replace"), headers(page))
