"""The lower bound of dense convolution: a network's convolutions alone, forward and backward.

There is no batch norm, neuron or pooling, and the backward pass has only the gradient of the input.
The first convolution has a constant input and is computed once, not once for each step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from performance.peers.plan import VGG16
from performance.timing import interleaved, median, seconds
from robench.architectures import ModelConfig

MICRO_BATCH = 16
"""Images whose responses stay in the cache better than those of a whole batch."""
EMULATED = 4
"""A type that takes this many times as long is emulated by the CPU and measured once."""


def shapes(config: ModelConfig) -> list[tuple[int, int, int]]:
    """In and out channels and the side of the image, convolution by convolution."""
    found = []
    channels, side = len(config.mean), 32
    for size in VGG16:
        if isinstance(size, str):
            side //= 2
            continue
        width = max(1, round(size * config.width))
        found.append((channels, width, side))
        channels = width
    return found


def membranes_mb(config: ModelConfig, batch: int) -> float:
    """MiB of one float32 number for each neuron, step and image."""
    neurons = sum(width * side * side for _, width, side in shapes(config))
    return 4 * neurons * (config.timesteps or 1) * batch / 2**20


def bound_ms(config: ModelConfig, batch: int, repetitions: int) -> dict[str, float]:
    """Milliseconds of a step's convolutions by layout, micro-batch and type."""
    found: dict[str, float] = {}
    for dtype in ("float32", "bfloat16"):
        steps = {
            f"{dtype}, {layout}, {rows} images": _work(config, batch, rows, dtype, layout)
            for layout in ("NHWC", "NCHW")
            for rows in sorted({batch, min(MICRO_BATCH, batch)})
        }
        name = next(iter(steps))
        once = 1e3 * seconds(steps[name])
        if found and once > EMULATED * min(found.values()):
            found[name] = once
            continue
        times = interleaved(steps, repetitions, warm_up=1)
        found |= {name: 1e3 * median(values) for name, values in times.items()}
    return found


def _work(
    config: ModelConfig, batch: int, rows: int, dtype: str, layout: str
) -> Callable[[], None]:
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    memory = torch.channels_last if layout == "NHWC" else torch.contiguous_format
    work = []
    for number, (inputs, outputs, side) in enumerate(shapes(config)):
        frames = rows * ((config.timesteps or 1) if number else 1)
        x = torch.rand(frames, inputs, side, side, dtype=kind).to(memory_format=memory)
        weight = torch.rand(outputs, inputs, 3, 3, dtype=kind).to(memory_format=memory)
        gradient = torch.rand(frames, outputs, side, side, dtype=kind).to(memory_format=memory)
        work.append((x, weight, gradient))

    def run() -> None:
        with torch.no_grad():
            for _ in range(-(-batch // rows)):
                for x, weight, _ in work:
                    F.conv2d(x, weight, padding=1)
                for x, weight, gradient in reversed(work):
                    _backward(gradient, x, weight)

    return run


def _backward(gradient: Tensor, x: Tensor, weight: Tensor) -> None:
    wanted = [True, False, False]  # of input, weight and bias
    torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
    )
