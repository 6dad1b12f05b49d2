"""The versions of a model in Ollama that a workspace deployed, so that it can go back to the one before.

Each version has a name of its own, NAME:forge-<digest>, and NAME is made to be one of them by a copy, which is one file
on the server. So NAME is always one whole version, and which one the server says: equal manifests have equal digests.
The record only adds what was deployed when, and in which order; killed between any two steps, nothing is lost.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phoenix_forge.core import names
from phoenix_forge.core.fsio import sha256_json, write_json
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.runtime.modelfile import Modelfile
from phoenix_forge.runtime.ollama import Ollama, full

MARK = "forge-"


@dataclass(frozen=True)
class Version:
    """`sha256` is the GGUF's; a version that was `found` under the name is not Forge's: it is kept, never deleted."""

    name: str
    sha256: str | None
    made: str
    found: bool = False


@dataclass
class Deployed:
    """One model: `versions` in the order in which they were live, `waiting` those that never were, and `aliases`."""

    versions: list[Version] = field(default_factory=list)
    waiting: list[Version] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)


def version_name(name: str, mark: str) -> str:
    """guardian → guardian:forge-1a2b…; guardian:7b → guardian:7b-forge-1a2b…"""
    path, tag = full(name).rsplit(":", 1)
    return f"{path}:{MARK}{mark}" if tag == "latest" else f"{path}:{tag}-{MARK}{mark}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Deployments:
    """What this workspace deployed to one server; `path` is its record, of all servers."""

    def __init__(self, server: Ollama, path: Path) -> None:
        self.server, self.path = server, path
        try:
            self._all: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._all = {}
        except ValueError as error:
            raise UsageError(
                f"{path} is not the record that Forge wrote: {error}",
                fix=f"rm {path}; what is in Ollama stays",
            ) from None
        self.models = {
            name: Deployed(
                [Version(**v) for v in row["versions"]],
                [Version(**v) for v in row["waiting"]],
                row["aliases"],
            )
            for name, row in self._all.get(server.url, {}).items()
        }

    def _save(self) -> None:
        self._all[self.server.url] = {name: asdict(row) for name, row in self.models.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self._all)

    def _row(self, name: str) -> Deployed:
        if full(name) not in self.models:
            known = ", ".join(self.models) or "nothing"
            raise UsageError(
                f"this workspace has not deployed {name} to {self.server.url}; it deployed {known}",
                fix="forge deploy",
            )
        return self.models[full(name)]

    # -- forward
    def begin(self, name: str, sha256: str, modelfile: Modelfile) -> Version:
        """The version to be made of a GGUF and a Modelfile: the same two give the same name. It is noted before it is
        made, so that what a kill leaves on the server is known."""
        mark = sha256_json([sha256, asdict(modelfile) | {"from_": None}])[:12]
        version = Version(version_name(name, mark), sha256, _now())
        row = self.models.setdefault(full(name), Deployed())
        known = next((v for v in row.versions if v.name == version.name), None)
        if known is None:
            row.waiting = [v for v in row.waiting if v.name != version.name] + [version]
        self._save()
        return known or version

    def go_live(self, name: str, version: Version) -> list[str]:
        """Makes NAME and its aliases `version`. The version that NAME was is kept, older ones are deleted; returns
        their names."""
        row = self._row(name)
        before = self._before(name, row)
        self._point(name, row, version)
        kept = {version.name, before.name if before else version.name}
        if before is None or before.name == version.name:
            kept |= {v.name for v in row.versions[-2:]}
        there = self.server.manifests()
        old = [v for v in [*row.versions, *row.waiting] if v.name not in kept and not v.found]
        deleted = [v.name for v in old if there(v.name)]
        for gone in deleted:
            self.server.delete(gone)
        row.versions = [v for v in row.versions if v not in old]
        row.waiting = []
        self._save()  # after the server: what a kill leaves there is still on record
        return deleted

    def _point(self, name: str, row: Deployed, version: Version) -> None:
        """An alias that somebody made another model is left alone."""
        there = self.server.manifests()
        ours = {None, *(there(v.name) for v in row.versions)}
        for target in (full(name), *(a for a in row.aliases if there(a) in ours)):
            self.server.copy(version.name, target)
        row.versions = [v for v in row.versions if v.name != version.name] + [version]
        self._save()

    def _before(self, name: str, row: Deployed) -> Version | None:
        """What NAME is now. A model of somebody else's under that name is kept as a version first."""
        there = self.server.manifests()
        digest = there(name)
        if digest is None:
            return None
        live = next(
            (v for v in reversed([*row.waiting, *row.versions]) if there(v.name) == digest), None
        )
        if live is None:
            live = Version(
                version_name(name, f"found-{digest.removeprefix('sha256:')[:12]}"),
                None,
                _now(),
                found=True,
            )
            self.server.copy(full(name), live.name)
        row.versions = [v for v in row.versions if v.name != live.name] + [live]
        row.waiting = [v for v in row.waiting if v.name != live.name]
        self._save()
        return live

    # -- back
    def rollback(self, name: str) -> tuple[Version, Version | None]:
        """Makes NAME the version that it was before, and returns it with the one that it was until now: asked again,
        it goes forward to that."""
        row = self._row(name)
        now = self._before(name, row)
        there = self.server.manifests()
        earlier = [v for v in row.versions if there(v.name) and v != now]
        if not earlier:
            raise UsageError(
                f"{name} has no earlier version on {self.server.url}", fix="forge deploy --list"
            )
        self._point(name, row, earlier[-1])
        return earlier[-1], now

    # -- names
    def alias(self, name: str, alias: str, *, force: bool) -> None:
        """A further name for NAME, which follows it from now on."""
        if problem := names.ollama_problem(alias):
            raise UsageError(
                f"{alias!r} is no name for a model in Ollama: {problem}", fix="choose another name"
            )
        row, there = self._row(name), self.server.manifests()
        if not there(name):
            raise UsageError(f"{self.server.url} has no {full(name)}", fix="forge deploy --force")
        taken = there(alias) or full(alias) in self.models
        if taken and full(alias) not in row.aliases and not force:
            raise UsageError(
                f"{alias} is a model of its own on {self.server.url}",
                fix=f"choose another name, or replace it: forge deploy --alias {alias} --force",
            )
        if full(alias) == full(name):
            raise UsageError(f"{alias} is the model's own name", fix="choose another name")
        row.aliases = sorted({*row.aliases, full(alias)})
        self._save()
        self.server.copy(full(name), full(alias))

    def remove(self, name: str, *, force: bool) -> tuple[list[str], list[str]]:
        """Deletes a model with its versions and aliases, or one alias or version; returns the names that were deleted
        and those kept because somebody else made them. Others' models are deleted with `force` only."""
        wanted, there = full(name), self.server.manifests()
        kept: list[str] = []
        if wanted in self.models:
            row = self.models[wanted]
            kept = [v.name for v in row.versions if v.found and there(v.name)]
            names = [
                wanted,
                *row.aliases,
                *(v.name for v in [*row.versions, *row.waiting] if not v.found),
            ]
        else:
            ours = {
                n
                for row in self.models.values()
                for n in (
                    *row.aliases,
                    *(v.name for v in [*row.versions, *row.waiting] if not v.found),
                )
            }
            if wanted not in ours and not force:
                raise UsageError(
                    f"this workspace did not deploy {name} to {self.server.url}",
                    fix=f"forge deploy --list shows what it did; or: forge deploy --remove {name} --force",
                )
            names = [wanted]
        deleted = [n for n in names if there(n)]
        if not deleted and wanted not in self.models:
            raise UsageError(f"{self.server.url} has no {name}", fix="forge deploy --list")
        for gone in deleted:
            self.server.delete(gone)
        self.models.pop(wanted, None)
        for row in self.models.values():
            row.aliases = [a for a in row.aliases if a != wanted]
            row.versions = [v for v in row.versions if v.name != wanted]
            row.waiting = [v for v in row.waiting if v.name != wanted]
        self._save()
        return deleted, kept

    def live(self, name: str) -> str | None:
        """The version that NAME is; None where it is none of this workspace's, or not there."""
        there, row = self.server.manifests(), self.models.get(full(name), Deployed())
        digest = there(name)
        return next(
            (v.name for v in reversed(row.versions) if digest and there(v.name) == digest), None
        )

    def listed(self) -> list[dict[str, Any]]:
        """Every name that this workspace deployed: its `role` (live, previous, not live, alias), the GGUF's SHA-256,
        when it was made, and whether the server still has it."""
        there = self.server.manifests()
        rows: list[dict[str, Any]] = []

        def add(model: str, name: str, role: str, version: Version | None) -> None:
            rows.append(
                {
                    "model": model,
                    "name": name,
                    "role": role,
                    "sha256": version.sha256 if version else None,
                    "made": version.made if version else None,
                    "there": there(name) is not None,
                }
            )

        for name, row in self.models.items():
            live = next(
                (v for v in reversed(row.versions) if there(name) and there(v.name) == there(name)),
                None,
            )
            add(name, name, "model", live)
            for version in reversed(row.versions):
                add(name, version.name, "live" if version is live else "previous", version)
            for version in row.waiting:
                add(name, version.name, "not live", version)
            for alias in row.aliases:
                same = there(name) and there(alias) == there(name)
                add(
                    name,
                    alias,
                    "alias" if same or not there(alias) else "alias, changed",
                    live if same else None,
                )
        return rows


def require_same_file(server: Ollama, version: Version) -> str | None:
    """None where Ollama runs the very file that was sent, else its digest. Raises StageFailed where it runs none."""
    found = server.layer_digest(version.name)
    if found is None:
        raise StageFailed(
            f"Ollama made {version.name}, but names no file that it runs",
            fix="look at Ollama's log",
        )
    return None if found == version.sha256 else found
