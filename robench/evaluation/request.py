"""The settings of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from robench.datasets import Split
from robench.engine.search import SweepName
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.evaluation.grids import NamedGrid
from robench.results import Thoroughness


@dataclass(frozen=True)
class Request:
    """The settings that a user gives for all cells of a run.

    Attributes:
        eps: the ε to attack at, or None for those of ``grid``.
        grid: a named grid, or None for that of the data set's protocol.
        limit: how many images, see :func:`~robench.evaluation.read_slice`; None for the protocol's.
        timesteps: T, or None for the T of each card.
        seed: of the random numbers.
        sweep: see :class:`~robench.evaluation.cell.Settings`, like ``reference``.
        batch_size: rows of one call, or None to choose it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        examples: whether to store the adversarial examples.
        split: of the images; results on training images are for tuning and are not published.
        eot: number of draws that a gradient of a stochastic model is averaged over, or None for
            the default.
        checks: ``cheap``, ``full`` with those that attack a part of the images again, or ``off``.

    Raises:
        UsageError: the seed is negative, T or the number of draws is below 1, or ``checks`` is none
            of the three.
    """

    eps: tuple[Epsilon, ...] | None = None
    grid: NamedGrid | None = None
    limit: str | None = None
    timesteps: int | None = None
    seed: int = 0
    sweep: SweepName = "fast"
    reference: bool = False
    batch_size: int | None = None
    device: str = "auto"
    examples: bool = False
    split: Split = "test"
    eot: int | None = None
    checks: Thoroughness = "cheap"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: a seed is an integer from 0")
        if self.timesteps is not None and self.timesteps < 1:
            raise UsageError(f"timesteps {self.timesteps}: a spiking network needs at least 1")
        if self.eot is not None and self.eot < 1:
            raise UsageError(f"eot {self.eot}: a gradient needs at least 1 draw")
        if self.checks not in get_args(Thoroughness):
            raise UsageError(f"checks={self.checks!r}: give cheap, full or off")
