"""What runs, why, and what a workspace looks like after anything went wrong. Real stages, mostly the two quick ones."""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge import pipeline
from phoenix_forge.core import manifest
from phoenix_forge.core.config import assemble, dotted, read_yaml
from phoenix_forge.core.fsio import _mark, sha256_file
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.core.report import Silent
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.dataset.store import Store
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.stages import Context, load
from phoenix_forge.stages.recorded import require_as_made

pytestmark = pytest.mark.slow

QUICK = ["download", "dataset"]
Make = Callable[..., Context]


@pytest.fixture
def context(workspace: Callable[..., Path]) -> Make:
    """A fresh Context (as a new process has it) on this test's workspace; keywords override settings by dotted key."""
    root = workspace()

    def make(**overrides: Any) -> Context:
        loaded = assemble(
            [
                ("forge.yaml", dotted(read_yaml(root / "forge.yaml"))),
                ("test", {key.replace("__", "."): value for key, value in overrides.items()}),
            ],
            [],
        )
        return Context(loaded.config, Workspace(root, loaded.config), Silent())

    return make


@pytest.fixture
def made(context: Make) -> Context:
    """Base and dataset are there."""
    pipeline.run(context(), QUICK)
    return context()


def reasons(ctx: Context, names: list[str] = QUICK, **options: Any) -> dict[str, str | None]:
    return {step.name: step.reason for step in pipeline.plan(ctx, names, **options)}


def statuses(done: list[pipeline.Done]) -> dict[str, str]:
    return {d.name: d.status for d in done}


def partials(ctx: Context) -> list[str]:
    return sorted(
        str(p.relative_to(ctx.workspace.root)) for p in ctx.workspace.root.rglob("*.partial")
    )


def test_a_fresh_workspace(context):
    assert reasons(context()) == {"download": "never done", "dataset": "its tokenizer will be new"}


def test_what_is_done_is_up_to_date(context, made):
    assert reasons(made) == {"download": None, "dataset": None}
    before = made.workspace.dataset.stat().st_mtime_ns
    assert statuses(pipeline.run(context(), QUICK)) == {"download": "skipped", "dataset": "skipped"}
    assert made.workspace.dataset.stat().st_mtime_ns == before


def test_a_document_was_edited(context, made):
    path = made.workspace.root / "docs/ferry.md"
    path.write_text(path.read_text() + "\nThe ferry was built in Tarvik by Ida Brandt.\n")
    assert reasons(context())["dataset"] == "document docs/ferry.md changed"


def test_a_document_was_touched_only(context, made):
    path = made.workspace.root / "docs/ferry.md"
    path.write_bytes(path.read_bytes())
    assert reasons(context())["dataset"] is None


def test_a_document_was_removed_or_added(context, made):
    (made.workspace.root / "docs/ferry.md").rename(made.workspace.root / "docs/boat.md")
    assert reasons(context())["dataset"] == "document docs/boat.md is new"
    (made.workspace.root / "docs/boat.md").unlink()
    assert reasons(context())["dataset"] == "document docs/ferry.md is gone"


def test_a_setting_changed(context, made):
    assert reasons(context(dataset__amplification=3))["dataset"] == "dataset changed"
    assert reasons(context(train__epochs=1))["dataset"] is None, "a setting of another stage"


def test_another_version_of_a_tool_makes_it_stale(context, made, monkeypatch):
    monkeypatch.setattr(manifest, "version", lambda name: "0.0.1")
    assert reasons(context())["dataset"] == "Forge or a library changed"


def test_a_stage_runs_when_one_that_it_reads_from_does(context, made):
    """The tokenizer lies inside the base's folder: that counts too."""
    found = reasons(context(model__revision="other"), ["download", "dataset", "train", "quantize"])
    assert found == {
        "download": "revision changed",
        "dataset": "its tokenizer will be new",
        "train": "its base will be new",
        "quantize": "its base will be new",
    }


