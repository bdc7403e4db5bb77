"""Whether a smooth function between two limits is as steep as a step."""

from __future__ import annotations

from torch import Tensor

from robench.spiking.discovery.classify import LEAST

END = 0.02
"""The part of the range that counts as a limit."""
MOST, RAREST = 0.9, 0.02
"""The share of values at the limits from which on it is a step, and the share at each of them."""


class LimitCounts:
    """Counts the values of the calls of a function."""

    def __init__(self) -> None:
        self.low = self.high = self.values = 0

    def add(self, out: Tensor, limits: tuple[float, float]) -> None:
        """Add a call.

        Args:
            out: its output.
            limits: the least and the largest possible value.
        """
        part = (out.detach() - limits[0]) / (limits[1] - limits[0])
        self.low += int((part < END).sum())
        self.high += int((part > 1 - END).sum())
        self.values += part.numel()

    @property
    def steep(self) -> bool:
        """Whether nearly all values lie at the limits, some of them at either."""
        rarest = min(self.low, self.high) >= RAREST * self.values
        return self.values >= LEAST and rarest and self.low + self.high >= MOST * self.values
