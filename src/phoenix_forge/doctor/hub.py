"""Who the Hub takes this machine's token for, asked in a bounded time."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from phoenix_forge.hub.account import endpoint, offline, token
from phoenix_forge.runtime.serve import is_loopback

HUB_SECONDS = 5.0  # for all that is asked of the Hub, name resolution included


@dataclass(frozen=True)
class Reply:
    """`name` and `role` where the Hub knows the token; `skew` is this machine's clock less the Hub's, in seconds."""

    status: int
    name: str | None
    role: str | None
    skew: float | None


def ask_hub(root: Path) -> Reply | str:
    """The Hub's answer to who the token found for `root` is, or why there is none."""
    if offline():
        return "HF_HUB_OFFLINE is set"
    url, value = endpoint(), token(root)
    host = urlsplit(url).hostname or ""
    if value and urlsplit(url).scheme == "http" and not is_loopback(host):
        return f"HF_ENDPOINT is {url}: a token is not sent unencrypted"
    if value and not re.fullmatch(r"[!-~]+", value):
        return "the token holds characters that none has"
    answers: list[Reply | str] = []
    # In a thread that is left behind when it is late: a lookup of a name cannot be given a time limit.
    worker = threading.Thread(
        target=lambda: answers.append(_who_am_i(url, value, host)), daemon=True
    )
    worker.start()
    worker.join(HUB_SECONDS)
    return answers[0] if answers else f"{url} did not answer within {HUB_SECONDS:.0f} s"


def _who_am_i(url: str, value: str | None, host: str) -> Reply | str:
    headers = {"Authorization": f"Bearer {value}"} if value else {}
    try:
        # No redirect is followed: the token is for this address.
        with httpx2.Client(
            timeout=HUB_SECONDS, trust_env=not is_loopback(host), follow_redirects=False
        ) as client:
            answer = client.get(f"{url}/api/whoami-v2", headers=headers)
    except (
        httpx2.HTTPError,
        httpx2.InvalidURL,
        ValueError,
    ) as error:  # ValueError: a proxy of no known kind
        return f"{url} cannot be reached: {' '.join(str(error).split())[:200]}"
    try:
        body = answer.json()
    except ValueError:
        body = None
    known = body if isinstance(body, dict) and answer.status_code == 200 else {}
    access = (
        known.get("auth", {}).get("accessToken") if isinstance(known.get("auth"), dict) else None
    )
    role = access.get("role") if isinstance(access, dict) else None
    return Reply(
        answer.status_code, _word(known.get("name")), _word(role), _skew(answer.headers.get("Date"))
    )


def _word(value: object) -> str | None:
    """A short name, and nothing that moves the cursor."""
    return value if isinstance(value, str) and re.fullmatch(r"[\w .-]{1,96}", value) else None


def _skew(date: str | None) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
