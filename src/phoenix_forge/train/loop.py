"""Training, top to bottom: read the examples, see what fits this machine, open the base with its adapter, take the
steps, save.

What it calls: batches.py (examples to tensors), choose.py (how the machine is used), adapted.py (the model),
optimise.py (optimizer, schedule), checkpoints.py (what a kill may cost), watch.py (what is seen and what stops it).
Nothing random has a state: batches, dropout and noise follow from the seed and the step, so a resumed run needs only
the checkpoint to go on as if it had never stopped.
"""

from __future__ import annotations

import math
import os
import random
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.catalog.memory import MemoryPlan, Sizes
from phoenix_forge.chat.encode import Encoded, Encoder
from phoenix_forge.chat.mask_summary import mask_summary
from phoenix_forge.chat.template import TEMPLATE
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.core.faults import MEMORY, explained, out_of_memory
from phoenix_forge.core.fsio import read_sealed, remove, write_json, write_sealed, write_text
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, Preempted, StageFailed, UsageError
from phoenix_forge.examples.formats import has_thoughts, read
from phoenix_forge.train import anchor, checkpoints, parallel
from phoenix_forge.train.anchor import Anchors
from phoenix_forge.train.base import quiet
from phoenix_forge.train.batches import Batch, encode, halves, pack
from phoenix_forge.train.checkpoints import Identity
from phoenix_forge.train.choose import (
    Compute,
    by_autograd,
    choose,
    described,
    device_budget,
    options,
    restored,
    stored,
    too_small,
)
from phoenix_forge.train.scale import LossScale
from phoenix_forge.train.trackers import open_tracker
from phoenix_forge.train.watch import History, Watch, failed

if TYPE_CHECKING:
    from phoenix_forge.weights.base import ModelFolder


@dataclass(frozen=True)
class Job:
    """What to train and where. `identity` digests everything that shapes the result, by name; only its checkpoints
    resume."""

    base: Path
    base_name: str
    targets: tuple[str, ...]
    dataset: Path
    validation: Path | None
    checkpoints: Path
    metrics: Path
    adapter: Path
    identity: Identity
    name: str = "model"


def train(
    job: Job, settings: TrainConfig, alpha: int, encoder: Encoder, report: Reporter
) -> dict[str, Any]:
    """Trains an adapter into `job.adapter` and returns the figures. Resumes from the last complete checkpoint."""
    quiet()
    # Without it the allocator's leftovers took 0.9 to 2.2 GiB at 7B; it reads this when it is first used.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    world = parallel.join()
    report.info(f"tokenising {job.dataset.name}")  # a minute for 200,000 examples
    thoughts = has_thoughts(job.dataset)
    if thoughts:
        encoder = encoder.thinking()
        report.info(
            "the dataset has thoughts: the model is asked for some wherever it runs; those of earlier turns "
            "that the base's template leaves out are not learned, nor the answers that they led to"
        )
    examples = encode(job.dataset, encoder, settings.max_length)
    if not examples:
        raise UsageError(f"{job.dataset} holds no example", fix="forge dataset")
    report.info(
        f"what is trained, in the first example: {mask_summary(encoder, next(iter(read(job.dataset)))[1])}"
    )
    held_out = (
        encode(job.validation, encoder, settings.max_length)
        if job.validation and job.validation.stat().st_size
        else []
    )
    # Only now: another training's checkpoints are discarded here, and a dataset that cannot be read must not cost them.
    resume = checkpoints.latest(job.checkpoints, job.identity, report) if world.first else None
    resume = world.share(resume)
    run = _open(job, settings, alpha, encoder, world, report)
    updates = Updates.of(pack(examples, run.memory.tokens, settings.seed), settings)
    report.info(updates.described(examples))
    history = History()
    if resume:
        state = checkpoints.restore(resume, run.model.named(), run.optimizer)
        history, run.scale = History(**state["history"]), LossScale(**state["loss_scale"])
        run.model.updated()
    tracker = open_tracker(
        settings.report_to if world.first else "none",
        job.metrics.parent,
        job.name,
        settings.model_dump(),
        history.step,
    )
    watch = Watch(job.metrics if world.first else None, report, tracker, updates.steps, history)
    started = time.monotonic()
    try:
        with watch.signals():
            _steps(
                run,
                updates,
                watch,
                pack(held_out, run.memory.tokens, settings.seed) if held_out else [],
            )
    except (RuntimeError, ValueError, MemoryError, OSError) as error:
        if problem := explained(error):
            raise EnvironmentProblem(
                f"training stopped after step {history.step}: {problem.message}",
                fix=f"{problem.fix}; forge train goes on from the last checkpoint",
            ) from error
        raise StageFailed(
            f"training failed after step {history.step}: {error}",
            fix="forge train resumes from the last checkpoint; the weights as they were: "
            f"{_leave(run, history.step, error)}",
        ) from error
    finally:
        tracker.close()
    if world.first:
        _finish(run, watch)
        if encoder.template.thinks:  # what the GGUF, and whatever runs it, has to be asked with
            write_text(job.adapter / TEMPLATE, encoder.template.source)
    return _figures(run, watch, time.monotonic() - started) | {"thoughts": thoughts}


