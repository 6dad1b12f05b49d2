"""Training, top to bottom: read the examples, load the base, add the adapter, run, save.

trl's SFTTrainer runs the steps. Everything that decides what is learned is ours and visible here: the rows (pack.py),
the labels (forge.chat), how the machine is used (choose.py), and what counts as a finished checkpoint (checkpoints.py).
"""

from __future__ import annotations

import json
import math
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge.chat.encode import Encoder
from forge.core.config import TrainConfig
from forge.core.fsio import remove, write_json, write_text
from forge.core.report import Reporter
from forge.errors import StageFailed, UsageError
from forge.train import checkpoints
from forge.train.base import load_base, quiet
from forge.train.choose import Choice, choose
from forge.train.pack import Row, encode, pack, trained_tokens

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import TrainerCallback


@dataclass(frozen=True)
class Job:
    """What to train and where. `identity` digests everything that shapes the result; only its checkpoints resume."""

    base: Path
    base_name: str
    parameters: int
    targets: tuple[str, ...]
    dataset: Path
    validation: Path | None
    checkpoints: Path
    metrics: Path
    adapter: Path
    identity: str


def train(job: Job, settings: TrainConfig, alpha: int, encoder: Encoder, report: Reporter) -> dict:
    """Trains an adapter into `job.adapter` and returns the figures. Resumes from the last complete checkpoint."""
    quiet()
    rows = pack(encode(job.dataset, encoder, settings.max_length), settings.max_length, settings.seed)
    if not rows:
        raise UsageError(f"{job.dataset} holds no example", fix="forge dataset")
    held_out = pack(encode(job.validation, encoder, settings.max_length), settings.max_length, settings.seed) \
        if job.validation and job.validation.stat().st_size else []
    plan = _plan(rows, settings)
    # Only now: another training's checkpoints are discarded here, and a dataset that cannot be read must not cost them.
    resume = checkpoints.latest(job.checkpoints, job.identity, report)
    choice = _choice(job, settings, report)
    report.info(f"{choice.why}; {sum(len(r.input_ids) for r in rows):,} tokens ({trained_tokens(rows):,} trained) in "
                f"{len(rows)} rows, {plan.accumulation} a step")

    model = _with_adapter(job, settings, alpha, choice)
    watch = Watch(job.metrics, report, settings.keep_checkpoints, plan, resumed=_step_of(resume))
    trainer = _trainer(model, rows, held_out, job, settings, choice, plan, watch.callback(), encoder)
    started = time.monotonic()
    with _stopping_on_signals(watch):
        try:
            if resume and _step_of(resume) >= plan.steps:
                _restore(model, trainer, resume)
            else:
                trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except (RuntimeError, ValueError, MemoryError) as error:
            kept = _save_what_there_is(model, job.checkpoints, trainer.state.global_step, error)
            raise StageFailed(f"training failed at step {trainer.state.global_step}: {error}",
                              fix=f"forge train resumes from the last checkpoint; the weights as they were: {kept}; "
                                  "out of memory: --set train.max_length=… or train.method=qlora") from error
    if watch.failure:
        for _, checkpoint in checkpoints.by_step(job.checkpoints):
            remove(checkpoint)  # the weights may have been lost some steps before the loss was logged
        raise StageFailed(watch.failure, fix="lower train.learning_rate; forge train starts over")
    if watch.stop:
        raise KeyboardInterrupt
    _save_adapter(model, job.adapter, job.base_name)
    return _figures(trainer, watch, job, choice, time.monotonic() - started)


@dataclass(frozen=True)
class Plan:
    """How rows become optimizer steps. `micro_batch` rows are laid behind one another in a forward pass, unpadded."""

    micro_batch: int
    accumulation: int
    steps: int
    tokens_per_step: float


def _plan(rows: list[Row], settings: TrainConfig) -> Plan:
    mean = sum(len(r.input_ids) for r in rows) / len(rows)
    micro = min(settings.micro_batch or 1, len(rows))
    accumulation = max(1, min(round(settings.tokens_per_update / (micro * mean)), math.ceil(len(rows) / micro)))
    per_epoch = math.ceil(math.ceil(len(rows) / micro) / accumulation)
    steps = settings.max_steps or max(1, math.ceil(per_epoch * settings.epochs))
    return Plan(micro, accumulation, steps, mean * micro * accumulation)


