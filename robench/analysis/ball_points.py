"""Points of the ball of an image: inner ones, and corners of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robench.engine.sample_noise import SampleNoise

SIDES = (1, 2, 4, 8)
"""Sides of the squares of equal sign of a corner, in pixels. Noise of single pixels averages out in
some networks, and then no such corner can be separated from the inner points."""


def inner_points(
    x: Tensor, noise: SampleNoise, radius: float, count: int, batch: int
) -> Iterator[Tensor]:
    """Inner points of an image beside itself, corners of smaller balls, in batches."""
    for first in range(1, count, batch):
        yield corners(x, noise, "planted inner", radius, range(first, min(first + batch, count)))


def corners(
    x: Tensor, noise: SampleNoise, stream: str, epsilon: float, draws: Sequence[int]
) -> Tensor:
    """Corners of the ball of an image, ``(n, C, H, W)``, with squares of each side in turn."""
    height, width = noise.shape[-2:]
    signs = []
    for draw in draws:
        side = SIDES[draw % len(SIDES)]
        coarse = noise(stream, draw, (*noise.shape[:-2], -(-height // side), -(-width // side)))
        fine = coarse.repeat_interleave(side, -2).repeat_interleave(side, -1)
        signs.append(fine[..., :height, :width] - 0.5)
    return (x + epsilon * torch.cat(signs).sign()).clamp(0, 1)


def apart(x: Tensor, distance: float) -> list[int]:
    """The images that are further than a distance in L∞ from all that were taken before."""
    flat, taken = x.flatten(1), list[int]()
    for row in range(len(x)):
        if not taken or (flat[taken] - flat[row]).abs().amax(1).min() > distance:
            taken.append(row)
    return taken