@dataclass(frozen=True)
class Updates:
    """How batches become steps: every epoch all of them, shuffled; each step takes `accumulation`."""

    batches: list[Batch]
    accumulation: int
    steps: int
    seed: int

    @staticmethod
    def of(batches: list[Batch], settings: TrainConfig) -> Updates:
        mean = sum(b.tokens for b in batches) / len(batches)
        accumulation = max(1, min(round(settings.tokens_per_update / mean), len(batches)))
        per_epoch = math.ceil(len(batches) / accumulation)
        steps = settings.max_steps or max(1, math.ceil(per_epoch * settings.epochs))
        return Updates(batches, accumulation, steps, settings.seed)

    @property
    def per_epoch(self) -> int:
        return math.ceil(len(self.batches) / self.accumulation)

    def batches_of(self, step: int) -> list[Batch]:
        """All batches of a step (0, 1, …), for all processes."""
        epoch, place = divmod(step, self.per_epoch)
        order = list(range(len(self.batches)))
        random.Random(f"{self.seed}.{epoch}").shuffle(order)
        return [
            self.batches[i]
            for i in order[place * self.accumulation : (place + 1) * self.accumulation]
        ]

    def described(self, examples: Sequence[Encoded]) -> str:
        tokens, targets = sum(len(e.ids) for e in examples), sum(sum(e.trained) for e in examples)
        spared = tokens - sum(b.computed for b in self.batches)
        shared = (
            f"; {spared:,} tokens of a shared beginning computed once a batch" if spared else ""
        )
        return (
            f"{tokens:,} tokens ({targets:,} trained) of {len(examples):,} examples in {len(self.batches):,} "
            f"batches, {self.accumulation} a step{shared}"
        )


@dataclass
class Run:
    """What the steps work with. `memory` changes when memory turns out to be short; `anchors` hold the model to what it
    was."""

    job: Job
    settings: TrainConfig
    sizes: Sizes
    compute: Compute
    memory: MemoryPlan
    model: Any
    optimizer: Any
    scale: Any
    world: parallel.World
    report: Reporter
    anchors: Anchors

    def remember(self) -> None:
        if self.world.first:
            write_sealed(
                self.job.checkpoints / checkpoints.CHOICE, stored(self.compute, self.memory)
            )


def _open(
    job: Job,
    settings: TrainConfig,
    alpha: int,
    encoder: Encoder,
    world: parallel.World,
    report: Reporter,
) -> Run:
    """The model, the way it is used on this machine, and the optimizer. A resumed run uses the machine as before."""
    from phoenix_forge.train.optimise import optimizer
    from phoenix_forge.train.trainable import Wanted, open_trainable, why_not_the_engine
    from phoenix_forge.weights.base import open_base

    base = open_base(job.base)
    _deterministic(settings)
    size = base.sizes
    compute, memory = world.share(
        _chosen(job, settings, base, size, world) if world.first else None
    )
    _cap(settings, compute)
    wanted = Wanted(
        job.base_name,
        job.targets if settings.targets == "all-linear" else tuple(settings.targets),
        alpha,
        settings,
    )
    slow = why_not_the_engine(base, settings, compute)
    report.info(
        f"{compute.why}; {described(memory, size)}"
        + (f"; by PEFT and autograd ({slow})" if slow else "")
    )
    whole = not (
        memory.placement.streamed or memory.placement.sharded > 1
    )  # else the base does not fit a GPU, and cannot write
    if settings.anchor and not whole:
        report.info(
            "nothing holds the model to its base (train.anchor): the base does not fit, and cannot write"
        )
    passages = world.share(
        _passages(job, settings, encoder, compute, report) if world.first and whole else []
    )
    model = open_trainable(base, wanted, compute, memory.placement)
    anchors = Anchors(
        anchor.judged(anchor.packed(passages, settings, memory.tokens), model),
        settings.anchor,
        settings.seed,
    )
    run = Run(
        job,
        settings,
        size,
        compute,
        memory,
        model,
        optimizer(compute.optimizer, model.groups, settings),
        LossScale.of(compute.precision, compute.device),
        world,
        report,
        anchors,
    )
    run.remember()
    return run