def test_inputs_that_come_out_as_they_were_run_nothing_after_them(context, made, monkeypatch):
    """A setting that changed where the work is done, say, must not train for hours again."""
    pipeline.run(context(), ["train"])
    from phoenix_forge.stages import dataset

    monkeypatch.setattr(dataset, "VERSION", 99)
    assert reasons(context(), ["dataset", "train"])["train"] == "its dataset will be new"
    assert statuses(pipeline.run(context(), ["dataset", "train"])) == {
        "dataset": "done",
        "train": "skipped",
    }
    monkeypatch.setattr(dataset, "VERSION", 100)
    assert statuses(pipeline.run(context(dataset__seed=7), ["dataset", "train"])) == {
        "dataset": "done",
        "train": "done",
    }


def test_an_edited_output_is_not_overwritten_without_force(context, made):
    edited = (
        made.workspace.dataset.read_text()
        + made.workspace.dataset.read_text().splitlines()[0]
        + "\n"
    )
    made.workspace.dataset.write_text(edited)
    assert reasons(context())["dataset"] == "small.jsonl was changed"
    with pytest.raises(
        UsageError, match=r"dataset_package/small\.jsonl exists and is not as Forge wrote it"
    ) as caught:
        pipeline.run(context(), QUICK)
    assert "--force" in caught.value.fix
    assert made.workspace.dataset.read_text() == edited
    pipeline.run(context(), ["dataset"], force=True)
    assert made.workspace.dataset.read_text() != edited
    assert reasons(context())["dataset"] is None


def test_a_foreign_file_is_not_overwritten(context):
    ctx = context()
    pipeline.run(ctx, ["download"])
    ctx.workspace.dataset.parent.mkdir()
    ctx.workspace.dataset.write_text("my own\n")
    with pytest.raises(UsageError, match="is not as Forge wrote it"):
        pipeline.run(context(), QUICK)
    assert ctx.workspace.dataset.read_text() == "my own\n"
    assert not ctx.workspace.card.exists()


def test_a_deleted_output_is_made_again_with_the_same_bytes(context, made):
    before = sha256_file(made.workspace.dataset)
    made.workspace.dataset.unlink()
    assert reasons(context())["dataset"] == "small.jsonl is missing"
    assert statuses(pipeline.run(context(), QUICK)) == {"download": "skipped", "dataset": "done"}
    assert sha256_file(made.workspace.dataset) == before


def test_force_runs_what_is_up_to_date(context, made):
    assert reasons(made, force=True) == {"download": "asked to", "dataset": "asked to"}
    assert statuses(pipeline.run(context(), ["dataset"], force=True)) == {"dataset": "done"}


def test_from_and_to(context):
    ctx = context()
    everything = ["download", "dataset", "train", "quantize", "modelfile", "deploy"]
    assert pipeline.selected(ctx) == everything, "merge is left out unless wanted"
    assert pipeline.selected(ctx, "train", "quantize") == ["train", "quantize"]
    assert pipeline.selected(ctx, "merge") == ["merge", "quantize", "modelfile", "deploy"]
    assert pipeline.selected(ctx, None, "download") == ["download"]
    assert "merge" in pipeline.selected(context(merge__enabled=True))
    with pytest.raises(UsageError, match="no stage 'tain'"):
        pipeline.selected(ctx, "tain")
    with pytest.raises(UsageError, match="--from train comes after --to dataset"):
        pipeline.selected(ctx, "train", "dataset")


def test_a_stage_without_its_inputs_is_refused_before_anything_runs(context):
    with pytest.raises(UsageError, match="no base at"):
        pipeline.run(context(), ["dataset"])
    assert not context().workspace.manifest("dataset").exists()


