"""Files to a Hub repository: planned first, sent in one commit, then read back and compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from forge.core.fsio import human, sha256_bytes, sha256_file
from forge.core.report import Reporter
from forge.errors import EnvironmentProblem, StageFailed, UsageError
from forge.hub.account import endpoint

T = TypeVar("T")
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
BUSY = (408, 429, 500, 502, 503, 504)
WAITS = (1.0, 4.0, 16.0)  # seconds before each further try while the Hub is busy


@dataclass(frozen=True)
class Item:
    """One file of the commit: its path in the repository, and its content as a file here or as bytes."""

    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


@dataclass(frozen=True)
class Plan:
    """What publish() will do; `card` is the README that will be shown."""

    repo: str
    private: bool
    create: bool
    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)

    @property
    def card(self) -> str:
        found = next((item.content for item in self.items if item.path == "README.md"), b"")
        return (found.read_bytes() if isinstance(found, Path) else found).decode()


@dataclass(frozen=True)
class Published:
    url: str
    commit: str
    files: tuple[tuple[str, int, str], ...]  # path, bytes, SHA-256


def plan(repo: str | None, *, private: bool, create: bool, ggufs: Sequence[Path] = (), modelfile: Path | None = None,
         readme: Path | None = None, adapter: Path | None = None, readme_lora: Path | None = None,
         model_card: Path | None = None, files: Sequence[Path] = (),
         ollama: dict[str, bytes] | None = None) -> Plan:
    """The files of a commit, checked: nothing missing, no pickles, no .env, no two for one path.

    An adapter without a GGUF is the repository itself: at its root, README_LORA.md as its card. Beside a GGUF it goes
    into lora/. `ollama` are the files that Ollama's direct pull reads (ollama_files()).
    """
    if not repo:
        raise UsageError("no repository to publish to", fix="--repo ORG/NAME, or publish.repo in forge.yaml")
    items = [Item(path.name, path) for path in ggufs]
    if ggufs and ollama:
        items += [Item(name, content) for name, content in ollama.items()]
    for name, path in (("Modelfile", modelfile), ("README.md", readme), ("model_card.yaml", model_card)):
        items += [Item(name, path)] if path else []
    if adapter:
        below = "lora/" if ggufs else ""
        items += [Item(f"{below}{name}", adapter / name) for name in ADAPTER_FILES]
        if readme_lora:
            items.append(Item("README_LORA.md" if ggufs or readme else "README.md", readme_lora))
    items += [Item(path.name, path) for path in files]
    _check(items)
    return Plan(repo, private, create, tuple(items))


def ollama_files(template: str, system: str | None, options: dict[str, Any]) -> dict[str, bytes]:
    """`template`, `system` and `params`, which `ollama run hf.co/…` reads from a repository (Hub documentation, "Use
    Ollama with any GGUF model")."""
    texts = {"template": template, "params": json.dumps(options, indent=2) + "\n"}
    if system:
        texts["system"] = system
    return {name: text.encode() for name, text in texts.items()}


def _check(items: Sequence[Item]) -> None:
    if not items:
        raise UsageError("nothing to publish", fix="--gguf --modelfile --readme --lora --model-card or --files FILE")
    seen: set[str] = set()
    for item in items:
        if isinstance(item.content, Path) and not item.content.is_file():
            raise UsageError(f"{item.content} is not there", fix="run the stage that makes it: forge run")
        if item.path.endswith(PICKLES):
            raise UsageError(f"{item.path} is a pickle, which can run code on whoever loads it",
                             fix="publish safetensors or GGUF")
        if item.path.startswith(".env"):
            raise UsageError(f"{item.path} holds secrets", fix="leave it out of --files")
        if item.path in seen:
            raise UsageError(f"two files would become {item.path}", fix="rename one, or leave one out")
        seen.add(item.path)


def publish(plan: Plan, *, token: str | None, message: str, report: Reporter) -> Published:
    """Sends the plan as one commit and verifies what arrived.

    Nothing is visible before the commit; a large file that arrived in a broken attempt is not sent again. Raises
    EnvironmentProblem without a token, or where the Hub refuses it or cannot be reached.
    """
    if not token:
        raise EnvironmentProblem("no Hugging Face token", fix="make one with write access at "
                                 f"{endpoint()}/settings/tokens and set HF_TOKEN, or write it to .env")
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint(), token=token)
    with _explained(plan), _without_bars():
        if plan.create:
            _patiently(lambda: api.create_repo(plan.repo, private=plan.private, exist_ok=True), report)
        head = _patiently(lambda: api.model_info(plan.repo), report)
        if bool(head.private) != plan.private:
            report.warn(f"{plan.repo} exists and is {'private' if head.private else 'public'}; that was left as it is")
        report.info(f"sending {len(plan.items)} files, {human(plan.size)}, to {endpoint()}/{plan.repo}")

        def commit() -> str:
            additions = [CommitOperationAdd(item.path, item.content if isinstance(item.content, bytes)
                                            else str(item.content)) for item in plan.items]
            return api.create_commit(plan.repo, additions, commit_message=message, parent_commit=head.sha).oid

        oid = _patiently(commit, report)
        files = _verified(plan, _patiently(
            lambda: api.get_paths_info(plan.repo, [item.path for item in plan.items], revision=oid), report))
    report.info(f"verified {len(files)} files at commit {oid[:12]}")
    return Published(f"{endpoint()}/{plan.repo}", oid, files)