def _choice(job: Job, settings: TrainConfig, report: Reporter) -> Choice:
    """The machine's choice, kept beside the checkpoints: a resumed run must not measure its way to another one."""
    store = job.checkpoints / checkpoints.CHOICE
    if store.exists():
        return Choice(**json.loads(store.read_text(encoding="utf-8")))
    choice = choose(settings, job.parameters)
    write_json(store, choice.__dict__)
    return choice


def _with_adapter(job: Job, settings: TrainConfig, alpha: int, choice: Choice) -> PeftModel:
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed
    model = load_base(job.base, choice)
    set_seed(settings.seed)  # LoRA's A matrices are random
    targets = list(job.targets) if settings.targets == "all-linear" else list(settings.targets)
    lora = LoraConfig(r=settings.rank, lora_alpha=alpha, lora_dropout=settings.dropout, bias="none",
                      target_modules=targets, task_type="CAUSAL_LM")
    return get_peft_model(model, lora)


def _recast(model: PeftModel, choice: Choice) -> None:
    """Adapters in the type they are trained in. trl makes those on a 4-bit base bf16, and PEFT loads a checkpoint's as
    fp32; the optimizer's state and the fp16 scaler have to meet them in one type from first to last.

    bf16 on a GPU that computes in it (fp32 costs a third of the speed at 7B); else fp32, which costs nothing there.
    """
    import torch
    kind = torch.bfloat16 if choice.device == "cuda" and choice.precision == "bf16" else torch.float32
    for p in model.parameters():
        if p.requires_grad:
            p.data = p.data.to(kind)


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Rows behind one another: tensors of shape (1, tokens). No attention mask: position ids mark the borders.

    The first token of an example is never a target (a prompt comes first), so no label looks across a border.
    """
    import torch
    joined: dict[str, list[int]] = {key: [v for r in rows for v in r[key]] for key in rows[0]}
    return {key: torch.tensor([values]) for key, values in joined.items()}


def _trainer(model: PeftModel, rows: list[Row], held_out: list[Row], job: Job, settings: TrainConfig, choice: Choice,
             plan: Plan, callback: TrainerCallback, encoder: Encoder) -> Any:
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer
    disable_progress_bar()

    arguments = SFTConfig(
        output_dir=str(job.checkpoints), seed=settings.seed, data_seed=settings.seed,
        per_device_train_batch_size=plan.micro_batch, per_device_eval_batch_size=1,
        gradient_accumulation_steps=plan.accumulation, max_steps=plan.steps,
        learning_rate=settings.learning_rate, lr_scheduler_type=settings.schedule,
        warmup_steps=int(settings.warmup * plan.steps), max_grad_norm=settings.max_grad_norm,
        optim={"adamw": "adamw_torch", "adamw_8bit": "adamw_bnb_8bit"}.get(choice.optimizer, choice.optimizer),
        # The base is loaded in its final type; only fp16 needs the trainer's scaler.
        bf16=False, fp16=choice.precision == "fp16", use_cpu=choice.device == "cpu",
        gradient_checkpointing=choice.recompute, gradient_checkpointing_kwargs={"use_reentrant": False},
        eval_strategy="steps" if held_out else "no", eval_steps=settings.save_steps,
        save_strategy="steps", save_steps=settings.save_steps,
        logging_strategy="steps", logging_steps=settings.log_steps, logging_first_step=True, disable_tqdm=True,
        logging_nan_inf_filter=False,  # it would log the mean of earlier steps in place of a NaN
        dataloader_num_workers=settings.loader_workers, dataloader_pin_memory=choice.device == "cuda",
        remove_unused_columns=False, report_to=settings.report_to,
        max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    tokenizer = AutoTokenizer.from_pretrained(job.base, local_files_only=True)
    tokenizer.pad_token = encoder.pad  # never the stop token: a model trained so does not learn to stop

    class Trainer(SFTTrainer):
        def _load_from_checkpoint(self, *arguments: Any, **named: Any) -> None:
            super()._load_from_checkpoint(*arguments, **named)
            _recast(model, choice)

    trainer = Trainer(
        model=model, args=arguments, data_collator=collate, processing_class=tokenizer, callbacks=[callback],
        train_dataset=Dataset.from_list([r.__dict__ for r in rows]),
        eval_dataset=Dataset.from_list([r.__dict__ for r in held_out]) if held_out else None)
    _recast(model, choice)
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to results
    return trainer


def _restore(model: PeftModel, trainer: Any, checkpoint: Path) -> None:
    """The weights and history of a training that has done its last step: the trainer itself would do one more."""
    from peft import load_peft_weights, set_peft_model_state_dict
    from transformers import TrainerState
    set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device="cpu"))
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))


class Watch:
    """Follows a run: progress, metrics.jsonl, sealed checkpoints, a loss that is no number, a request to stop."""

    def __init__(self, metrics: Path, report: Reporter, keep: int, plan: Plan, resumed: int) -> None:
        self.metrics, self.report, self.keep, self.plan, self.resumed = metrics, report, keep, plan, resumed
        self.stop = False
        self.failure: str | None = None
        self.loss: float | None = None
        self.started = 0.0
        self.speed = 0.0
        metrics.parent.mkdir(parents=True, exist_ok=True)
        self._drop_later_lines()

    def _drop_later_lines(self) -> None:
        """Steps after the checkpoint are about to happen again."""
        lines = self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() and self.resumed else []
        kept = [line for line in lines if json.loads(line)["step"] <= self.resumed]
        write_text(self.metrics, "".join(f"{line}\n" for line in kept))

    def begun(self) -> None:
        self.started = time.monotonic()

    def step(self, step: int) -> None:
        done = max(1, step - self.resumed)
        self.speed = done * self.plan.tokens_per_step / (time.monotonic() - self.started)
        fields: dict[str, object] = {"tokens_per_second": self.speed}
        if self.loss is not None:
            fields["loss"] = self.loss
        self.report.progress("train", step, self.plan.steps, "steps", **fields)

    def logged(self, step: int, values: dict[str, float]) -> None:
        loss = values.get("loss")
        if loss is not None:
            self.loss = loss
            if not math.isfinite(loss):
                self.failure = f"the loss became {loss} at step {step}"
        with open(self.metrics, "a", encoding="utf-8") as handle:
            handle.write(json.dumps({"step": step, "tokens_per_second": round(self.speed, 1), **values}) + "\n")

    def callback(self) -> TrainerCallback:
        """This watch as a transformers callback (defined here: importing transformers takes seconds)."""
        from transformers import TrainerCallback
        watch = self

        class Bridge(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                watch.begun()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                watch.step(state.global_step)
                if watch.stop:
                    control.should_save = control.should_training_stop = True

            def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None,
                       **_: Any) -> None:
                watch.logged(state.global_step, logs or {})
                if watch.failure:
                    control.should_training_stop, control.should_save = True, False

            def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
                checkpoints.prune(Path(args.output_dir), watch.keep)

        return Bridge()


@contextmanager
def _stopping_on_signals(watch: Watch) -> Iterator[None]:
    """SIGINT and SIGTERM end the run after the current step, with a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _frame: object) -> None:
        watch.stop = True
        watch.report.warn(f"{signal.Signals(number).name}: saving after this step")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save_what_there_is(model: PeftModel, folder: Path, step: int, error: BaseException) -> Path:
    """The adapter as it was when training failed. Its name says so, and nothing resumes or merges from it."""
    target = folder / f"failed-at-step-{step}"
    remove(target)
    model.save_pretrained(str(target))
    (target / "FAILED.txt").write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")
    return target


