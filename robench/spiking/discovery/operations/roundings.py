"""Roundings, and what is made of them: spikes as ``floor(v).clamp(0, 1)``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robench.spiking.discovery.operations.masks import Crossing, Place
from robench.spiking.discovery.operations.torch_names import (
    DIVISIONS,
    RECTIFIERS,
    ROUNDINGS,
    ROUNDINGS_IN_PLACE,
    has_graph,
)


@dataclass(frozen=True, eq=False)
class Rounding:
    """The result of a rounding, which may be cut to a range.

    Attributes:
        value: whole numbers.
        place: where it was rounded.
        name: of the operation, such as ``floor``.
        x: what was rounded, which the network may overwrite later.
        kept: its values, with their graph.
        scale: what x was multiplied with first.
        low: the least value; None if it is not known.
        high: the largest one.
    """

    value: Tensor
    place: Place
    name: str
    x: Tensor
    kept: Tensor
    scale: float
    low: float | None = None
    high: float | None = None

    def cut(self, value: Tensor, low: float | None, high: float | None) -> Rounding:
        """The result of cutting it to a range."""
        lows = [bound for bound in (self.low, low) if bound is not None]
        highs = [bound for bound in (self.high, high) if bound is not None]
        return replace(
            self, value=value, low=max(lows, default=None), high=min(highs, default=None)
        )

    def crossing(self, place: Place) -> Crossing | None:
        """The comparison that it is with two levels; None if it may have more.

        Args:
            place: where it was cut.
        """
        low, high = self.low, self.high
        if low is None or high is None or high - low != 1 or low != int(low):
            return None
        upward = self.name == "ceil" or (self.name == "trunc" and high <= 0)
        level = low + 0.5 if self.name == "round" else low if upward else high
        below = level / self.scale
        return Crossing(place, self.x, below, self.kept - below, rounding=self.place)


_BOUNDS = {"hardtanh": ("min_val", "max_val"), "clamp_max": ("max",)}
"""The names of arguments that are bounds; of other functions, ``min`` and ``max``."""


def range_of(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[float | None, float | None]:
    """The range to which an operation among the rectifiers cuts its first argument."""
    name = RECTIFIERS[func]
    usual: dict[str, Any] = {"relu": {"min": 0}, "relu6": {"min": 0, "max": 6}}.get(name, {})
    if name == "hardtanh":
        usual = {"min": -1, "max": 1}
    elif name in ("maximum", "threshold"):
        args, kwargs = args[:1], {}
    names = _BOUNDS.get(name, ("min", "max"))
    given = dict(zip(names, args[1:], strict=False)) | kwargs
    bounds = usual | {one.partition("_")[0]: value for one, value in given.items()}
    return _number(bounds.get("min")), _number(bounds.get("max"))


def _number(bound: object) -> float | None:
    if isinstance(bound, Tensor):
        return float(bound) if bound.numel() == 1 else None
    return float(bound) if isinstance(bound, int | float) else None


class WithoutRoundings(TorchFunctionMode):
    """Leaves out what rounds something with a graph, so that a network has a derivative."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if args and has_graph(args[0]):
            if func in ROUNDINGS and ROUNDINGS[func] != "bernoulli":
                return args[0] * 1
            if func in ROUNDINGS_IN_PLACE:
                return args[0]
            if func in DIVISIONS and len(args) == 2:
                return torch.true_divide(*args)
        return func(*args, **kwargs)
