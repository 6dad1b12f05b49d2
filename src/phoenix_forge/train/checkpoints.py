"""Checkpoints: written, and which of them can be resumed from.

A checkpoint is a folder that appears under its name when it is whole; it counts while its mark, written last, lists the
digest of every file. It holds the adapter as PEFT has it, the optimizer's state, and state.json: everything else that
makes the next step what it would have been, and of which training it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from phoenix_forge.core.faults import explained
from phoenix_forge.core.fsio import (
    as_umask_says,
    disk_full,
    files_below,
    naming,
    partial_path,
    remove,
    sha256_file,
    sha256_json,
    sync_tree,
    write_json,
    write_text,
)
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import StageFailed, UsageError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

MARK = "complete.json"
CHOICE = "choice.json"  # how the machine is used for this training
ANCHORS = "anchors.json"  # what the base wrote to be held to
IDENTITY = "training"  # in the state: of what, on what and with which settings
ADAPTER, OPTIMIZER, STATE = "adapter_model.safetensors", "optimizer.safetensors", "state.json"

Identity = Mapping[
    str, str
]  # digests of everything that shapes a training, by what it is of: base, dataset, settings


def save(
    folder: Path,
    step: int,
    adapter: dict[str, Tensor],
    config: dict[str, Any],
    optimizer: Optimizer,
    state: dict[str, Any],
) -> Path:
    """Writes checkpoint-STEP into `folder`, whole or not at all. Raises EnvironmentProblem where the disk is full; the
    ones before it stay."""
    target = folder / f"checkpoint-{step}"
    partial = partial_path(target)
    remove(partial)
    partial.mkdir(parents=True)
    try:
        write_tensors(partial / ADAPTER, adapter)
        write_json(partial / "adapter_config.json", config)
        tensors, plain = _flat(optimizer.state_dict())
        write_tensors(partial / OPTIMIZER, tensors)
        write_json(partial / STATE, state | {"optimizer": plain})
        seal(partial)
        remove(target)
        partial.rename(target)
    finally:
        remove(partial)  # still there only if something failed
    return target


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """A safetensors file, readable by whom the umask lets. Raises EnvironmentProblem where it does not fit the disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with naming(path):
            save_file(whole, str(path), metadata=metadata)
    except SafetensorError as error:  # the library's own word for what the system refused
        if problem := explained(error, [path]):
            raise disk_full(
                path, sum(t.numel() * t.element_size() for t in whole.values())
            ) from problem
        raise
    as_umask_says(path)


def restore(checkpoint: Path, adapter: dict[str, Tensor], optimizer: Optimizer) -> dict[str, Any]:
    """Fills the adapter's tensors and the optimizer; returns the state that was saved with them. Raises StageFailed
    where the checkpoint is not as it was saved."""
    from safetensors.torch import load_file

    if wrong := problem(checkpoint):
        raise StageFailed(
            f"{checkpoint} {wrong}",
            fix=f"rm -r {quote(str(checkpoint))}; forge train goes on from the one before",
        )
    for name, value in load_file(str(checkpoint / ADAPTER)).items():
        adapter[name].copy_(value)
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    described = optimizer.state_dict()
    described["state"] = _nested(load_file(str(checkpoint / OPTIMIZER)), state.pop("optimizer"))
    state.pop(IDENTITY, None)
    optimizer.load_state_dict(described)
    return state


def _flat(description: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state by path: tensors, and everything else. bitsandbytes nests some of it a level deeper."""
    import torch

    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}/{key}" if path else str(key))
        elif torch.is_tensor(value):
            tensors[path] = value.detach().clone().contiguous()
        else:
            plain[path] = value

    walk(description["state"], "")
    return tensors, plain


def _nested(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The inverse; the first part of a path is a parameter's number."""
    state: dict[Any, Any] = {}
    for path, value in {**tensors, **plain}.items():
        first, *between, last = path.split("/")
        node = state.setdefault(int(first), {})
        for key in between:
            node = node.setdefault(key, {})
        node[last] = value
    return state


def seal(checkpoint: Path) -> None:
    """Declares a written checkpoint complete."""
    sync_tree(checkpoint)
    digests = {
        str(p.relative_to(checkpoint)): sha256_file(p)
        for p in files_below(checkpoint)
        if p.name != MARK
    }
    write_json(checkpoint / MARK, digests)


def problem(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None where every file is as it was saved."""
    try:
        digests = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "was not finished"
    except ValueError:
        return "has a broken mark"
    for name, digest in digests.items():
        path = checkpoint / name
        if not path.is_file() or sha256_file(path) != digest:
            return f"has a damaged {name}"
    return None


def by_step(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoint folders, oldest first, by number: checkpoint-400 comes before checkpoint-1000."""
    found = [
        (int(m[1]), p)
        for p in folder.glob("checkpoint-*")
        if (m := re.fullmatch(r"checkpoint-(\d+)", p.name))
    ]
    return sorted(found)


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Removes all but the newest `keep` and the one at step `best`. To be called after saving: there is always one."""
    for step, path in by_step(folder)[:-keep]:
        if step != best:
            remove(path)


def latest(folder: Path, identity: Identity, report: Reporter) -> Path | None:
    """The last complete checkpoint of this very training, or None; what cannot be resumed from is removed.

    Checkpoints of another training in the folder are discarded. Raises UsageError where a single one of them is: it was
    put there.
    """
    owner, own = folder / "identity", sha256_json(identity)
    if not owner.exists() or owner.read_text(encoding="utf-8") != own:
        discarded = by_step(folder)
        for _, path in discarded:
            remove(path)
        if discarded:
            report.info(f"{len(discarded)} checkpoints of another training discarded")
        for name in (CHOICE, ANCHORS):
            remove(folder / name)
        write_text(owner, own)
        return None
    for step, path in reversed(by_step(folder)):
        wrong = problem(path)
        if wrong is None:
            _require_own(path, identity)
            return path
        report.warn(f"checkpoint at step {step} {wrong}; going back to the one before")
        remove(path)
    return None


def _require_own(checkpoint: Path, identity: Identity) -> None:
    found = json.loads((checkpoint / STATE).read_text(encoding="utf-8")).get(IDENTITY)
    if found == identity:
        return
    known = found if isinstance(found, dict) else {}
    other = ", ".join(name for name in identity if known.get(name) != identity[name]) or "identity"
    raise UsageError(
        f"{checkpoint} is a checkpoint of another training: its {other} is not this one's",
        fix=f"rm -r {quote(str(checkpoint))}: training goes on from the one before; or forge train "
        "--force trains from the beginning",
    )
