"""A model repository's files through huggingface_hub's cache, which resumes here and is shared with other tools.

Large files are fetched by this module, for the library (2.x) drops what an interrupted download had: each of its
processes writes a file of its own, and 15 GB begin again. Here a partial file lies beside its blob, is gone on with by
an HTTP range, and becomes the blob once it has the digest that the Hub names. The library then finds it and does the
rest. (The cache's layout is part of its documentation: models--ORG--NAME/{blobs,refs,snapshots}.)
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx2

from phoenix_forge.catalog.bases import require_plain
from phoenix_forge.core.fsio import PARTIAL, sha256_file
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import ForgeError, StageFailed, UsageError
from phoenix_forge.hub.account import endpoint, offline
from phoenix_forge.hub.retry import retry

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

CONFIG = "config.json"
WANTED = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
PROBE_SECONDS = 4.0
CONNECTIONS = 4  # files at a time
SHA256, GIT_SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


class Unreachable(ForgeError):
    """This source cannot be had on this machine; another one may."""

    exit_code = 3


@dataclass(frozen=True)
class Snapshot:
    """The commit that was taken, and the licence in the repository's card where it names one."""

    commit: str
    license: str | None


def require_safetensors(names: Iterable[str], where: str) -> None:
    """Refuses a model folder that holds pickles alone, or no weights."""
    names = list(names)
    pickles = sorted(n for n in names if n.endswith(PICKLES))
    if not any(n.endswith(".safetensors") for n in names):
        found = (
            f"only pickled weights ({pickles[0]}), which can run code when loaded"
            if pickles
            else "no weights"
        )
        raise UsageError(
            f"{where} holds {found}; Forge reads safetensors",
            fix="choose a base with .safetensors files",
        )


def hub_answers() -> str | None:
    """None when the Hub answers; else why not. Bounded by PROBE_SECONDS, name resolution included."""
    outcome: list[str | None] = []
    address = endpoint()

    def ask() -> None:
        try:
            httpx2.head(address, timeout=PROBE_SECONDS, follow_redirects=False)
            outcome.append(None)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            outcome.append(str(error) or type(error).__name__)

    # A thread, because a resolver without a network may block for longer than any timeout set here.
    prober = threading.Thread(target=ask, daemon=True)
    prober.start()
    prober.join(PROBE_SECONDS)
    return outcome[0] if outcome else f"no answer within {PROBE_SECONDS:.0f} s"


def head(repo: str, revision: str | None, token: str | None) -> str | None:
    """The commit that a branch or tag (None: the default branch) is at now, or None where the Hub does not say."""
    if offline() or hub_answers():
        return None
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return (
            HfApi(endpoint=endpoint(), token=token or False).model_info(repo, revision=revision).sha
        )
    except (HfHubHTTPError, httpx2.TransportError):
        return None


def snapshot(
    repo: str, destination: Path, *, revision: str | None, token: str | None, report: Reporter
) -> Snapshot:
    """Lays a repository's safetensors, JSON and tokenizer files into `destination`, each held against its digest.

    They are linked from the cache where both are on one file system: 15 GB are kept once. Raises Unreachable where the
    repository cannot be had and is not in the cache, UsageError where it holds no safetensors, StageFailed where what
    arrived is not what the Hub has.
    """
    away = "HF_HUB_OFFLINE is set" if offline() else hub_answers()
    license = None
    with explained(repo, revision):
        if away:
            folder = _cached(repo, revision, away)
            report.info(f"{endpoint()} cannot be reached ({away}); using the cached copy of {repo}")
        else:
            folder, license = _fetched(repo, revision, token, report)
    for path, file in _files(folder).items():
        _lay(file.resolve(), destination / path)
    return Snapshot(folder.name, license)


