"""The parity gate: what a GGUF makes of a prompt, beside the Hugging Face model that it was made from.

llama.cpp renders and tokenises each conversation, answers it greedily, and then the Hugging Face model (base + adapter,
merged by PEFT, not by phoenix_forge.weights: one more pair of eyes) reads that answer in one pass and says at each
place which token it would have taken itself. Up to the first difference that is the same as both answering by
themselves. The margin of a difference is logit(own token) − logit(the GGUF's token), in the Hugging Face model: what
the GGUF's choice costs, in nats. The drift of a token is |log p(GGUF) − log p(Hugging Face)|: it shows what the choice
of tokens hides.
"""

from __future__ import annotations

import math
import statistics
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from phoenix_forge.catalog import costs
from phoenix_forge.catalog.quants import quant
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import human
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.examples.formats import read
from phoenix_forge.runtime.llama import FORCED, Model, Tokens
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.merge import LINEAR, Frozen

if TYPE_CHECKING:
    import torch

TOKENS = 12  # of an answer
CONTEXT = 1024
LONGEST = 96  # tokens of a question from the dataset
# Conversations that any chat model takes; a template without system turns leaves those out.
FIXED: tuple[list[Message], ...] = (
    [{"role": "user", "content": "Name three primary colours."}],
    [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "Größe, naïve, 東京?"},
        {"role": "assistant", "content": "Words."},
        {"role": "user", "content": "def f(x):\n    return 2 * x  # f(21)?"},
    ],
)


@dataclass(frozen=True)
class Limits:
    """For types of at least so many `bits` a weight, in nats: the largest margin of any token, the mean drift, and the
    median margin of the answers' first tokens."""

    bits: float
    margin: float
    drift: float
    opening: float


# Measured on Qwen2.5-Coder-0.5B, as imported and with the demo's adapter, four prompts at a time. Sound files: 16 bits
# at most 0.00 margin and 0.004 drift, Q8_0 0.08 and 0.014, Q6_K 0.05 and 0.013, Q5_K_M 1.7 and 0.23, 4 bits 18 and 1.9
# (they forgot some of what the adapter had taught). Broken ones of 8 bits, drift: one layer's heads permuted 0.04 to
# 0.22, a wrong rope base 0.05 to 0.34, a matrix of zeros 0.03 to 0.5. All layers' heads permuted, or norms off by one:
# 10 nats and more at nearly every first token, at any type. So types below 6 bits fail only where the answers begin
# wrong; what else they lose is for an evaluation to say.
LIMITS = (
    Limits(16.0, 0.5, 0.02, 0.5),
    Limits(8.0, 1.0, 0.04, 1.0),
    Limits(6.0, 4.0, 0.2, 2.0),
    Limits(0.0, math.inf, math.inf, 4.0),
)


@dataclass(frozen=True)
class Case:
    """One conversation and the ids of its prompt, as in training."""

    messages: list[Message]
    ids: list[int]


@dataclass(frozen=True)
class Difference:
    """Where the two models part: token `position` of the answer to `question`; see the module for `margin`."""

    question: str
    position: int
    expected: str
    got: str
    margin: float


@dataclass(frozen=True)
class Agreement:
    """One file's: `agreed` of `tokens` in all `prompts`, `stops` answers that the model ended itself; `margin`, `drift`
    and `opening` as in Limits."""

    type: str
    prompts: int
    tokens: int
    agreed: int
    stops: int
    margin: float
    drift: float
    opening: float
    first: Difference | None

    @property
    def beyond(self) -> list[str]:
        """What lies beyond its type's limits."""
        limits = next(row for row in LIMITS if quant(self.type).bits >= row.bits)
        return [
            f"{name} {getattr(self, name):.3f}, allowed {getattr(limits, name):g}"
            for name in ("margin", "drift", "opening")
            if not getattr(self, name) <= getattr(limits, name)
        ]

    def __str__(self) -> str:
        line = (
            f"{self.type}: prompts and stop token as in training; {self.agreed} of {self.tokens} greedy tokens are "
            f"the Hugging Face model's, drift {self.drift:.3f} nats"
        )
        if self.first is None:
            return line
        return (
            f"{line}; first difference at token {self.first.position} of the answer to {self.first.question!r}: "
            f"{self.first.got!r} for {self.first.expected!r} by {self.first.margin:.2f} nats; the largest "
            f"{self.margin:.2f}"
        )


def cases(
    encoder: Encoder, dataset: Sequence[Path], system: str | None, *, own: int = 2
) -> list[Case]:
    """The first `own` questions of these JSONL files, as far as they are there, and the fixed conversations. The
    configured `system` prompt comes first where they have none, as a runtime puts it there; without it, each is as the
    template has it, and so is a conversation whose system turn the template refuses."""
    first = [{"role": "system", "content": system}] if system else []
    found: list[Case] = []
    for messages in [*_questions(encoder, dataset, own), *FIXED]:
        asked = messages if messages[0]["role"] == "system" else [*first, *messages]
        for turns in (asked, messages):
            try:
                found.append(Case(turns, encoder.prompt(turns)))
            except UsageError:  # the template takes no such turns
                continue
            break
    return found