def _save_adapter(model: PeftModel, folder: Path, base_name: str) -> None:
    """adapter_model.safetensors and adapter_config.json, the same bytes for the same training."""
    import torch
    if not any(torch.any(p != 0) for name, p in model.named_parameters() if "lora_B" in name):
        raise StageFailed("every LoRA B matrix is still zero: nothing was trained", fix="raise train.learning_rate")
    model.save_pretrained(str(folder))
    remove(folder / "README.md")
    (folder / "adapter_model.safetensors").chmod(0o644)  # safetensors writes for the owner alone
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name
    # PEFT writes sets in hash order, which changes from process to process.
    write_json(path, {key: sorted(v) if isinstance(v, list) else v for key, v in sorted(config.items())})


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def _figures(trainer: Any, watch: Watch, job: Job, choice: Choice, seconds: float) -> dict:
    import torch
    # The trainer's history outlives a resume, even one after the last step.
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    eval_losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return {"steps": trainer.state.global_step, "loss": round(losses[-1], 4) if losses else None,
            "first_loss": round(losses[0], 4) if losses else None,
            "eval_loss": eval_losses[-1] if eval_losses else None,
            "tokens_per_second": round(watch.speed, 1), "method": choice.why,
            "peak_vram_bytes": torch.cuda.max_memory_reserved() if choice.device == "cuda" else 0,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "train_seconds": round(seconds, 1)}