def _passages(
    job: Job, settings: TrainConfig, encoder: Encoder, compute: Compute, report: Reporter
) -> list[anchor.Continuation]:
    """What the base wrote for the anchors: as before where a training is resumed, for no GPU samples the same twice."""
    store = job.checkpoints / checkpoints.ANCHORS
    if not settings.anchor:
        return []
    known = anchor.restored(store)
    if known is None:
        report.info("the base writes some passages, to be held to them")
        known = anchor.written(job.base, encoder, compute, settings)
        anchor.store(store, known)
    return known


def _chosen(
    job: Job, settings: TrainConfig, base: ModelFolder, size: Sizes, world: parallel.World
) -> tuple[Compute, MemoryPlan]:
    """How this machine is used: as before where a training is resumed, which must not measure its way to another."""
    from phoenix_forge.train.trainable import why_not_the_engine

    known = read_sealed(job.checkpoints / checkpoints.CHOICE)
    if known is not None:
        return restored(known)
    compute = choose(settings, base.parameters)
    if why_not_the_engine(base, settings, compute):
        return compute, by_autograd(settings, compute, size)
    memory = next(
        options(settings, compute, size, device_budget(settings, compute), world.size), None
    )
    if memory is None:
        raise too_small(settings, compute, size)
    return compute, memory


def _deterministic(settings: TrainConfig) -> None:
    if settings.deterministic:
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def _cap(settings: TrainConfig, compute: Compute) -> None:
    """train.memory is a promise: beyond it there is no memory for this process."""
    if settings.memory and compute.device == "cuda":
        import torch

        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, settings.memory * 2**30 / total))


# ---- the steps ----


def _steps(run: Run, updates: Updates, watch: Watch, held_out: list[Batch]) -> None:
    history, settings = watch.history, run.settings
    while history.step < updates.steps and not _enough(settings, history):
        step, batches = history.step, updates.batches_of(history.step)
        rate, norm, loss, stop = _step(run, updates, batches, step, watch)
        history.step, history.tokens = step + 1, history.tokens + sum(b.tokens for b in batches)
        wrong = history.trained(step + 1, loss) or _nothing(norm, step)
        watch.stepped(step + 1, sum(b.tokens for b in batches))
        if (step + 1) % settings.log_steps == 0 or wrong or step == 0:
            watch.log(
                step + 1,
                loss=loss,
                learning_rate=rate,
                grad_norm=norm,
                epoch=(step + 1) / updates.per_epoch,
                tokens_per_second=round(watch.speed, 1),
            )
        stop = stop or (
            watch.stop if run.world.size == 1 else 0
        )  # several processes only stop as one
        if wrong:
            _forget(run)
            raise failed(wrong)
        last = history.step == updates.steps
        due = history.step % settings.save_steps == 0 or last
        if held_out and due:
            history.validated(history.step, _validate(run, held_out))
            watch.log(history.step, eval_loss=history.eval_loss or 0.0)
        if due or stop:
            _save(run, history)
        if stop and not last:
            _stop(watch, stop)
    if _enough(settings, history):
        run.report.info(
            f"stopped at step {history.step}: the validation loss has not fallen {history.stale} times in "
            f"a row; the best was {history.best_loss:.4f} at step {history.best_step}"
        )