HOLDER = """
import sys
from pathlib import Path
from phoenix_forge import pipeline
from phoenix_forge.core.config import Config
from phoenix_forge.core.report import Silent
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.stages import Context
with pipeline.lock(Context(Config(), Workspace(Path(sys.argv[1]), Config()), Silent())):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(context):
    ctx = context()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ctx.workspace.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another forge is at work"):
            pipeline.run(ctx, ["download"])
        holder.kill()
        holder.wait()
        assert statuses(pipeline.run(ctx, ["download"])) == {"download": "done"}


def test_the_manifest_says_what_was_done(made):
    w = made.workspace
    manifest = Manifest.read(w.manifest("dataset"))
    assert manifest is not None
    assert {role: output["path"] for role, output in manifest.outputs.items()} == {
        "dataset": "dataset_package/small.jsonl",
        "validation": "dataset_package/small_val.jsonl",
        "probes": "dataset_package/probes.jsonl",
        "card": "dataset_package/dataset_card.json",
    }
    for output in manifest.outputs.values():
        assert output["sha256"] == sha256_file(w.root / output["path"])
    document = manifest.inputs["document docs/ferry.md"]
    assert document == {"path": "docs/ferry.md", "sha256": sha256_file(w.root / "docs/ferry.md")}
    assert manifest.settings == json.loads(json.dumps(load("dataset").settings(made)))
    assert manifest.metrics["examples"] == len(w.dataset.read_text().splitlines())
    assert set(manifest.versions) == {"forge", *load("dataset").TOOLS}
    assert manifest.seconds > 0


def test_artifacts_are_what_exists(made):
    found = pipeline.artifacts(made)
    assert [(a["stage"], a["role"]) for a in found] == [
        ("download", "base"),
        ("dataset", "dataset"),
        ("dataset", "validation"),
        ("dataset", "probes"),
        ("dataset", "card"),
    ]
    base, dataset = found[0], found[1]
    assert dataset["bytes"] == made.workspace.dataset.stat().st_size
    assert dataset["sha256"] == sha256_file(made.workspace.dataset)
    assert base["bytes"] == sum(p.stat().st_size for p in made.base_dir.iterdir())
    made.workspace.dataset.unlink()
    assert [a["role"] for a in pipeline.artifacts(made)] == ["base", "validation", "probes", "card"]


def test_a_failing_stage_leaves_nothing_half_written(context, made, monkeypatch):
    before = sha256_file(made.workspace.dataset)
    stage = load("dataset")

    def fail(ctx: Context) -> dict:
        ctx.staged(ctx.workspace.dataset).write_text("half")
        raise StageFailed("no more")

    monkeypatch.setattr(stage, "run", fail)
    with pytest.raises(StageFailed):
        pipeline.run(context(), ["dataset"], force=True)
    assert partials(made) == []
    assert sha256_file(made.workspace.dataset) == before
    assert reasons(context())["dataset"] is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        MemoryError(),
        sqlite3.OperationalError("database or disk is full"),
    ],
    ids=repr,
)
def test_what_the_machine_refuses_is_said_and_leaves_nothing(context, made, monkeypatch, error):
    def fail(ctx: Context) -> dict:
        ctx.staged(ctx.workspace.dataset).write_text("half")
        raise error

    monkeypatch.setattr(load("dataset"), "run", fail)
    with pytest.raises(EnvironmentProblem, match="dataset: ") as caught:
        pipeline.run(context(), ["dataset"], force=True)
    assert caught.value.fix
    assert partials(made) == []


def flip(path: Path, at: int = -20) -> None:
    """One bit, in place, the time as it was."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    ("damaged", "maker"),
    [
        ("dataset_package/small.jsonl", "dataset"),
        ("models/base/forge/tiny/model.safetensors", "download"),
    ],
)
def test_what_was_damaged_since_it_was_made_is_not_trained_on(context, made, damaged, maker):
    flip(made.workspace.root / damaged)
    with pytest.raises(UsageError, match=f"is not as forge {maker} made it") as caught:
        pipeline.run(context(), ["train"])
    assert f"forge {maker} --force" in caught.value.fix
    pipeline.run(context(), [maker], force=True)
    pipeline._check(context(), ["train"])


def test_what_leaves_is_read_again_whatever_is_remembered(context, made):
    """A disk changes bytes without telling the system."""
    ctx = context()
    digest, key = ctx.digests.tree(made.workspace.dataset), str(made.workspace.dataset)
    flip(made.workspace.dataset)
    ctx.digests._known[key] = [*_mark(made.workspace.dataset), digest]  # as if nothing had happened
    require_as_made(ctx, made.workspace.dataset)
    with pytest.raises(UsageError, match="is not as forge dataset made it"):
        require_as_made(ctx, made.workspace.dataset, afresh=True)


def test_a_damaged_cache_gives_the_same_dataset_and_is_said_once(context, made):
    before = sha256_file(made.workspace.dataset)
    with Store(made.workspace.state / "dataset.sqlite") as store:
        store.db.execute(
            "UPDATE lines SET train = CAST(replace(CAST(train AS TEXT), 'e', 'o') AS BLOB)"
        )
        store.commit()
    ctx, said = context(), []
    ctx.report.warn = said.append
    pipeline.run(ctx, ["dataset"], force=True)
    assert sha256_file(made.workspace.dataset) == before
    assert sum("dataset.sqlite is damaged in" in line for line in said) == 1


