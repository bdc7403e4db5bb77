"""Augmentations of a batch of training images; every image gets its own random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

Augmentation = Literal["shift", "crop", "flip", "cutout"]
SHIFT, CROP, HOLE = 2, 4, 16  # pixels


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image ``(N, C, H, W)`` by up to two pixels; edges are repeated."""
    return _window(x, SHIFT, "replicate", generator)


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """A random crop of each image ``(N, C, H, W)``, padded with four black pixels."""
    return _window(x, CROP, "constant", generator)


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image ``(N, C, H, W)`` left to right with a probability of one half."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Set a square of 16 pixels around a random pixel of each image ``(N, C, H, W)`` to black.

    The square may lie partly outside of the image (DeVries and Taylor, 2017).
    """
    inside = []
    for size in x.shape[-2:]:
        centre = torch.randint(size, (len(x), 1), generator=generator)
        from_start = torch.arange(size) - centre + HOLE // 2
        inside.append((from_start >= 0) & (from_start < HOLE))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0)


def _window(x: Tensor, border: int, mode: str, generator: torch.Generator) -> Tensor:
    n, _, height, width = x.shape
    padded = pad(x, (border,) * 4, mode=mode)
    by = torch.randint(0, 2 * border + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(height) + by[0])[:, :, None]
    columns = (torch.arange(width) + by[1])[:, None, :]
    return padded[torch.arange(n)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)


AUGMENTATIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "shift": shift,
    "crop": crop,
    "flip": flip,
    "cutout": cutout,
}