def _enough(settings: TrainConfig, history: History) -> bool:
    return bool(settings.early_stopping and history.stale >= settings.early_stopping)


def _step(
    run: Run, updates: Updates, batches: list[Batch], step: int, watch: Watch
) -> tuple[float, float, float, int]:
    """One optimizer step. Returns the learning rate, the gradient's norm, the mean loss, and the signal that came."""
    import torch

    from phoenix_forge.train.optimise import clip, learning_rate
    from phoenix_forge.train.trainable import gradients

    targets = sum(b.targets for b in batches)
    total = _gradients(run, batches[run.world.rank :: run.world.size], targets, step)
    asked = torch.full_like(total, float(watch.stop))
    grads = gradients(run.model)
    run.world.sum(total, asked, *grads)
    rate = learning_rate(run.settings, step, updates.steps)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    if run.scale.usable(grads):
        norm = clip(grads, run.settings.max_grad_norm)
        run.optimizer.step()
        run.model.updated()
    else:
        norm = torch.full_like(total, math.nan)
        run.report.info(
            f"step {step + 1}: the gradient overflowed fp16; left out, loss scale {run.scale.value:.0f}"
        )
    figures = torch.stack(
        [norm.float(), total.float() / targets, asked.float()]
    ).tolist()  # the step's only wait
    return rate, figures[0], figures[1], int(figures[2])


def _gradients(run: Run, own: list[Batch], targets: int, step: int) -> Any:
    """Fills the gradients from this process's batches; returns the sum of their losses, on the device.

    Out of memory: the batch is split, or less is kept; and the step's gradients begin anew, so nothing is lost.
    """
    import torch

    from phoenix_forge.train.trainable import gradients

    grads = gradients(run.model)
    held = run.anchors.of(step, run.world.rank, run.world.size)
    weight = run.anchors.share(held)
    while True:
        for grad in grads:
            grad.zero_()
        total = torch.zeros((), device=grads[0].device)
        over_examples = True  # what is computed, should memory run out
        try:
            for index, batch in enumerate(own):
                total += run.model.step(batch, run.scale.value / targets, _seed(run, step, index))
            over_examples = False
            for index, batch in enumerate(held, len(own)):
                run.model.step(batch, run.scale.value * weight, _seed(run, step, index))
            return total
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, torch.OutOfMemoryError) or out_of_memory(error)):
                raise
            problem = str(error).partition(". ")[0] or "memory ran out"
        if over_examples:
            own = _smaller(run, own, problem)
        else:
            held = _smaller(run, held, problem)


def _seed(run: Run, step: int, index: int) -> int:
    return random.Random(f"{run.settings.seed}.{step}.{index}.{run.world.rank}").getrandbits(48)


