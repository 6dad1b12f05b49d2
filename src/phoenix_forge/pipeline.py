"""Plan and run stages. Kill it anywhere: what is finished stays, what is half-written is never taken for finished.

A stage is up to date when its fingerprint and its outputs match its manifest. It writes beside its destinations; the
pipeline then records what it is about to publish, renames, and writes the manifest, last.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from phoenix_forge import __version__
from phoenix_forge.core.faults import explained
from phoenix_forge.core.fsio import PARTIAL, open_own, publish, remove, replaced_path
from phoenix_forge.core.manifest import (
    Manifest,
    described,
    fingerprint,
    outputs_intact,
    tool_versions,
)
from phoenix_forge.errors import EnvironmentProblem, ForgeError, Preempted, UsageError
from phoenix_forge.stages import STAGES, Context, load
from phoenix_forge.stages.recorded import require_as_made


@dataclass(frozen=True)
class Step:
    """One stage of a plan: `reason` is why it has to run, or None when it is up to date. One that only `waits` for its
    inputs is looked at again when they are there: they may come out as they were."""

    name: str
    reason: str | None
    waits: bool = False


@dataclass(frozen=True)
class Done:
    """What became of a stage: status is done, skipped or failed; `metrics` as recorded in its manifest."""

    name: str
    status: str
    seconds: float
    metrics: dict


def selected(ctx: Context, first: str | None = None, last: str | None = None) -> list[str]:
    """The stages of `forge run`, from `first` to `last`; a stage named as an end is included even if not wanted."""
    order = list(STAGES)
    for name in (first, last):
        if name is not None and name not in order:
            raise UsageError(
                f"no stage {name!r}; stages: {', '.join(order)}", fix="forge plan lists them"
            )
    low = order.index(first) if first else 0
    high = order.index(last) if last else len(order) - 1
    if low > high:
        raise UsageError(f"--from {first} comes after --to {last}", fix="swap them")
    return [
        name
        for name in order[low : high + 1]
        if name in (first, last) or load(name).wanted(ctx.config)
    ]


def _fingerprint(ctx: Context, name: str, inputs: dict[str, Path]) -> str:
    stage = load(name)
    digests = {role: ctx.digests.tree(path) for role, path in inputs.items()}
    return fingerprint(
        name, stage.VERSION, stage.settings(ctx), digests, tool_versions(stage.TOOLS)
    )


def _stale(ctx: Context, name: str, inputs: dict[str, Path]) -> str | None:
    """Why a stage must run, or None. Assumes that the stages before it are up to date."""
    for role, path in inputs.items():
        if not path.exists():
            return f"its {role} is missing"
    manifest = Manifest.read(ctx.workspace.manifest(name))
    if manifest is None:
        return "never done"
    if manifest.fingerprint != _fingerprint(ctx, name, inputs):
        return _difference(ctx, name, inputs, manifest)
    elsewhere = getattr(load(name), "stale", lambda ctx: None)  # of what lies on no disk here
    return outputs_intact(manifest, load(name).outputs(ctx), ctx.digests) or elsewhere(ctx)


def _difference(ctx: Context, name: str, inputs: dict[str, Path], manifest: Manifest) -> str:
    for role in sorted(inputs.keys() ^ manifest.inputs.keys()):
        return f"{role} is new" if role in inputs else f"{role} is gone"
    for role, path in inputs.items():
        if manifest.inputs[role]["sha256"] != ctx.digests.tree(path):
            return f"{role} changed"
    settings = load(name).settings(ctx)
    changed = sorted(
        k
        for k in settings.keys() | manifest.settings.keys()
        if settings.get(k) != manifest.settings.get(k)
    )
    if changed:
        return f"{', '.join(changed)} changed"
    return "Forge or a library changed"


def plan(ctx: Context, names: list[str], force: bool = False) -> list[Step]:
    """What would run and why. A stage that reads the output of one that runs has to run too."""
    steps: list[Step] = []
    making: set[Path] = set()
    for name in names:
        stage = load(name)
        inputs = stage.inputs(ctx)  # once: for the dataset it walks the corpus
        fed = next((role for role, path in inputs.items() if making & {path, *path.parents}), None)
        reason = (
            "asked to" if force else f"its {fed} will be new" if fed else _stale(ctx, name, inputs)
        )
        if reason:
            making |= set(stage.outputs(ctx).values())
        steps.append(Step(name, reason, waits=fed is not None and not force))
    ctx.digests.save()
    return steps


@contextlib.contextmanager
def lock(ctx: Context) -> Iterator[None]:
    """One Forge at a time in a workspace; released by the system when the process dies."""
    ctx.workspace.state.mkdir(parents=True, exist_ok=True)
    with open_own(ctx.workspace.state / "lock", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another forge is at work in {ctx.workspace.root}",
                fix="wait for it, or use another --workspace",
            ) from None
        yield


def _guard_foreign(ctx: Context, name: str) -> None:
    """Refuses to overwrite what Forge did not write, or what was edited since."""
    ours: dict[str, set[str]] = {}
    for record in (ctx.workspace.manifest(name), _intent(ctx, name)):
        manifest = Manifest.read(record)
        for role, output in (manifest.outputs if manifest else {}).items():
            ours.setdefault(role, set()).add(output["sha256"])
    for role, path in load(name).outputs(ctx).items():
        if path.exists() and ctx.digests.tree(path) not in ours.get(role, set()):
            raise UsageError(
                f"{name}: {ctx.workspace.shown(path)} exists and is not as Forge wrote it",
                fix=f"forge {name} --force overwrites it; or move it away; or set another path",
            )


def _intent(ctx: Context, name: str) -> Path:
    """What is about to be published: after a kill in between, it tells our files from the user's."""
    return ctx.workspace.manifest(name).with_suffix(f".publishing{PARTIAL}")