def test_staging_of_a_killed_run_is_removed_by_the_next(context):
    ctx = context()
    staged = ctx.staged(ctx.base_dir)
    staged.mkdir(parents=True)
    (staged / "left.safetensors").write_text("half")
    pipeline.run(ctx, ["download"])
    assert partials(ctx) == []
    assert not (ctx.base_dir / "left.safetensors").exists()


class Killed(BaseException):
    """Stands for SIGKILL: nothing in Forge catches it."""


def die_at(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, count: int) -> None:
    """The `count`th call of target.name does not happen, nor anything after it."""
    original, calls = getattr(target, name), [0]

    def call(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] >= count:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(target, name, call)


MOMENTS = [
    (Manifest, "write", 1),
    (pipeline, "publish", 1),
    (pipeline, "publish", 3),
    (Manifest, "write", 2),
]


@pytest.mark.parametrize(
    ("target", "name", "count"),
    MOMENTS,
    ids=["before the intent", "before the first rename", "between renames", "before the manifest"],
)
@pytest.mark.parametrize("first", [True, False], ids=["first time", "again"])
def test_killed_while_publishing(context, monkeypatch, target, name, count, first):
    """Whatever was reached, the next run finishes without --force and ends with the same bytes."""
    pipeline.run(context(), ["download"] if first else QUICK)
    path = context().workspace.root / "docs/ferry.md"
    path.write_text(path.read_text() + "\nThe ferry was built in Tarvik by Ida Brandt.\n")
    with monkeypatch.context() as patch:
        die_at(patch, target, name, count)
        with pytest.raises(Killed):
            pipeline.run(context(), QUICK)
    done = statuses(pipeline.run(context(), QUICK))
    # Once the intent is written, the work is done: it is published, not repeated.
    assert done["dataset"] == ("done" if name == "write" and count == 1 else "skipped")
    ctx = context()
    assert reasons(ctx) == {"download": None, "dataset": None}
    assert partials(ctx) == []
    recovered = sha256_file(ctx.workspace.dataset)
    pipeline.run(ctx, ["dataset"], force=True)
    assert sha256_file(ctx.workspace.dataset) == recovered


@pytest.mark.parametrize(("target", "name", "count"), MOMENTS)
def test_a_base_killed_while_publishing_stays_ours(context, monkeypatch, target, name, count):
    """A folder: the old one is renamed aside first."""
    with monkeypatch.context() as patch:
        die_at(patch, target, name, 1 if target is pipeline else count)
        with pytest.raises(Killed):
            pipeline.run(context(), ["download"])
    for _ in range(2):
        pipeline.run(context(), ["download"])
    manifest = Manifest.read(context().workspace.manifest("download"))
    assert manifest is not None
    assert set(manifest.outputs) == {"base"}
    assert partials(context()) == []


def test_what_the_user_edited_after_a_kill_is_not_overwritten(context, made, monkeypatch):
    path = made.workspace.root / "docs/ferry.md"
    path.write_text(path.read_text() + "\nThe ferry was built in Tarvik by Ida Brandt.\n")
    with monkeypatch.context() as patch:
        die_at(patch, pipeline, "publish", 1)
        with pytest.raises(Killed):
            pipeline.run(context(), QUICK)
    made.workspace.dataset.write_text("mine now\n")
    with pytest.raises(UsageError, match="is not as Forge wrote it"):
        pipeline.run(context(), QUICK)
    assert made.workspace.dataset.read_text() == "mine now\n"


def test_the_users_own_base_is_used_in_place_every_time(context, tiny_base):
    """Put where Forge would download to: Forge never made it, so it never owns it."""
    ctx = context()
    shutil.copytree(tiny_base, ctx.base_dir)
    assert statuses(pipeline.run(ctx, ["download"])) == {"download": "done"}
    assert statuses(pipeline.run(context(), ["download"])) == {"download": "skipped"}
    assert pipeline.artifacts(context()) == []
