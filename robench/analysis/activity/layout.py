"""Which part of a tensor belongs to which image of a batch, found by forward passes.

A network may have its time steps before the images, after them, or among them in the batch. A pass
with two images, one with another second image and one with three show which axis is that of the
images, and which of its rows belong to the second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PROBED = 3
"""Images that are needed."""


@dataclass(frozen=True)
class Layout:
    """The axis of the images of a tensor.

    Attributes:
        axis: None if the tensor does not depend on the number of images.
        times: rows of an image along the axis.
        together: whether the rows of an image are neighbours; else time is the slower one.
    """

    axis: int | None
    times: int = 1
    together: bool = False

    def rows(self, values: Tensor, images: int) -> Tensor:
        """A tensor as ``(times, N, …)``; of a tensor without images every image has all of it."""
        if self.axis is None:
            return values[None, None].expand(1, images, *values.shape)
        if self.axis == 1 and self.times == 1 and values.dim() > 2:
            return values  # time first; of two axes the first is that of the neurons
        moved = values.movedim(self.axis, 0)
        if self.together:
            return moved.reshape(images, self.times, *moved.shape[1:]).transpose(0, 1)
        return moved.reshape(self.times, images, *moved.shape[1:])

    def sums(self, values: Tensor, images: int) -> Tensor:
        """The sum of each image's values, ``(N,)``."""
        if self.axis is None:
            return (values.sum() / images).expand(images)
        rows = self.rows(values, images)
        return rows.reshape(*rows.shape[:2], -1).sum((0, 2))


def layouts(
    first: Sequence[Tensor], second: Sequence[Tensor], three: Sequence[Tensor]
) -> list[Layout] | None:
    """The layouts of the tensors of a forward pass; None if the passes do not correspond.

    Args:
        first: of a pass with two images.
        second: of a pass with the same first image and another second one.
        three: of a pass with three images.
    """
    if not len(first) == len(second) == len(three):
        return None
    found = [_layout(*tensors) for tensors in zip(first, second, three, strict=True)]
    return None if None in found else [layout for layout in found if layout is not None]


def _layout(a: Tensor, b: Tensor, c: Tensor) -> Layout | None:
    if a.shape != b.shape or a.dim() != c.dim():
        return None
    axes = [k for k in range(a.dim()) if a.shape[k] != c.shape[k]]
    if not axes:
        return Layout(None) if torch.equal(a, b) else None
    axis = axes[0]
    times, rest = divmod(a.shape[axis], 2)
    if len(axes) > 1 or rest or c.shape[axis] != 3 * times:
        return None
    changed = (a != b).movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
    if times == 1 or bool((changed % 2 == 1).all()):
        return Layout(axis, times) if bool((changed % 2 == 1).all()) else None
    return Layout(axis, times, together=True) if bool((changed >= times).all()) else None
