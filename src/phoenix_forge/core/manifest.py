"""What a stage did, written last: while a stage's manifest does not match, the stage is not done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from phoenix_forge.core.fsio import DigestCache, sha256_json, write_json


@dataclass(frozen=True)
class Manifest:
    """Inputs and outputs map a role to its path (relative to the workspace when inside) and SHA-256."""

    stage: str
    fingerprint: str
    settings: dict
    inputs: dict[str, dict]
    outputs: dict[str, dict]
    metrics: dict
    versions: dict[str, str]
    started: str
    seconds: float
    notes: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @staticmethod
    def read(path: Path) -> Manifest | None:
        """The manifest, or None where there is none or it is not one (it is then made again)."""
        try:
            return Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def tool_versions(names: tuple[str, ...]) -> dict[str, str]:
    """The installed version of each distribution, or "absent"."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def fingerprint(
    stage: str, version: int, settings: dict, inputs: dict[str, str], tools: dict[str, str]
) -> str:
    """Identity of a result: the same fingerprint means the same output bytes on the same machine."""
    return sha256_json([stage, version, settings, inputs, tools])


def described(paths: dict[str, Path], digests: DigestCache, root: Path) -> dict[str, dict]:
    """{role: {path, sha256}} for a manifest."""
    return {
        role: {
            "path": str(p.relative_to(root) if p.is_relative_to(root) else p),
            "sha256": digests.tree(p),
        }
        for role, p in paths.items()
    }


def outputs_intact(
    manifest: Manifest, destinations: dict[str, Path], digests: DigestCache
) -> str | None:
    """None when every output is there with the recorded digest; otherwise what is wrong with the first that is not."""
    if set(manifest.outputs) != set(destinations):
        return "other outputs are wanted"
    for role, path in destinations.items():
        if not path.exists():
            return f"{path.name} is missing"
        if digests.tree(path) != manifest.outputs[role]["sha256"]:
            return f"{path.name} was changed"
    return None