def _finish_publishing(ctx: Context, name: str) -> None:
    """Completes what a kill interrupted between the intent and the manifest: the work itself was done by then.

    Only what is absent or still as Forge left it is replaced; a destination edited since is left to the guard.
    """
    intent = Manifest.read(_intent(ctx, name))
    if intent is None:
        return
    before = Manifest.read(ctx.workspace.manifest(name))
    destinations = {
        role: ctx.workspace.at(output["path"]) for role, output in intent.outputs.items()
    }
    for role, path in destinations.items():
        staged = ctx.staged(path)
        if not staged.exists() or ctx.digests.tree(staged) != intent.outputs[role]["sha256"]:
            continue
        replaced = before.outputs.get(role) if before else None
        if not path.exists() or (replaced and ctx.digests.tree(path) == replaced["sha256"]):
            publish(staged, path)
            ctx.digests.moved(staged, path)
    if outputs_intact(intent, destinations, ctx.digests) is None:
        intent.write(ctx.workspace.manifest(name))
        remove(_intent(ctx, name))
        for path in destinations.values():
            remove(replaced_path(path))


def _execute(ctx: Context, name: str) -> dict:
    stage = load(name)
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    clock = time.monotonic()
    destinations = stage.outputs(ctx)
    for path in destinations.values():
        remove(ctx.staged(path))
        path.parent.mkdir(parents=True, exist_ok=True)
    # Taken before the work: an input edited while the stage runs makes it stale, not silently up to date.
    paths = stage.inputs(ctx)
    identity = _fingerprint(ctx, name, paths)
    inputs = described(paths, ctx.digests, ctx.workspace.root)
    staged = {role: ctx.staged(path) for role, path in destinations.items()}
    with contextlib.ExitStack() as failed:
        for path in staged.values():
            failed.callback(remove, path)  # a stage that ran out of disk must not keep it
        metrics = _worked(ctx, name, list(staged.values()))
        failed.pop_all()
    missing = [role for role, path in staged.items() if not path.exists()]
    if missing:
        raise ForgeError(
            f"{name} ended without its {', '.join(missing)}", fix="report this as a bug"
        )
    recorded = described(staged, ctx.digests, ctx.workspace.root)
    for role, path in destinations.items():
        recorded[role]["path"] = ctx.workspace.shown(path)
    seconds = round(time.monotonic() - clock, 2)
    manifest = Manifest(
        stage=name,
        fingerprint=identity,
        settings=stage.settings(ctx),
        inputs=inputs,
        outputs=recorded,
        metrics=metrics,
        versions={"forge": __version__, **tool_versions(stage.TOOLS)},
        started=started,
        seconds=seconds,
    )
    manifest.write(_intent(ctx, name))
    for role, path in destinations.items():
        publish(staged[role], path)
        ctx.digests.moved(staged[role], path)
    manifest.write(ctx.workspace.manifest(name))
    remove(_intent(ctx, name))
    ctx.digests.save()
    return {**metrics, "seconds": seconds}