def _questions(encoder: Encoder, dataset: Sequence[Path], wanted: int) -> list[list[Message]]:
    found: list[list[Message]] = []
    for messages in chain.from_iterable(_asked(path) for path in dataset if path.is_file()):
        if len(found) == wanted:
            break
        if (
            messages
            and messages not in found
            and encoder.count("".join(m["content"] for m in messages)) <= LONGEST
        ):
            found.append(messages)
    return found


def _asked(path: Path) -> Iterator[list[Message]]:
    """What comes before each example's first answer. In NFC: llama.cpp leaves out the normalisation that some
    tokenizers begin with (Qwen2's), which is no file's fault."""
    for _, messages in read(path):
        turns = takewhile(lambda message: message["role"] != "assistant", messages)
        yield [
            {"role": turn["role"], "content": unicodedata.normalize("NFC", turn["content"])}
            for turn in turns
        ]


def gate(
    files: dict[str, Path],
    base_folder: Path,
    adapter: Path | None,
    encoder: Encoder,
    chosen: Sequence[Case],
    *,
    frozen: Frozen | None = None,
    report: Reporter,
) -> dict[str, Any]:
    """Holds one GGUF for each type → path against base + adapter; returns what a manifest records. `frozen` as for
    phoenix_forge.weights.merge.merged.

    Where the Hugging Face model does not fit into memory, only prompts and stop token are compared, and the result says
    so. Raises StageFailed at the first file that llama.cpp cannot load, whose prompts or stop token are not those of
    the training, or whose answers differ by more than its type explains.
    """
    started = time.perf_counter()
    answers = {name: _listen(name, path, encoder, chosen, report) for name, path in files.items()}
    base = open_base(base_folder)
    device, missing = _place(base.parameters, base.nbytes)
    if missing:
        report.warn(
            f"the answers were not compared with the Hugging Face model: it needs {missing}"
        )
        return {
            "answers": "skipped",
            "reason": f"needs {missing}",
            "prompts": len(chosen),
            "files": list(files),
        }
    reference = _Reference(base_folder, adapter, device, frozen)
    agreements = [_agreement(name, encoder, chosen, answers[name], reference) for name in files]
    for agreement in agreements:
        report.info(str(agreement))
    for agreement in agreements:
        if agreement.beyond:
            raise StageFailed(
                "the GGUF does not answer as the model that it was made from "
                f"({'; '.join(agreement.beyond)} nats): {agreement}",
                fix="forge quantize --force; if it comes again, report it as a bug "
                "with the base's name, and --set quantize.gate=none writes the file all the same",
            )
    return {
        "answers": "compared",
        "device": device,
        "seconds": round(time.perf_counter() - started, 2),
        "files": [asdict(agreement) for agreement in agreements],
    }


def _place(parameters: int, stored: int) -> tuple[str, str | None]:
    """The device that holds the Hugging Face model, or what is missing for it."""
    import torch

    needed = costs.reference_memory(parameters, stored)
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] >= needed:
        return "cuda", None
    free = psutil.virtual_memory().available
    return "cpu", None if free >= needed else f"{human(needed)} of memory, {human(free)} are free"


def _listen(
    name: str, path: Path, encoder: Encoder, chosen: Sequence[Case], report: Reporter
) -> list[Tokens]:
    """The file's answers, once its prompts and its stop token have been found right."""
    made = []
    with Model(path, num_ctx=CONTEXT) as model:
        for case in chosen:
            _require_prompt(name, encoder, case, model.prompt(case.messages))
        _require_stop(name, encoder, model, chosen[0])
        for done, case in enumerate(chosen, 1):
            made.append(model.proceed(case.ids, TOKENS))
            report.progress(f"{name} answers", done, len(chosen), "prompts")
    return made


def _require_prompt(name: str, encoder: Encoder, case: Case, found: list[int]) -> None:
    if found == case.ids:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(found, case.ids, strict=False)) if a != b),
        min(len(found), len(case.ids)),
    )
    shown = [
        encoder.tokenizer.decode(ids[max(0, at - 3) : at + 4], skip_special_tokens=False)
        for ids in (found, case.ids)
    ]
    raise StageFailed(
        f"{name}: llama.cpp makes {len(found)} tokens of a conversation, training made {len(case.ids)}; "
        f"they part at token {at}: {shown[0]!r}, in training {shown[1]!r}",
        fix="report this as a bug with the base's name: its chat template or tokenizer came out wrong",
    )


