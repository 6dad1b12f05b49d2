"""The engine against PEFT's autograd on the same weights: losses and every gradient, however memory is used."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train_helpers import conversation, write_examples

from phoenix_forge.catalog.families import FAMILIES, Family
from phoenix_forge.catalog.memory import Placement, sizes
from phoenix_forge.chat.encode import Encoded, Encoder
from phoenix_forge.train.base import load_base, quiet
from phoenix_forge.train.batches import Batch, encode, pack, tensors
from phoenix_forge.train.choose import Compute
from phoenix_forge.train.engine import lora_init
from phoenix_forge.train.engine.frozen import Packed
from phoenix_forge.train.engine.kernels import PLAIN, quantize
from phoenix_forge.train.engine.load import ComputeDevice, LoraSettings, load, reader
from phoenix_forge.train.engine.model import Decoder, soft_cross_entropy
from phoenix_forge.train.engine.shape import shape, unsupported
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.tiny import build_tiny

CPU, RANK, SCALING = torch.device("cpu"), 4, 2.0
WRITTEN_OUT = [f for f in FAMILIES if unsupported({}, f.model_type, 1) is None]


@pytest.fixture(scope="session", params=WRITTEN_OUT, ids=lambda f: f.name)
def family(request) -> Family:
    return request.param


@pytest.fixture(scope="session")
def folder(family: Family, tmp_path_factory) -> Path:
    """A tiny base of the family, in fp32: what differs from PEFT is then no rounding of weights."""
    path = tmp_path_factory.mktemp(family.name)
    texts = [m["content"] for i in range(40) for m in conversation(i)["messages"]]
    build_tiny(path, texts, family=family, dtype="F32", layers=3, hidden=64, ffn=128, vocab=600)
    return path


@pytest.fixture(scope="session")
def batches(family: Family, folder: Path, tmp_path_factory) -> list[Batch]:
    path = write_examples(
        tmp_path_factory.mktemp("data") / "d.jsonl", [conversation(i) for i in range(9)]
    )
    return pack(encode(path, Encoder.load(folder, stop=family.stop, pad=family.pad), 400), 400, 0)


def opened(
    folder: Path,
    family: Family,
    placement: Placement,
    targets=None,
    start="default",
) -> Decoder:
    """With an adapter that has been trained a little: at its start, half of the gradients are zero."""
    base = open_base(folder)
    made = load(
        folder,
        shape(base.config, family.model_type),
        reader(base),
        LoraSettings(targets or family.targets, RANK, SCALING, 0, start),
        placement,
        ComputeDevice(CPU, torch.float32),
    )
    if start == "default":
        made.lora.b.copy_(
            torch.randn(made.lora.b.shape, generator=torch.Generator().manual_seed(1)) * 0.02
        )
        made.lora.refresh()
    return made


def gradients(decoder: Decoder, batches: list[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
    decoder.lora.a_grad.zero_()
    decoder.lora.b_grad.zero_()
    loss = sum(decoder.step(tensors(b, CPU), 0.5).sum().item() for b in batches)
    found = decoder.lora.named(decoder.lora.a_grad, decoder.lora.b_grad)
    return loss, {name: t.clone() for name, t in found.items()}


def by_peft(folder: Path, decoder: Decoder, batches: list[Batch], targets, four_bit: bool):
    from peft import LoraConfig, get_peft_model

    quiet()
    base = load_base(folder, Compute("cpu", "fp32", 32, "adamw", ""))
    for name, p in base.named_parameters():
        if four_bit and name.endswith("proj.weight"):
            PLAIN.dequantize(*quantize(p.data), p.data)
    model = get_peft_model(
        base,
        LoraConfig(
            r=RANK, lora_alpha=RANK * SCALING, target_modules=list(targets), task_type="CAUSAL_LM"
        ),
    )
    parameters = {
        n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad
    }
    for name, t in decoder.lora.named().items():
        parameters[name].data.copy_(t)
    total = 0.0
    for batch in batches:
        done = 0
        for example in batch.examples:
            rows = before_targets(model(input_ids=torch.tensor([example.ids])).logits[0], example)
            labels = torch.tensor(
                [t for t, flag in zip(example.ids, example.trained, strict=True) if flag]
            )
            part = slice(done, done := done + len(rows))
            loss = (
                torch.nn.functional.cross_entropy(rows, labels, reduction="sum")
                if batch.soft is None
                else divergence(rows, batch.soft[0][part], batch.soft[1][part]).sum()
            )
            (loss * 0.5).backward()
            total += loss.item()
    return total, {n: p.grad for n, p in parameters.items()}


def before_targets(logits: torch.Tensor, example: Encoded) -> torch.Tensor:
    return logits[[i - 1 for i, flag in enumerate(example.trained) if flag]]


def divergence(
    logits: torch.Tensor, ids: torch.Tensor, probabilities: torch.Tensor
) -> torch.Tensor:
    """Kullback and Leibler's, of each row's softmax from the probabilities scaled to a sum of one."""
    wanted = probabilities / probabilities.sum(-1, keepdim=True)
    return (wanted * (wanted.log() - torch.log_softmax(logits, -1).gather(1, ids))).sum(-1)


def softened(batches: list[Batch], vocabulary: int, k: int = 7) -> list[Batch]:
    """With made-up probabilities of some tokens, other ones at each place."""
    random = torch.Generator().manual_seed(2)
    ids = [torch.rand(b.targets, vocabulary, generator=random).topk(k).indices for b in batches]
    return [
        replace(b, soft=(some, torch.rand(some.shape, generator=random) / k))
        for b, some in zip(batches, ids, strict=True)
    ]


def close(found, expected):
    assert set(found) == set(expected)
    for name, t in expected.items():
        assert (found[name] - t).norm() <= 1e-4 * t.norm() + 1e-7, name


@pytest.mark.slow
@pytest.mark.parametrize("four_bit", [False, True])
def test_losses_and_gradients_are_pefts(family, folder, batches, four_bit):
    assert any(b.prefix for b in batches) or family.name != "qwen2", (
        "the shared beginning is tested too"
    )
    decoder = opened(folder, family, Placement(1, chunk=17, logits=5, bits=4 if four_bit else 16))
    loss, found = gradients(decoder, batches)
    expected_loss, expected = by_peft(folder, decoder, batches, family.targets, four_bit)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    close(found, expected)


def test_losses_and_gradients_towards_probabilities_are_pefts(family, folder, batches):
    decoder = opened(folder, family, Placement(1, chunk=17, logits=20))
    aimed = softened(batches, len(decoder.head))
    loss, found = gradients(decoder, aimed)
    expected_loss, expected = by_peft(folder, decoder, aimed, family.targets, False)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    close(found, expected)
    assert sum(decoder.losses(tensors(b, CPU)).sum().item() for b in aimed) == pytest.approx(
        loss, rel=1e-5
    )


@pytest.mark.parametrize("logits", [5, 2048])
def test_the_likeliest_tokens_are_those_of_transformers(family, folder, batches, logits):
    quiet()
    model = load_base(folder, Compute("cpu", "fp32", 32, "adamw", "")).eval()
    decoder = opened(folder, family, Placement(1, logits=logits))
    decoder.lora.b.zero_()
    decoder.lora.refresh()
    for batch in batches:
        ids, probabilities = decoder.likeliest(tensors(batch, CPU), 6)
        with torch.no_grad():
            rows = torch.cat(
                [
                    before_targets(model(input_ids=torch.tensor([e.ids])).logits[0], e)
                    for e in batch.examples
                ]
            )
        expected = torch.softmax(rows, -1)
        assert len(ids) == batch.targets
        assert torch.allclose(probabilities, expected.topk(6).values, rtol=1e-4)
        assert torch.allclose(probabilities, expected.gather(1, ids), rtol=1e-4)


def test_the_distance_from_probabilities_is_autograds():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 40, generator=random).requires_grad_()
    ids = torch.rand(9, 40, generator=random).topk(8).indices
    probabilities = torch.rand(9, 8, generator=random) / 8
    expected = divergence(logits, ids, probabilities)
    (expected * 3.0).sum().backward()
    rows = logits.detach().clone()
    assert torch.allclose(soft_cross_entropy(rows, ids, probabilities, 0.0), expected, rtol=1e-5)
    assert torch.equal(rows, logits), "without a scale they stay what they are"
    assert torch.allclose(soft_cross_entropy(rows, ids, probabilities, 3.0), expected, rtol=1e-5)
    assert torch.allclose(rows, logits.grad, atol=1e-6)


def test_a_model_is_at_no_distance_from_its_own_distribution():
    logits = torch.randn(9, 40, generator=torch.Generator().manual_seed(0))
    own = torch.softmax(logits, -1).topk(40)
    assert soft_cross_entropy(logits, own.indices, own.values, 1.0).abs().max() < 1e-6
    assert logits.abs().max() < 1e-6


def test_some_layers_only(family, folder, batches):
    targets = tuple(
        t for t in family.targets if t in ("q_proj", "v_proj", "qkv_proj", "up_proj", "down_proj")
    )
    decoder = opened(folder, family, Placement(2), targets)
    loss, found = gradients(decoder, batches)
    expected_loss, expected = by_peft(folder, decoder, batches, targets, False)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    close(found, expected)


def test_however_memory_is_used_the_gradients_are_the_same(family, folder, batches):
    _, expected = gradients(opened(folder, family, Placement(3)), batches)
    for placement in (
        Placement(0),
        Placement(2, chunk=5, logits=3),
        Placement(0, attention=True, chunk=40),
    ):
        _, found = gradients(opened(folder, family, placement), batches)
        close(found, expected)


def test_the_planner_counts_what_the_engine_holds(family, folder):
    if "qkv_proj" in family.targets:
        pytest.skip("fused parts have fewer adapters: the planner counts a little too much")
    decoder = opened(folder, family, Placement(3))
    size = sizes(open_base(folder).config)
    assert size.adapter(RANK) == len(decoder.lora.a) + len(decoder.lora.b)
    dense = [t for name, t in decoder.store.get(0, None).items() if name.endswith("dense")]
    assert size.spread(RANK) == sum(t.numel() for t in dense)


def test_streamed_layers_give_the_same_bits(family, folder, batches):
    expected = gradients(opened(folder, family, Placement(0, bits=4)), batches)
    decoder = opened(folder, family, Placement(0, bits=4, streamed=True))
    assert isinstance(decoder.store, Packed)
    loss, found = gradients(decoder, batches)
    assert loss == expected[0]
    assert all(torch.equal(found[n], t) for n, t in expected[1].items())


def test_weights_laid_out_once_give_the_same_bits(family, folder, batches):
    expected = gradients(opened(folder, family, Placement(3, bits=4)), batches)
    loss, found = gradients(opened(folder, family, Placement(3, bits=4, expanded=True)), batches)
    assert loss == expected[0]
    assert all(torch.equal(found[n], t) for n, t in expected[1].items())


def test_8_bits_are_near(family, folder, batches):
    """Rounding to e4m3 has an error of some 3 % a number; losses and the gradient as a whole stay close."""
    loss, expected = gradients(opened(folder, family, Placement(3)), batches)
    rounded, found = gradients(opened(folder, family, Placement(1, chunk=30, bits=8)), batches)
    assert rounded == pytest.approx(loss, rel=1e-2)
    error = torch.stack([(found[n] - t).norm() for n, t in expected.items()]).norm()
    assert 1e-4 < error / torch.stack([t.norm() for t in expected.values()]).norm() < 0.1


def test_packed_is_unpacked(family, folder, batches):
    decoder = opened(folder, family, Placement(3))
    together = sum(decoder.losses(tensors(b, CPU)).sum().item() for b in batches)
    alone = [decoder.losses(tensors(Batch((e,), 0), CPU)) for b in batches for e in b.examples]
    assert together / len(torch.cat(alone)) == pytest.approx(
        torch.cat(alone).mean().item(), abs=1e-4
    )


@pytest.mark.slow
def test_dropout_repeats_itself_in_the_backward_pass(family, folder, batches):
    """Numerically: the loss's slope along the gradient is the gradient's size, with the same elements dropped."""
    decoder = opened(folder, family, Placement(1, chunk=16))
    decoder.dropout, decoder.seed = 0.3, 7
    _, found = gradients(decoder, batches[:1])
    slope = torch.stack([t.norm() for t in found.values()]).norm().item()
    direction = {n: t / slope for n, t in found.items()}

    def moved(size: float) -> float:
        for n, t in decoder.lora.named().items():
            t.add_(direction[n], alpha=size)
        decoder.lora.refresh()
        return gradients(decoder, batches[:1])[0] * 0.5

    step = 1e-3
    upper, lower = moved(step), moved(-2 * step)
    assert (upper - lower) / (2 * step) == pytest.approx(slope, rel=2e-2)
    decoder.seed = 8
    assert gradients(decoder, batches[:1])[0] != pytest.approx(lower / 0.5, rel=1e-6), (
        "another seed drops others"
    )


def test_pissa_leaves_the_model_as_it_was(family, folder, batches):
    moved, plain = (
        opened(folder, family, Placement(3), start="pissa"),
        opened(folder, family, Placement(3)),
    )
    plain.lora.b.zero_()
    plain.lora.refresh()
    assert bool(moved.lora.b.any())
    for b in batches:
        assert torch.allclose(
            moved.losses(tensors(b, CPU)), plain.losses(tensors(b, CPU)), atol=1e-3
        )


def test_loftq_starts_nearer_to_the_weights_than_nf4(family, folder):
    decoder = opened(folder, family, Placement(3))
    slot = next(decoder.lora.each())
    weight = torch.randn(slot.rows.stop, slot.inputs, generator=torch.Generator().manual_seed(0))

    def rounded(w: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(w)
        PLAIN.dequantize(*quantize(w), out)
        return out

    frozen = lora_init.loftq(weight.clone(), decoder.lora, [slot], True)
    corrected = rounded(frozen) + SCALING * decoder.lora.b_of(slot) @ decoder.lora.a_of(slot)
    assert (corrected - weight).norm() < 0.95 * (rounded(weight) - weight).norm()


def test_what_is_not_written_out_is_said():
    assert "gemma3" in (unsupported({}, "gemma3_text", 10) or "")
    assert "window" in (unsupported({"sliding_window": 100}, "mistral", 200) or "")
    assert unsupported({"sliding_window": 100}, "mistral", 100) is None
    assert "gelu" in (unsupported({"hidden_act": "gelu"}, "llama", 100) or "")
