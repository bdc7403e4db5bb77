"""The layers between the neurons, for CUDA: poolings, convolutions, the flexible layer."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

PIECE, STRIP, TILE, WIDEST = 256, 128, 2048, 32


@triton.jit
def _max_pool_forward(
    x, y, which, height, width, channels, rows, columns,
    SIZE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    line = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns * channels
    column, channel = at // channels, at % channels
    row = line % rows + tl.zeros((BLOCK,), tl.int32)
    x += (line // rows).to(tl.int64) * height * width * channels
    out = line.to(tl.int64) * columns * channels + at
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    arg = tl.zeros((BLOCK,), tl.int32)
    for i in tl.static_range(SIZE):
        for j in tl.static_range(SIZE):
            r, q = row * STRIDE - PAD + i, column * STRIDE - PAD + j
            seen = inside & (r >= 0) & (r < height) & (q >= 0) & (q < width)
            value = tl.load(x + (r * width + q) * channels + channel, seen, float("-inf"))
            more = (value > best) | (value != value)  # NaN stays NaN
            best = tl.where(more, value, best)
            arg = tl.where(more, i * SIZE + j, arg)
    tl.store(y + out, best, inside)
    tl.store(which + out, arg.to(tl.uint8), inside)


def _windows(height: int, width: int, size: int, stride: int, pad: int) -> tuple[int, int]:
    """Rows and columns of windows."""
    rows, columns = ((side + 2 * pad - size) // stride + 1 for side in (height, width))
    return rows, columns


def max_pool_forward(
    x: Tensor, y: Tensor, which: Tensor, images: int, height: int, width: int, channels: int,
    size: int, stride: int, pad: int,
) -> None:  # fmt: skip
    """Max pooling, and the position of the first maximum in each window."""
    rows, columns = _windows(height, width, size, stride, pad)
    _max_pool_forward[(images * rows, triton.cdiv(columns * channels, PIECE))](
        x, y, which, height, width, channels, rows, columns, size, stride, pad, PIECE
    )


@triton.jit
def _max_pool_backward(
    gy, which, gx, height, width, channels, rows, columns,
    SIZE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    line = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width * channels
    column, channel = at // channels, at % channels
    row = line % height + tl.zeros((BLOCK,), tl.int32)
    windows = (line // height).to(tl.int64) * rows * columns * channels
    to = gx + line.to(tl.int64) * width * channels + at
    total = tl.load(to, inside, 0.0)
    for i in tl.static_range(SIZE):
        for j in tl.static_range(SIZE):
            down, right = row + PAD - i, column + PAD - j
            r, q = down // STRIDE, right // STRIDE
            seen = inside & (down >= 0) & (right >= 0) & (r < rows) & (q < columns)
            if STRIDE > 1:
                seen = seen & (down % STRIDE == 0) & (right % STRIDE == 0)
            place = windows + ((r * columns + q) * channels + channel)
            chosen = tl.load(which + place, seen, 255) == i * SIZE + j
            total += tl.load(gy + place, seen & chosen, 0.0)
    tl.store(to, total, inside)


def max_pool_backward(
    gy: Tensor, which: Tensor, gx: Tensor, images: int, height: int, width: int, channels: int,
    size: int, stride: int, pad: int,
) -> None:  # fmt: skip
    """The backward pass, added to ``gx``: each input sums over the windows that chose it."""
    rows, columns = _windows(height, width, size, stride, pad)
    _max_pool_backward[(images * height, triton.cdiv(width * channels, PIECE))](
        gy, which, gx, height, width, channels, rows, columns, size, stride, pad, PIECE
    )


@triton.jit
def _conv(
    x, weight, bias, y, pixels, height, width, channels, out, padded,
    BIASED: tl.constexpr, PIXELS: tl.constexpr, OUT: tl.constexpr, IN: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    o = tl.program_id(1) * OUT + tl.arange(0, OUT)
    row, column = at // width % height, at % width
    total = tl.zeros((PIXELS, OUT), tl.float32)
    for tap in range(9):
        i, j = tap // 3 - 1, tap % 3 - 1
        r, q = row + i, column + j
        seen = (at < pixels) & (r >= 0) & (r < height) & (q >= 0) & (q < width)
        source = x + (at + i * width + j).to(tl.int64) * channels
        for first in range(0, channels, IN):
            c = first + tl.arange(0, IN)
            a = tl.load(source[:, None] + c[None, :], seen[:, None] & (c < channels)[None, :], 0.0)
            rows = weight + (tap * channels + c)[:, None] * padded + o[None, :]
            w = tl.load(rows, (c < channels)[:, None] & (o < out)[None, :], 0.0)
            total = tl.dot(a, w, total, input_precision="tf32x3")
    if BIASED:
        total += tl.load(bias + o, o < out, 0.0)[None, :]
    to = y + (at.to(tl.int64) * out)[:, None] + o[None, :]
    tl.store(to, total, (at < pixels)[:, None] & (o < out)[None, :])


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, images: int, height: int,
    width: int, channels: int, out: int, padded: int,
) -> None:  # fmt: skip
    """3×3 convolution, padding 1, with the weights as ``sparse_conv`` takes them in C.

    A product of two numbers is computed in three of TF32, whose sum has the error of float32.
    """
    pixels = images * height * width
    wide, deep = (min(max(triton.next_power_of_2(n), 16), 64) for n in (out, channels))
    deep = min(deep, 32)
    _conv[(triton.cdiv(pixels, STRIP), triton.cdiv(out, wide))](
        x, weight, weight if bias is None else bias, y, pixels, height, width, channels, out,
        padded, bias is not None, STRIP, wide, deep,
    )  # fmt: skip


@triton.jit
def _hard(z):
    return tl.minimum(tl.maximum(z / 6 + 0.5, 0.0), 1.0)


@triton.jit
def _flex_forward(
    C, P, a, b, start, eta, u, steps, n, pixels, wide, narrow, rate, limit,
    CONSTANT: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    own = c < wide
    gain, offset = tl.load(a + c, own, 0.0), tl.load(b + c, own, 0.0)
    now = tl.load(start + c, own, 0.0)
    for t in range(steps):
        out = t * n + image
        source = image if CONSTANT else out
        tl.store(eta + out * wide + c, now, own)
        drift = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for first in range(0, pixels, PIXELS):
            p = first + tl.arange(0, PIXELS)
            inside = (p < pixels)[:, None] & own[None, :]
            s = tl.load(C + ((source * pixels + p) * wide)[:, None] + c[None, :], inside, 0.0)
            place = ((source * pixels + p) * narrow)[:, None] + (c % narrow)[None, :]
            i = tl.load(P + place, inside, 0.0)
            m = _hard(gain[None, :] * i + (offset + now)[None, :])
            to = u + ((out * pixels + p) * wide)[:, None] + c[None, :]
            tl.store(to, i + m * (s - i), inside)
            drift += tl.abs(s) - tl.abs(i)
        now = now + rate * (tl.sum(drift, 0) / pixels)
        now = tl.minimum(tl.maximum(now, -limit), limit)


def _tile(channels: int) -> tuple[int, int]:
    """Pixels and channels of a tile."""
    wide = min(triton.next_power_of_2(channels), WIDEST)
    return TILE // wide, wide


def flex_forward(
    C: Tensor, P: Tensor, a: Tensor, b: Tensor, start: Tensor, eta: Tensor, u: Tensor, steps: int,
    n: int, pixels: int, wide: int, narrow: int, rate: float, limit: float, constant: bool,
) -> None:  # fmt: skip
    """Mixed responses and η of a flexible layer; see the kernel in C."""
    tile = _tile(wide)
    _flex_forward[(n, triton.cdiv(wide, tile[1]))](
        C, P, a, b, start, eta, u, steps, n, pixels, wide, narrow, rate, limit, constant, *tile
    )


@triton.jit
def _flex_backward(
    gu, C, P, a, b, eta, gC, gP, steps, n, pixels, wide, narrow, repeats, rate, limit,
    THROUGH_ETA: tl.constexpr, CONSTANT: tl.constexpr, ADD: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    pooled = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    for repeat in range(repeats):  # the channels that one pooled channel was repeated to
        c = pooled + repeat * narrow
        own = (pooled < narrow) & (c < wide)
        gain, offset = tl.load(a + c, own, 0.0), tl.load(b + c, own, 0.0)
        later = tl.zeros((CHANNELS,), tl.float32)  # ∂/∂η(t+1)
        next = tl.zeros((CHANNELS,), tl.float32)
        for back in range(steps):
            t = steps - 1 - back
            out = t * n + image
            source = image if CONSTANT else out
            now = tl.load(eta + out * wide + c, own, 0.0)
            later = tl.where(tl.abs(next) < limit, later, 0.0)  # the clip passes no gradient
            sum = tl.zeros((CHANNELS,), tl.float32)
            if THROUGH_ETA:
                sum = later * rate / pixels
            through_mask = tl.zeros((PIXELS, CHANNELS), tl.float32)
            for first in range(0, pixels, PIXELS):
                p = first + tl.arange(0, PIXELS)
                inside = (p < pixels)[:, None] & own[None, :]
                at_c = ((source * pixels + p) * wide)[:, None] + c[None, :]
                at_p = ((source * pixels + p) * narrow)[:, None] + pooled[None, :]
                s, i = tl.load(C + at_c, inside, 0.0), tl.load(P + at_p, inside, 0.0)
                at_u = ((out * pixels + p) * wide)[:, None] + c[None, :]
                g = tl.load(gu + at_u, inside, 0.0)
                z = gain[None, :] * i + (offset + now)[None, :]
                m = _hard(z)
                gz = tl.where(tl.abs(z) < 3, g * (s - i) / 6, 0.0)
                up = sum[None, :]
                sign_s = tl.where(s > 0, up, tl.where(s < 0, -up, 0.0))
                sign_i = tl.where(i > 0, up, tl.where(i < 0, -up, 0.0))
                to_s = g * m + sign_s
                to_i = g * (1 - m) + gz * gain[None, :] - sign_i
                if ADD:
                    to_s += tl.load(gC + at_c, inside, 0.0)
                    to_i += tl.load(gP + at_p, inside, 0.0)
                tl.store(gC + at_c, to_s, inside)
                tl.store(gP + at_p, to_i, inside)
                through_mask += gz
            later += tl.sum(through_mask, 0)
            next = now


def flex_backward(
    gu: Tensor, C: Tensor, P: Tensor, a: Tensor, b: Tensor, eta: Tensor, gC: Tensor, gP: Tensor,
    steps: int, n: int, pixels: int, wide: int, narrow: int, rate: float, limit: float,
    through_eta: bool, constant: bool,
) -> None:  # fmt: skip
    """The backward pass: ``gC`` and ``gP`` from ``gu``, summed over time with ``constant``."""
    add = constant or wide != narrow
    if add:
        gC.zero_(), gP.zero_()
    tile = _tile(narrow)
    _flex_backward[(n, triton.cdiv(narrow, tile[1]))](
        gu, C, P, a, b, eta, gC, gP, steps, n, pixels, wide, narrow, triton.cdiv(wide, narrow),
        rate, limit, through_eta, constant, add, *tile,
    )  # fmt: skip
