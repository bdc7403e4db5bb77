"""The kernels against plain PyTorch: the scan over time, the poolings, the sparse convolution."""

import os

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from robench.architectures.fusion import conv, fold
from robench.architectures.pooling import Window, max_pool
from robench.spiking import LIFParameters, Surrogate, direct, kernels, lif
from robench.spiking.surrogate import surrogate_names
from tests.support.lif_reference import lif_start, lif_step
from tests.support.needs import needs_compiler, needs_kernels
from tests.support.networks import randomise

TOLERANCE = {
    torch.float64: {"atol": 1e-12, "rtol": 1e-12},
    torch.float32: {"atol": 1e-5, "rtol": 1e-5},
}
DTYPES = sorted(TOLERANCE, key=str)
many = settings(max_examples=120, deadline=None, derandomize=True)


@needs_compiler
def test_the_kernels_are_there():
    assert kernels.library() is not None or os.environ.get("ROBENCH_KERNELS") == "off"


def draw(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


LAYOUTS = {
    "contiguous": lambda x: x,
    "constant": lambda x: direct(x[0], len(x)),
    "time innermost": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "channels last": lambda x: x.movedim(2, -1).contiguous().movedim(-1, 2),
    "constant, channels last": lambda x: direct(LAYOUTS["channels last"](x[:1])[0], len(x)),
    "every second": lambda x: torch.stack([x, -x], -1).flatten(-2)[..., ::2],
    "a slice of each step": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "one sample for all": lambda x: x[:, :1].expand_as(x),
}


def scan_step_by_step(x, p, surrogate, amplitude):
    state = lif_start(x[0], p)
    spikes = []
    for step in x:
        s, state = lif_step(step, state, p, surrogate)
        spikes.append(s)
    return amplitude * torch.stack(spikes)


def values_and_gradient(function, x, weight):
    x = x.detach().clone().requires_grad_()
    out = function(x)
    loss = (out * weight).sum() if weight is not None else out.sum()
    return out.detach(), torch.autograd.grad(loss, x, allow_unused=True)[0]


def assert_scans_agree(x, layout, p, surrogate, amplitude, seed):
    weight = None if seed % 4 == 0 else draw(x.shape, seed + 1, x.dtype)
    shapes = LAYOUTS[layout]

    def run(scan):
        return values_and_gradient(lambda y: scan(shapes(y), p, surrogate, amplitude), x, weight)

    spikes, gradient = run(lif)
    assert gradient is None or gradient.isfinite().all()
    with kernels.reference():
        assert not kernels.usable(x)
        eager = run(lif)
    for expected, expected_gradient in (eager, run(scan_step_by_step)):
        assert torch.equal(spikes, expected)
        if gradient is None:
            assert expected_gradient is None or not expected_gradient.any()
        else:
            torch.testing.assert_close(gradient, expected_gradient, **TOLERANCE[x.dtype])


shapes = st.one_of(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([(1, 2047), (1, 2048), (1, 2049), (2, 2048), (3, 1367)]).map(
        lambda pair: (pair[0], pair[1], 1, 1)
    ),
)
sharpness = st.one_of(st.sampled_from([0.25, 0.5, 1.0, 2.0]), st.floats(0.25, 8))
elementwise = sorted(name for name in surrogate_names() if Surrogate(name, 0.25).elementwise)
surrogates = st.one_of(st.none(), st.builds(Surrogate, st.sampled_from(elementwise), sharpness))


@needs_kernels
@many
@given(
    beta=st.floats(0, 1),
    threshold=st.floats(0.05, 5),
    reset=st.sampled_from(["subtract", "zero"]),
    detached=st.booleans(),
    initial=st.floats(-1, 1),
    amplitude=st.one_of(st.just(1.0), st.floats(0.1, 4)),
    timesteps=st.integers(1, 6),
    shape=shapes,
    layout=st.sampled_from(sorted(LAYOUTS)),
    surrogate=surrogates,
    seed=st.integers(0, 2**31),
)
@example(1, 1, "subtract", False, 0, 2, 4, (2, 3, 2, 2), "contiguous", Surrogate("atan", 2), 1)
def test_the_scan_equals_the_loop(
    beta, threshold, reset, detached, initial, amplitude, timesteps, shape, layout, surrogate, seed
):
    p = LIFParameters(beta, threshold, reset, detached, initial)
    x = threshold * (0.4 + draw((timesteps, *shape), seed))
    assert_scans_agree(x, layout, p, surrogate, amplitude, seed)


# Sums of small binary fractions are exact in both types: the membrane is often exactly at the
# threshold, and rounding cannot change a spike.
@needs_kernels
@many
@given(
    dtype=st.sampled_from(DTYPES),
    beta=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    threshold=st.sampled_from([0.25, 0.5, 1.0]),
    reset=st.sampled_from(["subtract", "zero"]),
    detached=st.booleans(),
    initial=st.sampled_from([0.0, 0.5, 1.0]),
    timesteps=st.integers(1, 5),
    shape=shapes,
    layout=st.sampled_from(sorted(LAYOUTS)),
    surrogate=surrogates,
    seed=st.integers(0, 2**31),
)
def test_membranes_at_the_threshold_spike_as_in_the_loop(
    dtype, beta, threshold, reset, detached, initial, timesteps, shape, layout, surrogate, seed
):
    p = LIFParameters(beta, threshold, reset, detached, initial)
    x = (4 * draw((timesteps, *shape), seed)).round().to(dtype) / 8
    assert_scans_agree(x, layout, p, surrogate, 0.5, seed)


@needs_kernels
@pytest.mark.parametrize("threads", [2, 3])
def test_the_scan_does_not_depend_on_threads(threads):
    x, p = draw((5, 3, 4099), 0), LIFParameters(0.7, detach_reset=False)
    alone = values_and_gradient(lambda y: lif(y, p, Surrogate("atan", 2.0)), x, x)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shared = values_and_gradient(lambda y: lif(y, p, Surrogate("atan", 2.0)), x, x)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


HALF, NINE = Window(2, 2, 0), Window(3, 1, 1)
IMAGES = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "some channels": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "one image for all": lambda x: x[:1].expand_as(x),
}
image_shapes = st.tuples(
    st.integers(1, 3), st.integers(1, 35), st.integers(1, 9), st.integers(1, 9)
)


