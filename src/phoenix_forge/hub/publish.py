"""Files to a Hub repository: planned first, sent in one commit, then read back and compared."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2

from phoenix_forge.chat.template import TEMPLATE
from phoenix_forge.core.fsio import files_below, human, sha256_bytes, sha256_file
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.hub.account import endpoint
from phoenix_forge.hub.retry import retry
from phoenix_forge.hub.snapshot import PICKLES, git_oid

Kind = Literal["model", "dataset"]
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
REPO = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
)  # as in publish.repo


@dataclass(frozen=True)
class Item:
    """One file of the commit: its path in the repository, and its content as a file here or as bytes."""

    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    def data(self) -> bytes:
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@dataclass(frozen=True)
class Upload:
    """What publish() will do; `card` is the README that will be shown."""

    repo: str
    private: bool
    create: bool
    items: tuple[Item, ...]
    kind: Kind = "model"

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)

    @property
    def card(self) -> str:
        return next((item.data().decode() for item in self.items if item.path == "README.md"), "")

    @property
    def url(self) -> str:
        return f"{endpoint()}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"


@dataclass(frozen=True)
class Published:
    url: str
    commit: str
    files: tuple[tuple[str, int, str], ...]  # path, bytes, SHA-256


def require_repo(repo: str | None) -> str:
    if not repo:
        raise UsageError(
            "no repository to publish to", fix="--repo ORG/NAME, or publish.repo in forge.yaml"
        )
    if not REPO.fullmatch(repo):
        raise UsageError(
            f"{repo!r} is not a repository's name",
            fix="--repo ORG/NAME, of letters, digits, . _ and -",
        )
    return repo


def prepare(
    repo: str | None,
    *,
    private: bool,
    create: bool,
    ggufs: Sequence[Path] = (),
    modelfile: Path | None = None,
    readme: Path | None = None,
    adapter: Path | None = None,
    readme_lora: Path | None = None,
    merged: Path | None = None,
    model_card: Path | None = None,
    dataset: Sequence[Item] = (),
    dataset_card: bytes = b"",
    files: Sequence[Path] = (),
    ollama: dict[str, bytes] | None = None,
) -> Upload:
    """The files of a commit, checked: nothing missing, no pickles, no .env, no two for one path.

    The merged model lies at the root, where transformers looks. An adapter goes into lora/ beside GGUFs or a merged
    model; alone it is the repository itself, with README_LORA.md as its card. The examples go into dataset/; alone they
    are a dataset repository with `dataset_card` as its card. `ollama` are the files that Ollama's direct pull reads.
    """
    name = require_repo(repo)
    items = [Item(path.name, path) for path in ggufs]
    if ggufs and ollama:
        items += [Item(own, content) for own, content in ollama.items()]
    if merged:
        if not merged.is_dir():
            raise UsageError(f"{merged} is not there", fix="forge merge")
        items += [Item(path.relative_to(merged).as_posix(), path) for path in files_below(merged)]
    for own, path in (
        ("Modelfile", modelfile),
        ("README.md", readme),
        ("model_card.yaml", model_card),
    ):
        items += [Item(own, path)] if path else []
    if adapter:
        below = "lora/" if ggufs or merged else ""
        items += [Item(f"{below}{own}", adapter / own) for own in ADAPTER_FILES]
        if (adapter / TEMPLATE).is_file():  # what training fixed of the base's template
            items.append(Item(f"{below}{TEMPLATE}", adapter / TEMPLATE))
        if readme_lora:
            items.append(Item("README_LORA.md" if below or readme else "README.md", readme_lora))
    kind: Kind = "dataset" if dataset and not (items or files) else "model"
    if kind == "dataset":
        items += [*dataset, Item("README.md", dataset_card)]
    else:
        items += [Item(f"dataset/{item.path}", item.content) for item in dataset]
    items += [Item(path.name, path) for path in files]
    _check(items)
    return Upload(name, private, create, tuple(items), kind)


def ollama_files(template: str, system: str | None, options: dict[str, Any]) -> dict[str, bytes]:
    """`template`, `system` and `params`, which `ollama run hf.co/…` reads from a repository (Hub documentation, "Use
    Ollama with any GGUF model")."""
    texts = {"template": template, "params": json.dumps(options, indent=2) + "\n"}
    if system:
        texts["system"] = system
    return {name: text.encode() for name, text in texts.items()}


def _check(items: Sequence[Item]) -> None:
    if not items:
        raise UsageError(
            "nothing to publish",
            fix="--gguf --modelfile --readme --lora --merged --dataset "
            "--model-card or --files FILE",
        )
    seen: set[str] = set()
    for item in items:
        if isinstance(item.content, Path) and not item.content.is_file():
            raise UsageError(
                f"{item.content} is not there", fix="run the stage that makes it: forge run"
            )
        if item.path.endswith(PICKLES):
            raise UsageError(
                f"{item.path} is a pickle, which can run code on whoever loads it",
                fix="publish safetensors or GGUF",
            )
        if item.path.startswith(".env"):
            raise UsageError(f"{item.path} holds secrets", fix="leave it out of --files")
        if item.path in seen:
            raise UsageError(
                f"two files would become {item.path}", fix="rename one, or leave one out"
            )
        seen.add(item.path)


def publish(upload: Upload, *, token: str | None, message: str, report: Reporter) -> Published:
    """Sends the plan as one commit and verifies what arrived.

    Nothing is visible before the commit; a large file that arrived in a broken attempt is not sent again, by this
    process or the next. Raises EnvironmentProblem without a token, or where the Hub refuses it or cannot be reached;
    UsageError where the repository is public and the plan is not.
    """
    if not token:
        raise EnvironmentProblem(
            "no Hugging Face token",
            fix="make one with write access at "
            f"{endpoint()}/settings/tokens and set HF_TOKEN, or write it to .env",
        )
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint(), token=token)
    with _explained(upload), _quiet_library():
        if upload.create:
            retry(
                lambda: api.create_repo(
                    upload.repo, private=upload.private, exist_ok=True, repo_type=upload.kind
                ),
                report,
            )
        head = retry(lambda: api.repo_info(upload.repo, repo_type=upload.kind), report)
        _require_visibility(upload, bool(head.private), report)
        report.info(f"sending {len(upload.items)} files, {human(upload.size)}, to {upload.url}")

        def commit() -> str:
            # A new list each time: the library marks what it has committed. If the last attempt's commit was made and
            # only its answer lost, nothing is left to send and this finds the commit.
            additions = [
                CommitOperationAdd(
                    item.path,
                    item.content if isinstance(item.content, bytes) else str(item.content),
                )
                for item in upload.items
            ]
            return api.create_commit(
                upload.repo,
                additions,
                commit_message=message,
                parent_commit=head.sha,
                repo_type=upload.kind,
            ).oid

        oid = retry(commit, report)
        there = retry(
            lambda: api.get_paths_info(
                upload.repo,
                [item.path for item in upload.items],
                revision=oid,
                repo_type=upload.kind,
            ),
            report,
        )
        files = _verified(upload, there)
    report.info(f"verified {len(files)} files at commit {oid[:12]}")
    return Published(upload.url, oid, files)