def _files(folder: Path) -> dict[str, Path]:
    """What is wanted of a snapshot; other tools may have put more of the repository there."""
    from huggingface_hub.utils import filter_repo_objects

    found = {
        file.relative_to(folder).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    return {path: found[path] for path in filter_repo_objects(found, allow_patterns=WANTED)}


def _cached(repo: str, revision: str | None, away: str) -> Path:
    """The snapshot's folder in the cache, verified by the names of its blobs, which are their digests."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=WANTED)
        )
    except LocalEntryNotFoundError:
        wanted = f"{repo} at {revision}" if revision else repo
        raise Unreachable(
            f"{endpoint()} cannot be reached ({away}) and {wanted} is not whole in the local cache",
            fix="unset HF_HUB_OFFLINE"
            if offline()
            else "check the network, or name a mirror with HF_ENDPOINT",
        ) from None
    blobs = {path: file.resolve().name for path, file in _files(folder).items()}
    _require_digests(
        folder,
        {
            path: name
            for path, name in blobs.items()
            if SHA256.fullmatch(name) or GIT_SHA1.fullmatch(name)
        },
    )
    return folder


def _fetched(
    repo: str, revision: str | None, token: str | None, report: Reporter
) -> tuple[Path, str | None]:
    """The snapshot's folder in the cache, whole and verified, and the repository's licence."""
    from huggingface_hub import HfApi, RepoFile, snapshot_download
    from huggingface_hub.utils import filter_repo_objects, get_session

    hooks = get_session().event_hooks
    if _require_names not in hooks["response"]:
        get_session().event_hooks = hooks | {"response": [*hooks["response"], _require_names]}
    api = HfApi(endpoint=endpoint(), token=token or False)
    info = retry(lambda: api.model_info(repo, revision=revision), report)
    commit = str(info.sha)
    require_safetensors((s.rfilename for s in info.siblings or []), f"Hub repository {repo}")
    tree = retry(lambda: list(api.list_repo_tree(repo, recursive=True, revision=commit)), report)
    wanted = list(
        filter_repo_objects(
            [f for f in tree if isinstance(f, RepoFile)],
            allow_patterns=WANTED,
            key=lambda f: f.path,
        )
    )
    if any(f.path == CONFIG for f in wanted):
        _require_plain(repo, commit, token, report)
    _fetch_large(repo, commit, [f for f in wanted if f.lfs], token, report)
    # By the name of the branch, so that the cache knows where it is on the day without a network.
    folder = Path(
        retry(
            lambda: snapshot_download(
                repo,
                revision=revision,
                token=token or False,
                endpoint=endpoint(),
                allow_patterns=WANTED,
                tqdm_class=_silent_bars(),
            ),
            report,
        )
    )
    if folder.name != commit:
        raise StageFailed(
            f"{repo} moved from {commit[:12]} to {folder.name[:12]} while it was downloaded",
            fix="forge download again; what has arrived is kept",
        )
    _require_digests(folder, {f.path: f.blob_id for f in wanted if not f.lfs})
    return folder, _license(info.card_data)


def _require_plain(repo: str, commit: str, token: str | None, report: Reporter) -> None:
    """Refuses weights that are quantised already while nothing but the config is there. What is no JSON is told where it
    is opened."""
    from huggingface_hub import hf_hub_download

    path = retry(
        lambda: hf_hub_download(
            repo, CONFIG, revision=commit, token=token or False, endpoint=endpoint()
        ),
        report,
    )
    with contextlib.suppress(ValueError, RecursionError):
        config = json.loads(Path(path).read_bytes())
        if isinstance(config, dict):
            require_plain(config, f"Hub repository {repo}")


def _require_names(response: httpx2.Response) -> None:
    """The library calls files in its cache after these headers, as they are: a path in one would lead out of it."""
    for header in ("ETag", "X-Linked-ETag", "X-Repo-Commit"):
        name = response.headers.get(header, "").removeprefix("W/").strip('"')
        if str(response.url).startswith(endpoint()) and (
            "/" in name or "\\" in name or name in (".", "..")
        ):
            raise StageFailed(
                f"{response.url} has the {header} {name!r}, which is a path: refused",
                fix="look what HF_ENDPOINT names: it is no Hub",
            )


def _license(card: Any) -> str | None:
    """`license: other` has its name in another key."""
    known = card.to_dict() if card else {}
    named = known.get("license")
    return known.get("license_name", named) if named == "other" else named


# -- large files
def _fetch_large(
    repo: str, commit: str, files: Sequence[RepoFile], token: str | None, report: Reporter
) -> None:
    """Puts each file's blob into the cache, several at a time."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    blobs = (
        Path(constants.HF_HUB_CACHE).expanduser() / f"models--{repo.replace('/', '--')}" / "blobs"
    )
    blobs.mkdir(parents=True, exist_ok=True)
    # Compressed answers have no ranges.
    headers = {**build_hf_headers(token=token or False), "Accept-Encoding": "identity"}
    total, done, counting, stop = sum(f.size for f in files), 0, threading.Lock(), threading.Event()

    def count(read: int) -> None:
        nonlocal done
        with counting:
            done += read
            report.progress(f"downloading {repo}", done, total, "B")

    def fetch(file: RepoFile) -> None:
        url = hf_hub_url(repo, file.path, revision=commit, endpoint=endpoint())
        assert file.lfs
        if not SHA256.fullmatch(file.lfs.sha256):  # it becomes a file's name
            raise StageFailed(
                f"{endpoint()} names {file.lfs.sha256!r} as the SHA-256 of {file.path}",
                fix="look what HF_ENDPOINT names: it is no Hub",
            )
        _fetch_blob(url, headers, blobs / file.lfs.sha256, file, stop, count, report)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        jobs = [pool.submit(fetch, file) for file in files]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            stop.set()  # one has failed, or Ctrl-C: the others end at their next block


