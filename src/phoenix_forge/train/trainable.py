"""A base with an adapter that can be trained, in two makes with one face: the engine's, and PEFT's.

The engine has the common decoders and LoRA written out and is several times faster; PEFT on transformers' own model has
everything else. The loop does not know which it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from phoenix_forge.catalog.families import ANY
from phoenix_forge.catalog.memory import Placement
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.errors import UsageError
from phoenix_forge.train.base import load_base
from phoenix_forge.train.batches import Batch, halves, tensors
from phoenix_forge.train.choose import Compute, dtype
from phoenix_forge.train.linears import trainable_linears

if TYPE_CHECKING:
    from phoenix_forge.weights.base import ModelFolder


ONLY_WRITTEN_OUT = ("pissa", "loftq", "fp8")  # settings that PEFT's make does not have


class Trainable(Protocol):
    """What the loop needs. Gradients accumulate in the parameters' .grad until they are zeroed."""

    groups: dict[str, list[Parameter]]
    """`a`: LoRA's A and whatever else is trained; `b`: LoRA's B."""

    def step(self, batch: Batch, scale: float, seed: int) -> Tensor:
        """Sum of the batch's losses, on the device; adds the gradient of `scale` times that sum. `seed` fixes dropout
        and noise."""

    def loss(self, batch: Batch) -> Tensor:
        """Sum of the batch's losses, without dropout, noise or gradients."""

    def likeliest(self, batch: Batch, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest tokens at each of the batch's targets, and their probabilities, (targets, k) each, on the
        device; without dropout or noise."""

    def updated(self) -> None:
        """To be called after the parameters have changed."""

    def leaner(self, placement: Placement) -> None:
        """Uses less memory from now on. Raises MemoryError where it cannot."""

    def named(self) -> dict[str, Tensor]:
        """The trained tensors under PEFT's names; writing to them changes the model."""

    def result(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What an adapter folder holds: tensors and adapter_config.json."""


@dataclass(frozen=True)
class Wanted:
    """`scaling` is on B A; `alpha` what PEFT is told to arrive at it."""

    base_name: str
    targets: tuple[str, ...]
    alpha: float
    train: TrainConfig

    @property
    def scaling(self) -> float:
        rank = self.train.rank
        return self.alpha / (rank**0.5 if self.train.rslora else rank)

    def config(self, rank: int, alpha: float) -> dict[str, Any]:
        """adapter_config.json, the same bytes for the same training."""
        from peft import LoraConfig

        made = LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]
            lora_dropout=self.train.dropout,
            bias="none",
            target_modules=list(self.targets),
            task_type="CAUSAL_LM",
            use_rslora=self.train.rslora,
            use_dora=self.train.dora,
            inference_mode=True,
        )
        config = {key: sorted(v) if isinstance(v, set) else v for key, v in made.to_dict().items()}
        return dict(sorted((config | {"base_model_name_or_path": self.base_name}).items()))


def why_not_the_engine(model: ModelFolder, train: TrainConfig, compute: Compute) -> str | None:
    """Why PEFT has to train this, or None."""
    from phoenix_forge.train.engine.shape import unsupported

    if train.dora:
        return "DoRA"
    if compute.device == "cuda" and (compute.precision != "bf16" or not compute.modern):
        return f"{compute.precision} on this GPU"
    return unsupported(model.config, model.family.model_type, train.max_length)


def open_trainable(
    model: ModelFolder, wanted: Wanted, compute: Compute, placement: Placement
) -> Trainable:
    why = why_not_the_engine(model, wanted.train, compute)
    if why is None:
        return EngineModel(model, wanted, compute, placement)
    for setting, plain in (("start", "default"), ("method", "auto")):
        value = getattr(wanted.train, setting)
        if value in ONLY_WRITTEN_OUT:
            raise UsageError(
                f"train.{setting} {value} cannot be had together with {why}",
                fix=f"--set train.{setting}={plain}",
            )
    return PeftModel(model, wanted, compute, placement)


class EngineModel:
    """The engine's decoder."""

    def __init__(
        self, model: ModelFolder, wanted: Wanted, compute: Compute, placement: Placement
    ) -> None:
        from phoenix_forge.train.engine.load import ComputeDevice, LoraSettings, load, reader
        from phoenix_forge.train.engine.shape import shape

        self.wanted, self.placement = wanted, placement
        train = wanted.train
        device = (
            torch.device("cuda", torch.cuda.current_device())
            if compute.device == "cuda"
            else torch.device("cpu")
        )
        self.decoder = load(
            model.folder,
            shape(model.config, model.family.model_type),
            reader(model),
            LoraSettings(wanted.targets, train.rank, wanted.scaling, train.seed, train.start),
            placement,
            ComputeDevice(device, dtype(compute.precision)),
        )
        self.decoder.dropout, self.decoder.noise = train.dropout, train.neftune
        lora = self.decoder.lora
        self.groups = {
            "a": [_parameter(lora.a, lora.a_grad)],
            "b": [_parameter(lora.b, lora.b_grad)],
        }

    def step(self, batch: Batch, scale: float, seed: int) -> Tensor:
        self.decoder.training, self.decoder.seed = True, seed
        return self.decoder.step(self._inputs(batch), scale).sum()

    def loss(self, batch: Batch) -> Tensor:
        self.decoder.training = False
        return self.decoder.losses(self._inputs(batch)).sum()

    def likeliest(self, batch: Batch, k: int) -> tuple[Tensor, Tensor]:
        self.decoder.training = False
        return self.decoder.likeliest(self._inputs(batch), k)

    def _inputs(self, batch: Batch) -> Any:
        return tensors(batch, self.decoder.device, self.decoder.embedding.device)

    def updated(self) -> None:
        self.decoder.lora.refresh()

    def leaner(self, placement: Placement) -> None:
        if (placement.expanded, placement.streamed, placement.sharded) != (
            self.placement.expanded,
            self.placement.streamed,
            self.placement.sharded,
        ):
            raise MemoryError("the frozen layers would have to lie elsewhere")
        self.placement = self.decoder.placement = placement

    def named(self) -> dict[str, Tensor]:
        return self.decoder.lora.named()

    def result(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        lora, rank = self.decoder.lora, self.wanted.train.rank
        if lora.origin is None:
            return self.named(), self.wanted.config(rank, self.wanted.alpha)
        # Twice the rank: what is there now minus what was there at the start, on the base as it was.
        first = lora.named(*lora.origin)
        both = {
            name: torch.cat([t, first[name]], 0)
            if "lora_A" in name
            else torch.cat([t, -first[name]], 1)
            for name, t in self.named().items()
        }
        return both, self.wanted.config(
            2 * rank, self.wanted.alpha * (2**0.5 if self.wanted.train.rslora else 2)
        )


def _parameter(flat: Tensor, grad: Tensor) -> Parameter:
    parameter = Parameter(flat, requires_grad=True)
    parameter.grad = grad
    return parameter


class PeftModel:
    """transformers' model with PEFT's adapter, by autograd. Adapters are fp32 and computed in the base's type."""

    def __init__(
        self, model: ModelFolder, wanted: Wanted, compute: Compute, placement: Placement
    ) -> None:
        from peft import LoraConfig, get_peft_model

        base = load_base(model.folder, compute)
        if not wanted.targets:
            wanted = replace(wanted, targets=trainable_linears(base, model))
        self.wanted, train, self.one_by_one = wanted, wanted.train, model.family.name == ANY
        torch.manual_seed(train.seed)
        self.model: Any = get_peft_model(
            base,
            LoraConfig(
                r=train.rank,
                lora_alpha=wanted.alpha,  # type: ignore[arg-type]
                lora_dropout=train.dropout,
                bias="none",
                target_modules=list(wanted.targets),
                task_type="CAUSAL_LM",
                use_rslora=train.rslora,
                use_dora=train.dora,
            ),
        )
        self._recompute(placement)
        self.noise = train.neftune
        self.device = next(base.parameters()).device
        self.kind = dtype(compute.precision)
        self.groups: dict[str, list[Parameter]] = {"a": [], "b": []}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
                parameter.grad = torch.zeros_like(parameter)
                self.groups["b" if "lora_B" in name else "a"].append(parameter)

    def _recompute(self, placement: Placement) -> None:
        layers = self.model.config.get_text_config().num_hidden_layers
        if placement.whole < layers:
            self.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
            self.model.enable_input_require_grads()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with torch.autocast(self.device.type, self.kind, enabled=self.kind is not torch.float32):
            yield

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits before the batch's targets, fp32, and the targets. Examples one by one in one row: position ids that
        start again keep them apart (no attention mask)."""
        ids = [i for e in batch.examples for i in e.ids]
        places = [p for e in batch.examples for p in range(len(e.ids))]
        at, target, start = [], [], 0
        for example in batch.examples:
            trained = [i for i, flag in enumerate(example.trained) if flag and i]
            at += [start + i - 1 for i in trained]
            target += [example.ids[i] for i in trained]
            start += len(example.ids)
        row, positions = (torch.tensor([v], device=self.device) for v in (ids, places))
        inputs = {"input_ids": row}
        if self.noise and self.model.training:
            inputs = {
                "inputs_embeds": self._noisy(
                    row, [len(e.ids) for e in batch.examples for _ in e.ids]
                )
            }
        with self._computing():
            logits = self.model(
                **inputs,
                position_ids=positions,
                attention_mask=None,
                use_cache=False,
                logits_to_keep=torch.tensor(at, device=self.device),
            ).logits[0]
        return logits.float(), torch.tensor(target, device=self.device)

    def _noisy(self, row: Tensor, lengths: list[int]) -> Tensor:
        """The embeddings of a row with NEFTune's noise; `lengths` are those of each token's example."""
        embedded: Tensor = self.model.get_input_embeddings()(row)
        size = self.noise / (torch.tensor(lengths, device=self.device) * embedded.shape[-1]).sqrt()
        return embedded + torch.empty_like(embedded).uniform_(-1, 1) * size[None, :, None].to(
            embedded.dtype
        )

    def _passes(self, batch: Batch) -> list[Batch]:
        """What goes through the model at once. Position ids keep examples of one row apart in attention, but not in a
        state space or a convolution: a family without a row sees one example at a time."""
        if not self.one_by_one or len(batch.examples) == 1:
            return [batch]
        return [single for half in halves(batch) for single in self._passes(half)]

    def _losses(self, batch: Batch) -> Tensor:
        logits, target = self._logits(batch)
        if batch.soft is None:
            return torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        ids, probabilities = batch.soft
        wanted = probabilities / probabilities.sum(-1, keepdim=True)
        told = torch.log_softmax(logits, -1).gather(1, ids)
        return torch.nn.functional.kl_div(told, wanted, reduction="sum")

    def likeliest(self, batch: Batch, k: int) -> tuple[Tensor, Tensor]:
        self.model.eval()
        with torch.no_grad():
            found = [
                torch.topk(torch.softmax(self._logits(single)[0], -1), k)
                for single in self._passes(batch)
            ]
        return torch.cat([top.indices for top in found]), torch.cat([top.values for top in found])

    def step(self, batch: Batch, scale: float, seed: int) -> Tensor:
        self.model.train()
        torch.manual_seed(seed)
        total = torch.zeros((), device=self.device)
        for single in self._passes(batch):
            loss = self._losses(single)
            (loss * scale).backward()
            total += loss.detach()
        return total

    def loss(self, batch: Batch) -> Tensor:
        self.model.eval()
        with torch.no_grad():
            return sum(
                (self._losses(single) for single in self._passes(batch)),
                torch.zeros((), device=self.device),
            )

    def updated(self) -> None: ...

    def leaner(self, placement: Placement) -> None:
        self._recompute(placement)

    def named(self) -> dict[str, Tensor]:
        return {
            name.replace(".default", ""): p.data
            for name, p in self.model.named_parameters()
            if p.requires_grad
        }

    def result(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from peft import get_peft_model_state_dict

        saved: dict[str, Tensor] = get_peft_model_state_dict(self.model)
        return saved, self.wanted.config(self.wanted.train.rank, self.wanted.alpha)


def trained(model: Trainable) -> list[Parameter]:
    return [*model.groups["a"], *model.groups["b"]]


def gradients(model: Trainable) -> list[Tensor]:
    return [p.grad for p in trained(model) if p.grad is not None]