def _verified(plan: Plan, remote: Sequence[Any]) -> tuple[tuple[str, int, str], ...]:
    """Compares every file's size and digest with what the Hub says it has (SHA-256 for large files, else git's)."""
    there = {entry.path: entry for entry in remote}
    files = []
    for item in plan.items:
        sha256 = sha256_file(item.content) if isinstance(item.content, Path) else sha256_bytes(item.content)
        entry = there.get(item.path)
        if entry is None:
            raise StageFailed(f"{item.path} is not in the commit", fix="forge publish again")
        wanted, found = (sha256, entry.lfs.sha256) if entry.lfs else (_git_oid(item), entry.blob_id)
        if (entry.size, found) != (item.size, wanted):
            raise StageFailed(f"{item.path} arrived as {entry.size} bytes with digest {found}; "
                              f"sent were {item.size} bytes, {wanted}", fix="forge publish again")
        files.append((item.path, item.size, sha256))
    return tuple(files)


def _git_oid(item: Item) -> str:
    data = item.content.read_bytes() if isinstance(item.content, Path) else item.content
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _patiently(act: Callable[[], T], report: Reporter) -> T:
    """Tries again while the Hub is busy or the connection breaks; every act here may be repeated safely."""
    from huggingface_hub.errors import HfHubHTTPError

    for wait in WAITS:
        try:
            return act()
        except (HfHubHTTPError, httpx2.TransportError, RuntimeError) as error:
            cause = error.__cause__ if isinstance(error, RuntimeError) else error  # an upload's error comes wrapped
            busy = isinstance(cause, httpx2.TransportError) or (
                isinstance(cause, HfHubHTTPError) and cause.response.status_code in BUSY)
            if not busy:
                raise
            report.warn(f"the Hub is busy or the connection broke; trying again in {wait:.0f} s")
            time.sleep(wait)
    return act()


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """huggingface_hub draws no progress bars over the reporter's."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def _explained(plan: Plan) -> Iterator[None]:
    """The library's errors as ours. A message never holds the token: only the status and the Hub's words are used."""
    from huggingface_hub.errors import HfHubHTTPError

    where = f"{endpoint()}/{plan.repo}"
    try:
        yield
    except (HfHubHTTPError, httpx2.TransportError, RuntimeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, httpx2.TransportError):
            raise EnvironmentProblem(f"{endpoint()} cannot be reached: {str(cause) or type(cause).__name__}",
                                     fix="check the network, then run forge publish again") from None
        if isinstance(cause, HfHubHTTPError):
            raise _refused(cause, where) from None
        if isinstance(cause, ValueError):  # the library checks names and the card's metadata before sending
            raise UsageError(f"{where}: {cause}", fix="mend the card or the repository's name") from None
        raise


def _refused(error: Any, where: str) -> EnvironmentProblem | StageFailed:
    status, said = error.response.status_code, error.server_message or "no reason given"
    if status in (401, 403):
        return EnvironmentProblem(f"{where}: the Hub refused the token ({status}): {said}",
                                  fix="make a token with write access to this repository and set HF_TOKEN")
    if status == 404:
        return StageFailed(f"{where} does not exist", fix="create it, or --set publish.create=true")
    if status == 412:
        return StageFailed(f"{where} was changed by someone else meanwhile", fix="forge publish again")
    return StageFailed(f"{where}: the Hub answered {status}: {said}", fix="forge publish again")