@needs_kernels
@many
@given(
    dtype=st.sampled_from(DTYPES),
    shape=image_shapes,
    window=st.sampled_from([HALF, NINE]),
    kind=st.sampled_from(["spikes", "few values", "real"]),
    layout=st.sampled_from(sorted(IMAGES)),
    seed=st.integers(0, 2**31),
)
def test_pooling_and_its_choice_among_equals_are_those_of_torch(
    dtype, shape, window, kind, layout, seed
):
    x = draw(shape, seed)
    x = {"spikes": (x > 0.5), "few values": x.round(), "real": x}[kind].to(dtype)
    rows, columns = (window.outputs(length) for length in shape[2:])
    if min(rows, columns) < 1:
        for pool in (lambda: max_pool(x, window), lambda: F.max_pool2d(x, 2, 2)):
            with pytest.raises(RuntimeError, match="too small"):
                pool()
        return
    weight = None if seed % 4 == 0 else draw((*shape[:2], rows, columns), seed + 1, dtype)

    def ours(y):
        return max_pool(IMAGES[layout](y), window)

    def theirs(y):
        return F.max_pool2d(IMAGES[layout](y), window.size, window.stride, window.padding)

    values, gradient = values_and_gradient(ours, x, weight)
    expected, expected_gradient = values_and_gradient(theirs, x, weight)
    assert torch.equal(values, expected)
    torch.testing.assert_close(gradient, expected_gradient, **TOLERANCE[dtype])


def test_pooling_keeps_nan():
    x = draw((2, 3, 6, 6), 0)
    x[0, 1, 2, 3] = torch.nan
    x[1, :, :2, :2] = torch.nan
    for window in (HALF, NINE):
        expected = F.max_pool2d(x, window.size, window.stride, window.padding)
        torch.testing.assert_close(max_pool(x, window), expected, equal_nan=True)


def convolution(in_channels, out_channels, seed, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    )
    return randomise(layers.to(dtype).eval().requires_grad_(False), seed)


@needs_kernels
@many
@given(
    dtype=st.sampled_from(DTYPES),
    shape=image_shapes,
    out_channels=st.one_of(st.integers(1, 9), st.sampled_from([31, 32, 33, 64, 65, 70, 129])),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    spikes=st.booleans(),
    layout=st.sampled_from(sorted(IMAGES)),
    seed=st.integers(0, 2**31),
)
def test_the_sparse_convolution_is_the_convolution(
    dtype, shape, out_channels, density, spikes, layout, seed
):
    layers = convolution(shape[1], out_channels, seed, dtype)
    folded = fold(layers[0], layers[1])
    x = torch.ones(shape, dtype=dtype) if spikes else draw(shape, seed, dtype)
    x = x * (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density)
    weight = draw((shape[0], out_channels, *shape[2:]), seed + 1, dtype)

    def sparsely(y):
        return conv(IMAGES[layout](y), folded, sparse=True)

    values, gradient = values_and_gradient(sparsely, x, weight)
    expected, expected_gradient = values_and_gradient(
        lambda y: layers(IMAGES[layout](y)), x, weight
    )
    scale = 1 + float(expected.abs().max()) + float(expected_gradient.abs().max())
    tolerance = {"rtol": 0, "atol": scale * TOLERANCE[dtype]["atol"]}
    torch.testing.assert_close(values, expected, **tolerance)
    torch.testing.assert_close(gradient, expected_gradient, **tolerance)


def test_weights_of_another_type_are_refused_as_by_torch():
    layers = convolution(3, 8, 0, torch.float32)
    with pytest.raises(RuntimeError, match="type"):
        conv(draw((1, 3, 4, 4), 0), fold(layers[0], layers[1]), sparse=True)


# Autograd cannot compute their second derivative: it raises an error instead of a wrong result.
@needs_kernels
@pytest.mark.parametrize(
    "function",
    [
        lambda x: lif(x[None], LIFParameters(), Surrogate("atan", 2.0)),
        lambda x: max_pool(x.square(), HALF).square(),
    ],
)
def test_a_second_derivative_is_refused(function):
    x = draw((1, 2, 4, 4), 0).requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