def _fetch_blob(
    url: str,
    headers: dict[str, str],
    blob: Path,
    file: RepoFile,
    stop: threading.Event,
    count: Callable[[int], None],
    report: Reporter,
) -> None:
    """One large file, from where an earlier attempt stopped; a blob that is already there is verified."""
    if blob.exists():
        if sha256_file(blob, count) == blob.name:
            return
        count(-file.size)
        report.warn(f"the cached copy of {file.path} is damaged; it is downloaded again")
        blob.unlink()
    partial = blob.with_name(blob.name + PARTIAL)
    with open(partial, "ab") as out:
        fcntl.flock(out, fcntl.LOCK_EX)  # another Forge may be at the same file
        if blob.exists():
            partial.unlink(missing_ok=True)
            return
        if out.tell() > file.size:
            out.truncate(0)
        count(min(out.tell(), file.size))
        retry(
            lambda: _append(url, headers, out, file.size, stop, count), report, out.tell, stop.wait
        )
        if stop.is_set():
            return
        found = sha256_file(partial)
        if found != blob.name:
            partial.unlink()
            raise StageFailed(
                f"{file.path} arrived with the SHA-256 {found}, the Hub says {blob.name}; it was removed",
                fix="forge download again, or from another mirror if HF_ENDPOINT names one",
            )
        partial.replace(blob)


def _append(
    url: str,
    headers: dict[str, str],
    out: IO[bytes],
    size: int,
    stop: threading.Event,
    count: Callable[[int], None],
) -> None:
    """What is missing of a file. A server that takes no notice of the range sends the whole file again."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session, hf_raise_for_status

    at = out.tell()
    if at == size or stop.is_set():
        return
    ranged = {**headers, "Range": f"bytes={at}-"} if at else headers
    with get_session().stream(
        "GET", url, headers=ranged, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    ) as response:
        hf_raise_for_status(response)
        if at and response.status_code != 206:
            out.truncate(0)
            count(-at)
        for (
            block
        ) in response.iter_bytes():  # as it arrives: nothing waits in memory for the line to break
            if (
                stop.is_set() or out.tell() > size
            ):  # more than was announced: its digest will not be the one
                break
            out.write(block)
            count(len(block))
    out.flush()
    if out.tell() < size and not stop.is_set():
        raise httpx2.RemoteProtocolError(f"{url} ended after {out.tell()} of {size} bytes")


# -- digests
def _require_digests(folder: Path, digests: dict[str, str]) -> None:
    """Holds files against the digests by path: SHA-256, or git's of a blob."""
    for path, wanted in digests.items():
        file = folder / path
        found = sha256_file(file) if SHA256.fullmatch(wanted) else git_oid(file.read_bytes())
        if found != wanted:
            blob = file.resolve()
            blob.unlink()
            file.unlink(missing_ok=True)
            raise StageFailed(
                f"{path} has the digest {found}, not {wanted}: the copy in the cache was damaged and is "
                "removed",
                fix="forge download again, with a network",
            )


def git_oid(data: bytes) -> str:
    """Git's name of a file's content, which the Hub names for small files."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _lay(file: Path, destination: Path) -> None:
    """A second name for a file, or a copy where the file system cannot give one."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.unlink(missing_ok=True)
    try:
        os.link(file, destination)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(file, destination)


def _silent_bars() -> type:
    """A progress bar for huggingface_hub that draws nothing: what it fetches itself is small."""
    from tqdm import tqdm

    class Bars(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": True})

    return Bars


@contextlib.contextmanager
def explained(repo: str, revision: str | None) -> Iterator[None]:
    """Turns huggingface_hub's errors about a repository into Unreachable, each with its fix."""
    from huggingface_hub import errors

    where = f"{endpoint()}/{repo}"
    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(
            f"{repo!r} is not a repository's name: {error}", fix="model.base: ORG/NAME"
        ) from None
    except errors.GatedRepoError as error:
        said = f": {error.server_message}" if error.server_message else ""
        raise Unreachable(
            f"{where} is gated, its owner asks for consent ({error.response.status_code}{said})",
            fix=f"accept its terms at {where}, then set HF_TOKEN to a token of that account "
            f"({endpoint()}/settings/tokens)",
        ) from None
    except errors.RevisionNotFoundError:
        raise Unreachable(
            f"{where} has no revision {revision!r}",
            fix="--set model.revision=main, or one that it has",
        ) from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, httpx2.RequestError) as error:
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        if status in (401, 403, 404):
            raise Unreachable(
                f"{where} does not exist, or is private and the token may not read it ({status})",
                fix="check the name and HF_TOKEN; an expired token is refused as well",
            ) from None
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Unreachable(
            f"{where} could not be downloaded: {reason}",
            fix="check the network and try again; what has arrived is kept",
        ) from None
    except (
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # the library takes answers as they are, names of files excepted
        raise StageFailed(
            f"{where} does not answer as a Hub does: {type(error).__name__} {error}",
            fix="look what HF_ENDPOINT names, or name another repository",
        ) from None
