"""The loops of neurons over time, for CUDA."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

ATAN, TRIANGLE, FAST_SIGMOID, RECTANGLE, STRAIGHT_THROUGH = (tl.constexpr(k) for k in range(5))
NEURONS, PIECE = 512, 256
HALF_PI = tl.constexpr(1.5707963267948966)


@triton.jit
def _lif_forward(
    x, x_stride, v, s, steps, size, beta, threshold, first, amplitude,
    TO_ZERO: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    x, v, s = x + at, v + at, s + at
    membrane = tl.load(x, inside, 0.0) + first
    for t in range(steps):
        if t > 0:
            x, v, s = x + x_stride, v + size, s + size
            current = tl.load(x, inside, 0.0)
            fired = membrane > threshold
            leaked = beta * membrane + current
            if TO_ZERO:
                membrane = tl.where(fired, current, leaked)
            else:
                membrane = leaked - tl.where(fired, threshold, 0.0)
        tl.store(v, membrane, inside)
        tl.store(s, tl.where(membrane > threshold, amplitude, 0.0), inside)


def lif_forward(
    x: Tensor, x_stride: int, v: Tensor, s: Tensor, steps: int, size: int, beta: float,
    threshold: float, first: float, amplitude: float, to_zero: bool,
) -> None:  # fmt: skip
    """LIF neurons over all steps: the membrane and the spikes, ``(steps, size)`` each."""
    _lif_forward[(triton.cdiv(size, NEURONS),)](
        x, x_stride, v, s, steps, size, beta, threshold, first, amplitude, to_zero, NEURONS
    )


@triton.jit
def _slope(z, given, inside, k, KIND: tl.constexpr):
    if KIND == ATAN:
        scaled = z * (k * HALF_PI)
        slope = k / 2 / (scaled * scaled + 1)
    elif KIND == TRIANGLE:
        slope = tl.maximum(k - tl.abs(z), 0.0) / (k * k)
    elif KIND == FAST_SIGMOID:
        below = tl.abs(z) * k + 1
        slope = 1 / (below * below)
    elif KIND == RECTANGLE:
        slope = tl.where(tl.abs(z) < k / 2, 1 / k, 0.0)
    elif KIND == STRAIGHT_THROUGH:
        slope = tl.zeros_like(z) + k
    else:
        slope = tl.load(given, inside, 0.0)
    return slope


@triton.jit
def _lif_backward(
    gs, v, given, gx, steps, size, beta, threshold, amplitude, k,
    TO_ZERO: tl.constexpr, THROUGH_RESET: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    at += tl.cast(steps - 1, tl.int64) * size
    later = tl.zeros((BLOCK,), tl.float32)
    for _ in range(steps):
        membrane = tl.load(v + at, inside, 0.0)
        spike = tl.load(gs + at, inside, 0.0) * amplitude
        if THROUGH_RESET:  # v(t+1) also depends on s(t)
            if TO_ZERO:
                spike -= beta * membrane * later
            else:
                spike -= threshold * later
        kept = beta * later
        if TO_ZERO:
            kept = tl.where(membrane > threshold, 0.0, kept)
        later = spike * _slope(membrane - threshold, given + at, inside, k, KIND) + kept
        tl.store(gx + at, later, inside)
        at -= size


def lif_backward(
    gs: Tensor, v: Tensor, given: Tensor | None, gx: Tensor, steps: int, size: int, beta: float,
    threshold: float, amplitude: float, to_zero: bool, through_reset: bool, kind: int, k: float,
) -> None:  # fmt: skip
    """The backward pass: ``gx`` from ``gs``; ``given`` is the slope if ``kind`` is 5."""
    _lif_backward[(triton.cdiv(size, NEURONS),)](
        gs, v, v if given is None else given, gx, steps, size, beta, threshold, amplitude, k,
        to_zero, through_reset, kind, NEURONS,
    )  # fmt: skip


@triton.jit
def _assg(
    v, statistics, stride, slopes, steps, n, size, threshold, amplitude,
    MOVING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    out = tl.program_id(0).to(tl.int64)
    t, row = out // n, out % n
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    z = tl.load(v + out * size + at, inside, 0.0) - threshold
    means = statistics + row * stride + t * size + at
    deviations = means + size * steps
    mean, deviation = tl.load(means, inside, 1.0), tl.load(deviations, inside, 0.0)
    if MOVING:
        distance = tl.abs(z)
        mean = 0.9 * mean + 0.1 * distance
        deviation = 0.9 * deviation + 0.1 * tl.abs(distance - mean)
        tl.store(means, mean, inside)
        tl.store(deviations, deviation, inside)
    sharpness = amplitude / (mean + 1.5 * deviation + 1e-4)
    scaled = z * sharpness * HALF_PI
    tl.store(slopes + out * size + at, sharpness / 2 / (scaled * scaled + 1), inside)


def assg(
    v: Tensor, statistics: Tensor, stride: int, slopes: Tensor, steps: int, n: int, size: int,
    threshold: float, amplitude: float, moving: bool,
) -> None:  # fmt: skip
    """The slopes of ASSG, ``(steps, n, size)``; updates its statistics if ``moving``."""
    _assg[(steps * n, triton.cdiv(size, PIECE))](
        v, statistics, stride, slopes, steps, n, size, threshold, amplitude, moving, PIECE
    )