def _smaller(run: Run, own: list[Batch], problem: str) -> list[Batch]:
    """After an out-of-memory: the same examples in smaller passes, or, where each is alone, less kept of each."""
    import torch

    torch.cuda.empty_cache()
    most = max(b.computed for b in own)
    split = [part for b in own for part in (halves(b) if b.computed * 2 > most else [b])]
    if len(split) > len(own):
        run.report.warn(f"{problem}: passes of {most:,} tokens are split in two")
        return split
    placement = run.memory.placement
    less = (
        replace(placement, whole=placement.whole // 2)
        if placement.whole
        else replace(
            placement, chunk=max(64, placement.chunk // 2), logits=max(32, placement.logits // 2)
        )
    )
    if less == placement:
        gpu = "--set train.stream=true, train.max_length=… lower, or a smaller base"
        raise EnvironmentProblem(
            f"{problem}, with one example of {most:,} tokens at a time and nothing kept of it",
            fix=gpu if run.compute.device == "cuda" else MEMORY,
        )
    run.report.warn(f"{problem}: less is kept of each layer from now on")
    run.memory = replace(run.memory, placement=less)
    run.model.leaner(less)
    run.remember()
    return own


def _nothing(norm: float, step: int) -> str | None:
    if norm == 0 and step == 0:
        return "nothing is being trained: the first gradient is zero everywhere"
    return None


# ---- validation, checkpoints, the end ----


def _validate(run: Run, batches: list[Batch]) -> float:
    """Mean loss of the held-out targets."""
    import torch

    own = batches[run.world.rank :: run.world.size]
    device = run.model.groups["b"][0].device
    total = sum(
        (run.model.loss(b).double() for b in own),
        torch.zeros((), dtype=torch.float64, device=device),
    )
    run.world.sum(total)
    return float(total) / sum(b.targets for b in batches)


def _save(run: Run, history: History) -> None:
    if run.world.first:
        checkpoints.save(
            run.job.checkpoints,
            history.step,
            run.model.named(),
            run.model.wanted.config(run.settings.rank, run.model.wanted.alpha),
            run.optimizer,
            {
                "history": vars(history),
                "loss_scale": vars(run.scale),
                checkpoints.IDENTITY: dict(run.job.identity),
            },
        )
        checkpoints.prune(run.job.checkpoints, run.settings.keep_checkpoints, history.best_step)
    run.world.wait()


def _forget(run: Run) -> None:
    """The weights may have been lost some steps before the loss showed it."""
    if run.world.first:
        for _, checkpoint in checkpoints.by_step(run.job.checkpoints):
            remove(checkpoint)


def _leave(run: Run, step: int, error: BaseException) -> Path:
    """The adapter as it was when training failed. Its name says so, and nothing resumes or merges from it."""
    target = (
        run.job.checkpoints
        / f"failed-after-step-{step}{f'-of-{run.world.rank}' if run.world.rank else ''}"
    )
    remove(target)
    target.mkdir(parents=True)
    checkpoints.write_tensors(target / checkpoints.ADAPTER, run.model.named())
    write_text(target / "FAILED.txt", f"{type(error).__name__}: {error}\n")
    return target


def _stop(watch: Watch, number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Preempted(
        f"stopped by {signal.Signals(number).name} after step {watch.history.step} of {watch.steps}; "
        "a checkpoint is saved",
        fix="forge train goes on from it",
    )


def _finish(run: Run, watch: Watch) -> None:
    """The adapter, in PEFT's format: the last one or the best."""
    history = watch.history
    best = run.settings.select == "best" or run.settings.early_stopping is not None
    if best and history.best_step not in (None, history.step):
        checkpoints.restore(
            run.job.checkpoints / f"checkpoint-{history.best_step}",
            run.model.named(),
            run.optimizer,
        )
        run.model.updated()
        run.report.info(
            f"the adapter of step {history.best_step} is the result: the lowest validation loss, "
            f"{history.best_loss:.4f}"
        )
    _save_adapter(run)


def _save_adapter(run: Run) -> None:
    """adapter_model.safetensors and adapter_config.json, the same bytes for the same training, at its strength: on the
    line from the base to what was trained, a little short of the end, a model reads better and knows as much
    (Wortsman et al. 2022, arXiv 2109.01903)."""
    import torch

    tensors, config = run.model.result()
    if not any(bool(torch.any(t != 0)) for name, t in tensors.items() if "lora_B" in name):
        raise StageFailed(
            "every LoRA B matrix is still zero: nothing was trained",
            fix="raise train.learning_rate",
        )
    folder = run.job.adapter
    remove(folder)
    folder.mkdir(parents=True)
    strength = run.settings.strength
    if strength < 1:
        run.report.info(f"the adapter holds {strength:g} of what was learned (train.strength)")
    scaled = {name: t * strength if "lora_B" in name else t for name, t in tensors.items()}
    checkpoints.write_tensors(folder / checkpoints.ADAPTER, scaled, {"format": "pt"})
    write_json(folder / "adapter_config.json", config)


def _figures(run: Run, watch: Watch, seconds: float) -> dict[str, Any]:
    import torch

    history, gpu = watch.history, run.compute.device == "cuda"
    return {
        "steps": history.step,
        "loss": _rounded(history.loss),
        "first_loss": _rounded(history.first_loss),
        "eval_loss": history.eval_loss,
        "best_step": history.best_step,
        "tokens": history.tokens,
        "tokens_per_second": round(watch.speed, 1),
        "method": f"{run.compute.why}; {described(run.memory, run.sizes)}",
        "predicted_bytes": run.memory.device_bytes,
        "peak_vram_bytes": torch.cuda.max_memory_reserved() if gpu else 0,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "train_seconds": round(seconds, 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
