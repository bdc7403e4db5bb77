"""A chunk: the samples that are swept together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.errors import EvaluationError


@dataclass
class Chunk:
    """The samples of a chunk.

    Attributes:
        x: images in [0, 1], ``(N, C, H, W)``, or frames, ``(N, T, C, H, W)``.
        y: labels, ``(N,)``.
        indices: index of each in the data set's test images.
        shared: whether one perturbation, ``(N, C, H, W)``, is added to all frames.

    Raises:
        EvaluationError: a pixel lies outside [0, 1].
    """

    x: Tensor
    y: Tensor
    indices: Sequence[int]
    shared: bool = False

    def __post_init__(self) -> None:
        if len(self.x) and not (self.x.amin() >= 0 and self.x.amax() <= 1):  # NaN is neither
            raise EvaluationError("the images do not lie in [0, 1]; divide pixels by 255")


def batches(samples: Tensor, size: int) -> list[Tensor]:
    """Samples in parts of a size; no samples give no part: a model may reject an empty batch."""
    return [part for part in torch.split(samples, size) if len(part)]