def _require_stop(name: str, encoder: Encoder, model: Model, case: Case) -> None:
    """Makes the stop token the likeliest one: llama.cpp has to end the turn there and then."""
    made = model.proceed(case.ids, 2, {encoder.stop_id: FORCED})
    if made.ids != [encoder.stop_id] or not made.stopped:
        raise StageFailed(
            f"{name}: llama.cpp does not end a turn at {encoder.stop!r}",
            fix="report this as a bug with the base's name: its end-of-turn token came out wrong",
        )


def _agreement(
    name: str,
    encoder: Encoder,
    chosen: Sequence[Case],
    answers: Sequence[Tokens],
    reference: _Reference,
) -> Agreement:
    rows = reference.follow([case.ids for case in chosen], [answer.ids for answer in answers])
    places = [
        (case, i, expected, got, margin, told, logprob)
        for case, answer, row in zip(chosen, answers, rows, strict=True)
        for i, (got, told, (expected, margin, logprob)) in enumerate(
            zip(answer.ids, answer.logprobs, row, strict=True)
        )
    ]
    apart = [place for place in places if place[2] != place[3]]
    first = None
    if apart:
        case, position, expected, got, margin, *_ = apart[0]
        own, other = encoder.tokenizer.decode_batch([[expected], [got]], skip_special_tokens=False)
        first = Difference(case.messages[-1]["content"], position, own, other, margin)
    return Agreement(
        name,
        len(chosen),
        len(places),
        len(places) - len(apart),
        sum(a.stopped for a in answers),
        max(margin for *_, margin, _, _ in places),
        statistics.fmean(abs(told - own) for *_, told, own in places if told is not None),
        statistics.median(row[0][1] for row in rows),
        first,
    )


class _Reference:
    """The Hugging Face model in the base's own type; every module computes in fp32, which its weights are only while it
    is at work. So 16-bit weights are all that memory has to hold."""

    def __init__(
        self, base_folder: Path, adapter: Path | None, device: str, frozen: Frozen | None = None
    ) -> None:
        from phoenix_forge.train.base import load_base, quiet, with_adapter
        from phoenix_forge.train.choose import Compute

        quiet()
        base = open_base(base_folder)
        stored = {entry.dtype for entry in base.entries.values()}
        precision = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}[
            max(stored, key=("F16", "BF16", "F32").index)
        ]
        self.model: Any = load_base(base_folder, Compute(device, precision, 16, "adamw", "parity"))
        for name, parameter in self.model.named_parameters():
            if frozen and LINEAR.fullmatch(name):
                parameter.data = frozen(name, parameter.data).to(parameter.dtype)
        if adapter:
            self.model = with_adapter(self.model, base_folder, adapter).merge_and_unload()
        self.model.eval()
        for module in self.model.modules():
            if next(module.parameters(recurse=False), None) is not None:
                _compute_in_fp32(module)

    def follow(
        self, prompts: Sequence[list[int]], answers: Sequence[list[int]]
    ) -> list[list[tuple[int, float, float]]]:
        """For each token of each answer: the one that this model would take there, the margin between the two, and the
        given one's log-probability.

        Rows are padded on the right: attention is causal, so no token sees any padding.
        """
        import torch

        rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        width = max(map(len, rows)) - 1
        padded = torch.tensor(
            [(row + [row[-1]] * width)[:width] for row in rows], device=self.model.device
        )
        spans = [
            range(len(prompt) - 1, len(row) - 1) for prompt, row in zip(prompts, rows, strict=True)
        ]
        needed = sorted({position for span in spans for position in span})
        with torch.inference_mode():
            logits = self.model(
                input_ids=padded,
                use_cache=False,
                logits_to_keep=torch.tensor(needed, device=self.model.device),
            ).logits
        found = []
        for row, span, answer in zip(logits, spans, answers, strict=True):
            there = row[[needed.index(position) for position in span]].float().log_softmax(-1)
            best = there.max(-1)
            given = there.gather(-1, torch.tensor(answer, device=there.device)[:, None])[:, 0]
            found.append(
                list(
                    zip(
                        best.indices.tolist(),
                        (best.values - given).tolist(),
                        given.tolist(),
                        strict=True,
                    )
                )
            )
        return found


def _compute_in_fp32(module: torch.nn.Module) -> None:
    stored: dict[str, torch.Tensor] = {}

    def widen(module: torch.nn.Module, _: object) -> None:
        for name, parameter in module.named_parameters(recurse=False):
            stored[name] = parameter.data
            parameter.data = parameter.data.float()

    def restore(module: torch.nn.Module, *_: object) -> None:
        for name, parameter in module.named_parameters(recurse=False):
            parameter.data = stored.pop(name)

    module.register_forward_pre_hook(widen)
    module.register_forward_hook(restore)
