"""The kernels for CUDA against those in C: on a GPU, or in Triton's interpreter without one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from robench.spiking import kernels
from tests.support.needs import needs_kernels, needs_linux

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
Argument = Tensor | float | int | None

pytestmark = [needs_linux, needs_kernels]


@pytest.fixture
def gpu() -> ModuleType:
    """The kernels for CUDA."""
    return importlib.import_module("robench.spiking.kernels.gpu")


@pytest.fixture
def agree(gpu: ModuleType) -> Callable[..., None]:
    def compare(name: str, arguments: list[Argument], outputs: int, *, exactly: bool) -> None:
        """Call a kernel in C and in Triton; the last tensors are its outputs."""
        there = [a.to(DEVICE, copy=True) if isinstance(a, Tensor) else a for a in arguments]
        kernels.call(name, *arguments)
        getattr(gpu, name)(*there)
        pairs = zip(arguments, there, strict=True)
        written = [(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor)]
        for expected, found in written[-outputs:]:
            found = found.to("cpu")
            tolerance = {"atol": 0.0, "rtol": 0.0} if exactly else CLOSE
            torch.testing.assert_close(found, expected, **tolerance, equal_nan=True)

    return compare


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unwritten(*shape: int) -> Tensor:
    return torch.full(shape, torch.nan)


RESETS = pytest.mark.parametrize("to_zero", [False, True])
STEPS = pytest.mark.parametrize("steps", [1, 4])


@RESETS
@STEPS
@pytest.mark.parametrize("constant", [False, True])
def test_the_scan_forwards(
    agree: Callable[..., None], to_zero: bool, steps: int, constant: bool
) -> None:
    size = 1300  # not a multiple of a block
    # sums of eighths are exact: many membranes equal the threshold, where no neuron spikes
    x = (4 * draw(1 if constant else steps, size)).round() / 8
    stride = 0 if constant else size
    v, s = unwritten(steps, size), unwritten(steps, size)
    given = (steps, size, 0.5, 0.5, 0.125, 2.0, to_zero)
    agree("lif_forward", [x, stride, v, s, *given], 2, exactly=True)


@RESETS
@STEPS
@pytest.mark.parametrize("through_reset", [False, True])
@pytest.mark.parametrize("kind", range(6))
def test_the_scan_backwards(
    agree: Callable[..., None], to_zero: bool, steps: int, through_reset: bool, kind: int
) -> None:
    size = 700
    gs, v = draw(steps, size), draw(steps, size, seed=1)
    slopes = draw(steps, size, seed=2).abs() if kind == 5 else None
    given = (steps, size, 0.7, 0.6, 1.3, to_zero, through_reset, kind, 0.8)
    at = [gs, v, slopes, unwritten(steps, size), *given]
    agree("lif_backward", at, 1, exactly=False)


@STEPS
@pytest.mark.parametrize("moving", [False, True])
def test_the_slopes_of_assg(agree: Callable[..., None], steps: int, moving: bool) -> None:
    n, size, stride = 3, 300, 2500  # rows also have the statistics of other layers
    v, statistics = draw(steps, n, size), draw(n, stride, seed=1).abs()
    slopes = unwritten(steps, n, size)
    given = (steps, n, size, 0.6, 2.65, moving)
    agree("assg", [v, statistics, stride, slopes, *given], 2, exactly=False)


WINDOWS = pytest.mark.parametrize("window", [(2, 2, 0), (3, 1, 1)])


@WINDOWS
@pytest.mark.parametrize("nan", [False, True])
def test_pooling(agree: Callable[..., None], window: tuple[int, int, int], nan: bool) -> None:
    size, stride, pad = window
    x = draw(2, 7, 6, 5).round()  # many equal maxima: the first is chosen
    if nan:
        x[0, 2, 3, 1] = torch.nan
    rows, columns = ((side + 2 * pad - size) // stride + 1 for side in (7, 6))
    y = unwritten(2, rows, columns, 5)
    which = torch.full(y.shape, 99, dtype=torch.uint8)
    agree("max_pool_forward", [x, y, which, 2, 7, 6, 5, *window], 2, exactly=True)
    gradient, into = draw(*y.shape, seed=1), draw(2, 7, 6, 5, seed=2)
    agree("max_pool_backward", [gradient, which, into, 2, 7, 6, 5, *window], 1, exactly=False)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 16, 8, 8), (3, 40, 1, 1)])
@pytest.mark.parametrize("out", [8, 33, 70])
@pytest.mark.parametrize("biased", [False, True])
def test_the_convolution(
    gpu: ModuleType, shape: tuple[int, int, int, int], out: int, biased: bool
) -> None:
    n, channels, height, width = shape
    x, weight = draw(*shape).double(), draw(out, channels, 3, 3, seed=1).double()
    bias = draw(out, seed=2).double() if biased else None
    expected = F.conv2d(x, weight, bias, padding=1)
    padded = out + -out % 8
    rows = F.pad(weight.permute(2, 3, 1, 0), (0, padded - out)).float().contiguous().to(DEVICE)
    seen = x.permute(0, 2, 3, 1).float().contiguous().to(DEVICE)
    y = unwritten(n, height, width, out).to(DEVICE)
    added = None if bias is None else F.pad(bias, (0, padded - out)).float().to(DEVICE)
    gpu.conv(seen, rows, added, y, n, height, width, channels, out, padded)
    found = y.cpu().permute(0, 3, 1, 2).double()
    assert (found - expected).norm() < 1e-6 * expected.norm()  # as float32, not as TF32


@pytest.mark.parametrize(("wide", "narrow"), [(8, 8), (16, 3), (70, 35)])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("through_eta", [False, True])
@STEPS
def test_the_flexible_layer(
    agree: Callable[..., None],
    wide: int,
    narrow: int,
    constant: bool,
    through_eta: bool,
    steps: int,
) -> None:
    n, pixels, limit = 2, 300, 1.0
    seen = 1 if constant else steps
    selective, pooled = draw(seen, n, pixels, wide), draw(seen, n, pixels, narrow, seed=1)
    gain, offset, start = (draw(wide, seed=k) for k in (2, 3, 4))
    sizes = (steps, n, pixels, wide, narrow, 2.5, limit)  # some η reach the limit
    eta, u = unwritten(steps, n, wide), unwritten(steps, n, pixels, wide)
    inputs = [selective, pooled, gain, offset]
    agree("flex_forward", [*inputs, start, eta, u, *sizes, constant], 2, exactly=False)
    if steps > 1:
        assert (eta.abs() == limit).any()
    gradients = [unwritten(*selective.shape), unwritten(*pooled.shape)]
    back = [draw(*u.shape, seed=5), *inputs, eta, *gradients, *sizes, through_eta, constant]
    agree("flex_backward", back, 2, exactly=False)
