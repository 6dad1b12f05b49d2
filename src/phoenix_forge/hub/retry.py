"""Trying again while the Hub is busy or the line is down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx2

from phoenix_forge.core.report import Reporter

T = TypeVar("T")
BUSY = (408, 429, 500, 502, 503, 504)
WAITS = (1.0, 4.0, 16.0)  # seconds before each further try
LONGEST = 300.0  # seconds that a server's own wish is followed for; the Hub's limits count over five minutes


def retry(
    act: Callable[[], T],
    report: Reporter,
    progress: Callable[[], int] = lambda: 0,
    pause: Callable[[float], object] | None = None,
) -> T:
    """`act`, which may be repeated safely, again after each of WAITS while the Hub is busy or the connection breaks.

    An attempt that moved `progress` forward gives a new set of tries: a line that drops every gigabyte still ends.
    `pause` is for whoever can be stopped while waiting.
    """
    tries, reached = 0, progress()
    while True:
        try:
            return act()
        except (httpx2.HTTPError, RuntimeError, OSError) as error:
            if progress() > reached:
                tries, reached = 0, progress()
            cause = _cause(error)
            if tries == len(WAITS) or not _passing(cause):
                raise
            wait = max(WAITS[tries], _asked(cause))
            tries += 1
            said = (
                f"the Hub answered {status}"
                if (status := _status(cause))
                else "the connection broke"
            )
            report.warn(f"{said}; trying again in {wait:.0f} s")
            (pause or time.sleep)(wait)


def _cause(error: BaseException) -> BaseException:
    """What the line or the Hub said: the library wraps it, in an upload's error or in "not found in the cache"."""
    while not isinstance(error, httpx2.HTTPError) and error.__cause__:
        error = error.__cause__
    return error


def _status(error: BaseException) -> int | None:
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _passing(error: BaseException) -> bool:
    return isinstance(error, httpx2.TransportError) or _status(error) in BUSY


def _asked(error: BaseException) -> float:
    """Seconds that the refusal asks to wait, by Retry-After or the Hub's rate limit headers; 0 where it names none."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import parse_ratelimit_headers

    if not isinstance(error, HfHubHTTPError):
        return 0.0
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    named = headers.get("Retry-After", "")
    seconds = float(named) if named.isdecimal() else float(limit.reset_in_seconds) if limit else 0.0
    return min(seconds, LONGEST)
