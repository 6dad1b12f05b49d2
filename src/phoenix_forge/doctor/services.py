"""Other programs and services: the Hub, the clock against it, Ollama."""

from __future__ import annotations

import os
import re
import time
from urllib.parse import urlsplit

from phoenix_forge.doctor.finding import Ctx, Finding
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.hub.account import PLACEHOLDERS, TOKEN_NAMES, endpoint, read_env
from phoenix_forge.hub.account import token as find_token
from phoenix_forge.runtime.serve import is_loopback

MOST_SKEW = 300  # seconds; from about there on certificates and signed addresses are refused
TOKEN_PAGE = "https://huggingface.co/settings/tokens"


# The Hub


def token(ctx: Ctx) -> Finding:
    written = {
        f"{name} in {place}": values.get(name, "").strip()
        for place, values in (
            ("the environment", dict(os.environ)),
            (".env", read_env(ctx.root / ".env")),
        )
        for name in TOKEN_NAMES
    }
    value = find_token(ctx.root)
    if value is None:
        placeholder = next((where for where, text in written.items() if text in PLACEHOLDERS), None)
        return Finding(
            "warning",
            f"{placeholder} is still the placeholder"
            if placeholder
            else "none (only private or gated models and uploading need one)",
            f"HUGGING_FACE_TOKEN=hf_… in .env, from {TOKEN_PAGE}",
        )
    where = next(
        (where for where, text in written.items() if text == value), "stored by hf auth login"
    )
    reply = ctx.hub
    if isinstance(reply, str):
        return Finding(
            "warning",
            f"{where}, not checked: {reply}",
            "forge doctor --only token, once that is settled",
        )
    if reply.status in (401, 403):
        return Finding(
            "failed",
            f"{where} is refused by {endpoint()} (HTTP {reply.status}): expired, revoked or cut "
            "off",
            f"a new one from {TOKEN_PAGE} in its place",
        )
    if reply.status != 200 or not reply.name:
        return Finding(
            "warning",
            f"{where}, not checked: {endpoint()} answered with HTTP {reply.status} and no name",
            "forge doctor --only token, again later",
        )
    return Finding("ok", f"{where} is {reply.name}'s" + (f" ({reply.role})" if reply.role else ""))


def clock(ctx: Ctx) -> Finding:
    reply = ctx.hub
    if isinstance(reply, str) or reply.skew is None:
        return Finding(
            "ok",
            f"{time.strftime('%Y-%m-%d %H:%M %Z')}, not compared: "
            f"{reply if isinstance(reply, str) else endpoint() + ' tells no time'}",
        )
    if abs(reply.skew) > MOST_SKEW:
        return Finding(
            "warning",
            f"{abs(reply.skew) / 60:,.0f} minutes {'ahead of' if reply.skew > 0 else 'behind'} "
            f"{endpoint()}: certificates and downloads will be refused",
            "sudo timedatectl set-ntp true (under WSL2: wsl --shutdown in PowerShell)",
        )
    return Finding("ok", f"within {max(1, round(abs(reply.skew)))} s of {endpoint()}")


# Programs


def ollama(ctx: Ctx) -> Finding:
    from phoenix_forge.runtime.ollama import OLDEST, Ollama

    server = Ollama()
    try:
        release = server.version()
    except EnvironmentProblem as error:
        return Finding(
            "warning",
            f"{error.message} (optional: forge chat and forge serve do without)",
            error.fix,
        )
    finally:
        server.close()
    host = urlsplit(server.url).hostname or ""
    if not is_loopback(host):
        return Finding(
            "warning",
            f"{release} at {server.url}: another machine, which models and questions go to",
            "unset OLLAMA_HOST, unless that is what you want",
        )
    if re.search(r"0\.0\.0\.0|\[?::\]?(:|$)", os.environ.get("OLLAMA_HOST", "")):
        return Finding(
            "warning",
            f"{release} at {server.url}; OLLAMA_HOST={os.environ['OLLAMA_HOST']} lets every "
            "machine of the network use a server that is started with it",
            "export OLLAMA_HOST=127.0.0.1",
        )
    if (numbers := tuple(int(n) for n in re.findall(r"\d+", release)[:3])) and numbers < OLDEST:
        return Finding(
            "warning",
            f"{release} at {server.url} is older than {'.'.join(map(str, OLDEST))}",
            "update it: https://ollama.com/download",
        )
    return Finding("ok", f"{release} at {server.url}")
