"""The Triton kernels against the plain ones, and flash and cuDNN attention against plain arithmetic. On a GPU."""

import pytest
import torch

from phoenix_forge.train.engine import attention, kernels
from phoenix_forge.train.engine.attention import Spans, attend, attend_backward

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
CUDA, BF16 = "cuda", torch.bfloat16


def pair(function, *tensors, **more):
    """The arguments after the Triton and after the plain function, with what they returned."""
    ours, plain = ([t.clone() if torch.is_tensor(t) else t for t in tensors] for _ in range(2))
    first = getattr(kernels.kernels(torch.device(CUDA)), function)(*ours, **more)
    second = getattr(kernels.PLAIN, function)(*plain, **more)
    return ours, plain, first, second


def close(ours, plain, tolerance=1e-2):
    assert (ours.float() - plain.float()).norm() <= tolerance * plain.float().norm()


@pytest.mark.parametrize("shape", [(7, 96), (64, 3584), (3, 5120)])
def test_norms(shape):
    x, weight = (
        torch.randn(shape, device=CUDA, dtype=BF16),
        torch.rand(shape[1], device=CUDA, dtype=BF16),
    )
    wide = torch.full((shape[0], shape[1] + 16), 7.0, device=CUDA, dtype=BF16)
    kernels.kernels(torch.device(CUDA)).rms(x, weight, 1e-6, wide[:, : shape[1]])
    expected = torch.empty_like(x)
    kernels.PLAIN.rms(x, weight, 1e-6, expected)
    close(wide[:, : shape[1]], expected)
    assert bool((wide[:, shape[1] :] == 7).all()), "the spare columns are not touched"
    grad, total = torch.randn_like(x), torch.randn_like(x)
    ours, plain, _, _ = pair("rms_backward", grad, x, weight, 1e-6, total)
    close(ours[4], plain[4])


@pytest.mark.parametrize("width", [96, 4864, 18944])
def test_swiglu(width):
    both, grad = (
        torch.randn(33, 2 * width, device=CUDA, dtype=BF16),
        torch.randn(33, width, device=CUDA, dtype=BF16),
    )
    ours, plain, _, _ = pair("swiglu", both, torch.empty_like(grad))
    close(ours[1], plain[1])
    ours, plain, _, _ = pair("swiglu_backward", both, grad)
    close(ours[0], plain[0])
    close(ours[1], plain[1])


@pytest.mark.parametrize(("heads", "width"), [(32, 128), (5, 96), (16, 64)])
def test_rope_and_back(heads, width):
    x = torch.randn(50, heads, width, device=CUDA, dtype=BF16)
    angles = torch.arange(50, device=CUDA)[:, None] * torch.rand(width // 2, device=CUDA)
    ours, plain, _, _ = pair("rope", x, angles.cos(), angles.sin())
    close(ours[0], plain[0])
    ours, plain, _, _ = pair(
        "rope_backward", ours[0], angles.cos(), angles.sin(), torch.empty_like(x)
    )
    close(ours[3], x)


@pytest.mark.parametrize("vocabulary", [1000, 151936])
def test_cross_entropy(vocabulary):
    logits = torch.randn(21, vocabulary, device=CUDA, dtype=BF16) * 4
    target = torch.randint(0, vocabulary, (21,), device=CUDA)
    ours, plain, first, second = pair("cross_entropy", logits, target, scale=0.25)
    close(first, second, 1e-5)
    close(ours[0], plain[0])


@pytest.mark.parametrize(("m", "n", "k"), [(64, 128, 256), (2048, 18944, 3584)])
def test_products_in_8_bits(m, n, k):
    x, weight = (
        torch.randn(m, k + 16, device=CUDA, dtype=BF16)[:, :k],
        torch.randn(n, k, device=CUDA, dtype=BF16),
    )
    ops = kernels.kernels(torch.device(CUDA))
    (q, scale), (w, w_scale) = ops.round8(x), ops.round8(weight)
    expected, expected_scale = kernels.PLAIN.round8(x)
    assert torch.allclose(scale, expected_scale)
    close(q.float(), expected.float(), 1e-3)
    result = ops.product8(q, scale, w, w_scale, BF16)
    close(result, kernels.PLAIN.product8(q, scale, w, w_scale, BF16))
    close(result, x.float() @ weight.float().t(), 0.06)


@pytest.mark.parametrize("spare", [0, 48])
def test_dequantise(spare):
    weight = torch.randn(256, 896, device=CUDA)
    packed, absmax = kernels.quantize(weight)
    expected, wide = (
        torch.empty_like(weight, dtype=BF16),
        torch.zeros(256, 896 + spare, device=CUDA, dtype=BF16),
    )
    kernels.PLAIN.dequantize(packed, absmax, expected)
    kernels.kernels(torch.device(CUDA)).dequantize(packed, absmax, wide[:, :896])
    assert torch.equal(wide[:, :896], expected)
    close(expected, weight, 0.12)


def reference(q, k, v, grad, spans):
    """In fp32, with a mask matrix."""
    q, k, v = (t.float().requires_grad_() for t in (q, k, v))
    segment = torch.cat([torch.full((n,), i) for i, n in enumerate(spans.lengths)]).to(q.device)
    place = torch.arange(len(q), device=q.device)
    seen = ((segment[:, None] == segment) | ((segment == 0) & bool(spans.prefix))) & (
        place[:, None] >= place
    )
    groups = q.shape[1] // k.shape[1]
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(groups, 1)) / q.shape[2] ** 0.5
    out = torch.einsum(
        "hqk,khd->qhd",
        scores.masked_fill(~seen, float("-inf")).softmax(-1),
        v.repeat_interleave(groups, 1),
    )
    (out * grad.float()).sum().backward()
    return out.detach(), q.grad, k.grad, v.grad


@pytest.mark.parametrize(
    ("lengths", "prefix"), [((512, 512), 0), ((100, 412, 300), 0), ((25, 60, 140, 200), 25)]
)
@pytest.mark.parametrize("ops", [attention.Flash, attention.Cudnn])
def test_attention(lengths, prefix, ops):
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32, device=CUDA)
    spans = Spans(lengths, prefix, starts)
    if ops is attention.Cudnn and not spans.uniform:
        pytest.skip("cuDNN's is for equal lengths")
    qkv = torch.randn(sum(lengths), 12, 128, device=CUDA, dtype=BF16)
    q, k, v = qkv[:, :8], qkv[:, 8:10], qkv[:, 10:]
    grad = torch.randn(sum(lengths), 8, 128, device=CUDA, dtype=BF16)
    out, lse = attend(ops(), q, k, v, spans)
    results = [out, *attend_backward(ops(), grad, q, k, v, out, lse, spans)]
    for ours, expected in zip(results, reference(q, k, v, grad, spans), strict=True):
        close(ours, expected, 2e-2)