def _worked(ctx: Context, name: str, staged: list[Path]) -> dict:
    """What the stage's run() returns. What a machine refused in the middle of it is said with the place."""
    try:
        return load(name).run(ctx)
    except (OSError, MemoryError, RuntimeError, sqlite3.Error) as error:
        problem = explained(error, staged)
        if problem is None or isinstance(error, BrokenPipeError):
            raise
        raise EnvironmentProblem(f"{name}: {problem.message}", fix=problem.fix) from error


def run(
    ctx: Context,
    names: list[str],
    *,
    force: bool = False,
    each: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Runs what is not up to date, in order, after every check of the whole plan has passed.

    `each` hears of every stage as it ends, the failing one too. Raises the failing stage's error; stages already
    finished stay finished.
    """
    with lock(ctx):
        for name in names:
            _finish_publishing(ctx, name)
        steps = plan(ctx, names, force)
        todo = [step.name for step in steps if step.reason]
        _check(ctx, todo)
        if not force:
            for name in todo:
                _guard_foreign(ctx, name)
        results = []
        for step in steps:
            results.append(_run_step(ctx, step, each))
            each(results[-1])
            if step.name == "download" and results[-1].status == "done":
                _check(
                    ctx, todo[1:]
                )  # the base is there now, to be refused before the hours of training, not after
        return results


def _check(ctx: Context, todo: list[str]) -> None:
    for i, name in enumerate(todo):
        load(name).check(replace(ctx, pending=frozenset(todo[:i])))
        # After what the files' headers show by name.
        require_as_made(ctx, *load(name).inputs(ctx).values(), pending=todo[:i])


def _run_step(ctx: Context, step: Step, each: Callable[[Done], None]) -> Done:
    same = step.waits and _stale(ctx, step.name, load(step.name).inputs(ctx)) is None
    if step.reason is None or same:
        for path in load(step.name).outputs(ctx).values():
            remove(ctx.staged(path))  # of a forced run that was killed
        ctx.report.stage(
            step.name, "skipped", "its inputs came out as they were" if same else "up to date"
        )
        manifest = Manifest.read(ctx.workspace.manifest(step.name))
        return Done(step.name, "skipped", 0.0, manifest.metrics if manifest else {})
    ctx.report.stage(step.name, "running", step.reason)
    clock = time.monotonic()
    try:
        metrics = _execute(ctx, step.name)
    except (ForgeError, OSError, ImportError) as error:
        state = "stopped" if isinstance(error, Preempted) else "failed"
        ctx.report.stage(step.name, state)
        each(Done(step.name, state, round(time.monotonic() - clock, 2), {}))
        raise
    ctx.report.stage(step.name, "done", f"{metrics['seconds']:.1f} s")
    return Done(step.name, "done", metrics["seconds"], metrics)


def artifacts(ctx: Context) -> list[dict]:
    """Every published output with its path, bytes and digest, in the order of the stages."""
    found = []
    for name in STAGES:
        manifest = Manifest.read(ctx.workspace.manifest(name))
        for role, output in (manifest.outputs if manifest else {}).items():
            path = ctx.workspace.at(output["path"])
            if path.exists():
                found.append(
                    {
                        "stage": name,
                        "role": role,
                        "path": output["path"],
                        "bytes": _size(path),
                        "sha256": output["sha256"],
                    }
                )
    return found


def _size(path: Path) -> int:
    return (
        sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        if path.is_dir()
        else path.stat().st_size
    )