def _require_visibility(upload: Upload, private: bool, report: Reporter) -> None:
    if upload.private and not private:
        raise UsageError(
            f"{upload.url} is public, and this is to be private (publish.private)",
            fix="--public if everybody may have it, another --repo, or make the repository private first: "
            f"{upload.url}/settings",
        )
    if private and not upload.private:
        report.warn(f"{upload.repo} exists and is private; that was left as it is")


def _verified(upload: Upload, remote: Sequence[Any]) -> tuple[tuple[str, int, str], ...]:
    """Compares every file's size and digest with what the Hub says it has (SHA-256 for large files, else git's)."""
    there = {entry.path: entry for entry in remote}
    files = []
    for item in upload.items:
        sha256 = (
            sha256_file(item.content)
            if isinstance(item.content, Path)
            else sha256_bytes(item.content)
        )
        entry = there.get(item.path)
        if entry is None:
            raise StageFailed(f"{item.path} is not in the commit", fix="forge publish again")
        wanted, found = (
            (sha256, entry.lfs.sha256) if entry.lfs else (git_oid(item.data()), entry.blob_id)
        )
        if (entry.size, found) != (item.size, wanted):
            raise StageFailed(
                f"{item.path} arrived as {entry.size} bytes with digest {found}; "
                f"sent were {item.size} bytes, {wanted}",
                fix="forge publish again",
            )
        files.append((item.path, item.size, sha256))
    return tuple(files)


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """huggingface_hub draws no bars over the reporter's, and its warnings, which name signed addresses, stay unsaid."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    bars, level = not are_progress_bars_disabled(), logging.get_verbosity()
    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            enable_progress_bars()


@contextlib.contextmanager
def _explained(upload: Upload) -> Iterator[None]:
    """The library's errors as ours. A message never holds the token: only the status and the Hub's words are used."""
    from huggingface_hub.errors import HfHubHTTPError

    where = upload.url
    try:
        yield
    except KeyError as error:  # the library takes answers as they are
        raise StageFailed(
            f"{where} does not answer as a Hub does: it names no {error}",
            fix="look what HF_ENDPOINT names",
        ) from None
    except (HfHubHTTPError, httpx2.RequestError, RuntimeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, httpx2.RequestError):
            raise EnvironmentProblem(
                f"{endpoint()} cannot be reached: {str(cause) or type(cause).__name__}",
                fix="check the network, then run forge publish again",
            ) from None
        if isinstance(cause, HfHubHTTPError):
            raise _refused(cause, where) from None
        if isinstance(
            cause, ValueError
        ):  # the library checks names and the card's metadata before sending
            raise UsageError(
                f"{where}: {cause}", fix="mend the card or the repository's name"
            ) from None
        raise


def _refused(error: Any, where: str) -> EnvironmentProblem | StageFailed:
    status, said = error.response.status_code, error.server_message or "no reason given"
    if status in (401, 403):
        return EnvironmentProblem(
            f"{where}: the Hub refused the token ({status}): {said}",
            fix="make a token with write access to this repository and set HF_TOKEN, or do what "
            "the Hub's reason asks for",
        )
    if status == 404:
        return StageFailed(f"{where} does not exist", fix="create it, or --set publish.create=true")
    if status == 412:
        return StageFailed(
            f"{where} was changed by someone else meanwhile", fix="forge publish again"
        )
    return StageFailed(f"{where}: the Hub answered {status}: {said}", fix="forge publish again")
