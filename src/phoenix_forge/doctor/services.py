"""Other programs and services: the Hub, the clock against it, Ollama, a llama.cpp folder beside the workspace."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from phoenix_forge.doctor.finding import Ctx, Finding
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.hub.account import PLACEHOLDERS, TOKEN_NAMES, endpoint, offline, read_env
from phoenix_forge.hub.account import token as find_token
from phoenix_forge.runtime.serve import is_loopback
from phoenix_forge.runtime.sibling import Sibling, look

HUB_SECONDS = 5.0  # for all that is asked of the Hub, name resolution included
MOST_SKEW = 300  # seconds; from about there on certificates and signed addresses are refused
TOKEN_PAGE = "https://huggingface.co/settings/tokens"


# The Hub

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
    url, value = endpoint(), find_token(root)
    host = urlsplit(url).hostname or ""
    if value and urlsplit(url).scheme == "http" and not is_loopback(host):
        return f"HF_ENDPOINT is {url}: a token is not sent unencrypted"
    if value and not re.fullmatch(r"[!-~]+", value):
        return "the token holds characters that none has"
    answers: list[Reply | str] = []
    # In a thread that is left behind when it is late: a lookup of a name cannot be given a time limit.
    worker = threading.Thread(target=lambda: answers.append(_who_am_i(url, value, host)), daemon=True)
    worker.start()
    worker.join(HUB_SECONDS)
    return answers[0] if answers else f"{url} did not answer within {HUB_SECONDS:.0f} s"


def _who_am_i(url: str, value: str | None, host: str) -> Reply | str:
    headers = {"Authorization": f"Bearer {value}"} if value else {}
    try:
        # No redirect is followed: the token is for this address.
        with httpx2.Client(timeout=HUB_SECONDS, trust_env=not is_loopback(host), follow_redirects=False) as client:
            answer = client.get(f"{url}/api/whoami-v2", headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:  # ValueError: a proxy of no known kind
        return f"{url} cannot be reached: {' '.join(str(error).split())[:200]}"
    try:
        body = answer.json()
    except ValueError:
        body = None
    known = body if isinstance(body, dict) and answer.status_code == 200 else {}
    access = known.get("auth", {}).get("accessToken") if isinstance(known.get("auth"), dict) else None
    role = access.get("role") if isinstance(access, dict) else None
    return Reply(answer.status_code, _word(known.get("name")), _word(role), _skew(answer.headers.get("Date")))


def _word(value: object) -> str | None:
    """A short name, and nothing that moves the cursor."""
    return value if isinstance(value, str) and re.fullmatch(r"[\w .-]{1,96}", value) else None


def _skew(date: str | None) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def token(ctx: Ctx) -> Finding:
    written = {f"{name} in {place}": values.get(name, "").strip() for place, values in
               (("the environment", dict(os.environ)), (".env", read_env(ctx.root / ".env"))) for name in TOKEN_NAMES}
    value = find_token(ctx.root)
    if value is None:
        placeholder = next((where for where, text in written.items() if text in PLACEHOLDERS), None)
        return Finding("warning", f"{placeholder} is still the placeholder" if placeholder else
                       "none (only private or gated models and uploading need one)",
                       f"HUGGING_FACE_TOKEN=hf_… in .env, from {TOKEN_PAGE}")
    where = next((where for where, text in written.items() if text == value), "stored by hf auth login")
    reply = ctx.hub
    if isinstance(reply, str):
        return Finding("warning", f"{where}, not checked: {reply}", "forge doctor --only token, once that is settled")
    if reply.status in (401, 403):
        return Finding("failed", f"{where} is refused by {endpoint()} (HTTP {reply.status}): expired, revoked or cut "
                       "off", f"a new one from {TOKEN_PAGE} in its place")
    if reply.status != 200 or not reply.name:
        return Finding("warning", f"{where}, not checked: {endpoint()} answered with HTTP {reply.status} and no name",
                       "forge doctor --only token, again later")
    return Finding("ok", f"{where} is {reply.name}'s" + (f" ({reply.role})" if reply.role else ""))


def clock(ctx: Ctx) -> Finding:
    reply = ctx.hub
    if isinstance(reply, str) or reply.skew is None:
        return Finding("ok", f"{time.strftime('%Y-%m-%d %H:%M %Z')}, not compared: "
                       f"{reply if isinstance(reply, str) else endpoint() + ' tells no time'}")
    if abs(reply.skew) > MOST_SKEW:
        return Finding("warning", f"{abs(reply.skew) / 60:,.0f} minutes {'ahead of' if reply.skew > 0 else 'behind'} "
                       f"{endpoint()}: certificates and downloads will be refused",
                       "sudo timedatectl set-ntp true (under WSL2: wsl --shutdown in PowerShell)")
    return Finding("ok", f"within {max(1, round(abs(reply.skew)))} s of {endpoint()}")


# Programs

def ollama(ctx: Ctx) -> Finding:
    from phoenix_forge.runtime.ollama import OLDEST, Ollama

    server = Ollama()
    try:
        release = server.version()
    except EnvironmentProblem as error:
        return Finding("warning", f"{error.message} (optional: forge chat and forge serve do without)", error.fix)
    finally:
        server.close()
    host = urlsplit(server.url).hostname or ""
    if not is_loopback(host):
        return Finding("warning", f"{release} at {server.url}: another machine, which models and questions go to",
                       "unset OLLAMA_HOST, unless that is what you want")
    if re.search(r"0\.0\.0\.0|\[?::\]?(:|$)", os.environ.get("OLLAMA_HOST", "")):
        return Finding("warning", f"{release} at {server.url}; OLLAMA_HOST={os.environ['OLLAMA_HOST']} lets every "
                       "machine of the network use a server that is started with it", "export OLLAMA_HOST=127.0.0.1")
    if (numbers := tuple(int(n) for n in re.findall(r"\d+", release)[:3])) and numbers < OLDEST:
        return Finding("warning", f"{release} at {server.url} is older than {'.'.join(map(str, OLDEST))}",
                       "update it: https://ollama.com/download")
    return Finding("ok", f"{release} at {server.url}")


def sibling(ctx: Ctx) -> Sibling:
    return look(ctx.root.parent / "llama.cpp")


def llama_cpp(ctx: Ctx) -> Finding:
    found = sibling(ctx)
    foreign, ours = found.having("foreign"), found.having("ours")
    if found.checkout or foreign:
        kind = "a checkout" if found.checkout else "programs"
        built = f"with {', '.join(foreign)}" if foreign else "not built"
        return Finding("ok", f"{kind} of llama.cpp at {found.folder}, {built}; left alone, and not used: Forge has its "
                       "own runtime, quantiser and converter")
    if len(ours) == len(found.tools):
        return Finding("ok", f"{found.folder} holds Forge's own commands under llama.cpp's names")
    if len(found.having("absent")) == len(found.tools):
        return Finding("ok", f"none at {found.folder}, and none needed; forge tools link {found.folder} would lay "
                       "Forge's own commands there")
    return Finding("warning", f"{found.folder}: the commands that Forge laid there are incomplete or of another "
                   "environment", f"forge tools link {found.folder}")
