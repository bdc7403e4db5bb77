"""The loss of a model on images, and numbers for a summary."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from robench.engine.evaluation_draws import Draws
from robench.errors import UsageError
from robench.evaluation import prepare
from robench.registry import Model
from robench.results.metrics import bootstrap
from robench.runtime.batch_size import MOST_ROWS
from robench.runtime.threads import Workers
from robench.spiking import bound


class Losses(NamedTuple):
    """The loss of each image, and whether it is classified rightly.

    Attributes:
        values: cross-entropy in nats, ``(N,)``; may be infinite or NaN.
        right: ``(N,)``.
    """

    values: NDArray[np.float64]
    right: NDArray[np.bool_]


@contextmanager
def at_speed(model: Model, x: Tensor) -> Iterator[Workers]:
    """Inside, a model computes its layers as in a cell of an attack.

    Args:
        model: on its device.
        x: typical images, ``(N, C, H, W)``.
    """
    with Workers(shared=model.shareable and model.device.type == "cpu") as workers:
        prepare(model, x)
        workers.allow(MOST_ROWS[model.device.type])
        yield workers


def losses(
    model: Model, x: Tensor, y: Tensor, index: NDArray[np.int64], workers: Workers
) -> Losses:
    """The losses of a model, which is on its device; of a stochastic one, with its first draw.

    Args:
        model: in evaluation mode.
        x: images, ``(N, C, H, W)``.
        y: true labels, ``(N,)``.
        index: of each image's sample in the data set, ``(N,)``: its random numbers.
        workers: of :func:`at_speed`.
    """
    draws = Draws(dataset=model.dataset, indices=index.tolist())

    def part(some: slice) -> Tensor:
        rows = torch.arange(len(x))[some]
        with torch.no_grad(), bound(draws.for_evaluation(rows)[0]):
            return model.logits(x[some].to(model.device)).double().cpu()

    logits = torch.cat(workers.map(part, len(x)))
    values = cross_entropy(logits, y, reduction="none")
    return Losses(values.numpy(), (logits.argmax(1) == y).numpy())


def axis(points: int) -> NDArray[np.float64]:
    """The coordinates of a surface, from −1 to 1 and with 0 exactly in the middle.

    Raises:
        UsageError: the number is even, or below 3.
    """
    if points < 3 or points % 2 == 0:
        raise UsageError(
            f"{points} points: give an odd number from 3, so that the model itself is in the middle"
        )
    half = points // 2
    return np.arange(-half, half + 1) / half


def finite(value: float) -> float | None:
    """A number for a summary; None if it is infinite or NaN."""
    return float(value) if math.isfinite(value) else None


def mean(values: NDArray[np.float64]) -> dict[str, float | None]:
    """The mean of values, with its bootstrap interval."""
    if not np.isfinite(values).all():
        return {"value": None, "low": None, "high": None}
    interval = bootstrap(values)
    return {"value": float(values.mean()), "low": interval.low, "high": interval.high}
