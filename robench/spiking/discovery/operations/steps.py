"""Steps without a function of their own: comparisons that become numbers, signs, and rounding.

Rounding gets the straight-through estimator.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from robench.spiking.discovery.operations.choices import Choices
from robench.spiking.discovery.operations.comparisons import Observer
from robench.spiking.discovery.operations.masks import Crossing, Place, here
from robench.spiking.discovery.operations.roundings import Rounding, range_of
from robench.spiking.discovery.operations.torch_names import (
    DIVISIONS,
    LIMITS,
    RECTIFIERS,
    ROUNDINGS,
    ROUNDINGS_IN_PLACE,
    SIGNS,
    SIGNS_IN_PLACE,
    SLOPES,
    has_graph,
)


class Operations(Choices):
    """Shows an observer every step that an operation makes, for one forward pass."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self.signs: dict[int, tuple[Tensor, Crossing]] = {}
        self.rounded: dict[int, Rounding] = {}

    def _step(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not args or not has_graph(args[0]):
            return self._other(func, args, kwargs)
        with torch.no_grad():  # heaviside has no derivative, not even zero
            out = func(*args, **kwargs)
        name = SIGNS[func]
        crossing = Crossing(here(name), args[0], 0.0, args[0] - 0.0)
        found = self.observer.crossed(crossing, out, 2.0 if name == "sign" else 1.0)
        if name == "sign":
            self.signs[id(found)] = found, crossing
        return found

    def _step_in_place(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not args or not has_graph(args[0]):
            return self._other(func, args, kwargs)
        crossing = Crossing(here("sign"), args[0] * 1, 0.0, args[0] * 1)  # it is overwritten
        return self.observer.crossed(crossing, func(*args, **kwargs), 2.0)

    def _rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """A sign without its negative part, which has no gradient where it is negative."""
        first = id(args[0]) if args else 0
        sign, crossing = self.signs.get(first, (None, None))
        if kwargs.get("inplace"):  # which others may hold
            return self._other(func, args, kwargs)
        if first in self.rounded:
            return self._cut(self.rounded[first], func, args, kwargs)
        if sign is None or crossing is None:
            return self._other(func, args, kwargs)
        # for other modes this is no ReLU, but part of a step
        with torch.no_grad(), _disable_current_modes():
            swapped_out = func(-sign, *args[1:], **kwargs)
            out = func(sign.clone(), *args[1:], **kwargs)
            height = torch.where(sign > 0, out - swapped_out, swapped_out - out)
        return self.observer.crossed(crossing, out, height)

    def _cut(self, rounding: Rounding, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """A rounding in a range; with two levels, it is a spike."""
        low, high = range_of(func, args, kwargs)
        cut = rounding.cut(rounding.value, low, high)
        crossing = cut.crossing(here(RECTIFIERS[func]))
        if crossing is None:
            out = self._other(func, args, kwargs)
            self.rounded[id(out)] = cut.cut(out, None, None)
            return out
        # for other modes this is no ReLU, but part of a step
        with torch.no_grad(), _disable_current_modes():
            out = func(args[0].detach().clone(), *args[1:], **kwargs)
        return self.observer.crossed(crossing, out, 1.0)

    def _keep_rounded(self, place: Place, name: str, x: Tensor, out: Tensor, scale: float) -> Any:
        found = self.observer.rounded(place, x, out, scale)
        self.rounded[id(found)] = Rounding(found, place, name, x, x * 1, scale)
        return found

    def _round(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not args or not has_graph(args[0]):
            return self._other(func, args, kwargs)
        with torch.no_grad():
            out = func(*args, **kwargs)
        name, digits = ROUNDINGS[func], kwargs.get("decimals", args[1] if args[1:] else 0)
        if digits or name == "bernoulli":
            return self.observer.rounded(here(name), args[0], out, 1.0)
        return self._keep_rounded(here(name), name, args[0], out, 1.0)

    def _round_in_place(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not args or not has_graph(args[0]):
            return self._other(func, args, kwargs)
        first = args[0] * 1  # a copy, because the rounding overwrites it
        name = ROUNDINGS_IN_PLACE[func].rstrip("_")
        return self._keep_rounded(here(name), name, first, func(*args, **kwargs), 1.0)

    def _divide(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        name = DIVISIONS[func]
        floors = name == "floor_divide" or kwargs.get("rounding_mode")
        if not floors:
            return self._calculate(func, args, kwargs)
        if len(args) != 2 or not has_graph(args[0]) or not isinstance(args[1], int | float):
            return self._other(func, args, kwargs)
        with torch.no_grad():
            out = func(*args, **kwargs)
        if args[1] < 0:
            return self.observer.rounded(here(name), args[0], out, 1 / args[1])
        whole = "trunc" if kwargs.get("rounding_mode") == "trunc" else "floor"
        return self._keep_rounded(here(name), whole, args[0], out, 1 / args[1])

    def _slope(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        out = self._other(func, args, kwargs)
        if not args or not has_graph(args[0]) or not has_graph(out):
            return out
        return self.observer.sloped(here(SLOPES[func]), args[0], out, LIMITS[SLOPES[func]])

    handlers: ClassVar = {
        **Choices.handlers,
        **dict.fromkeys(SIGNS, _step),
        **dict.fromkeys(SIGNS_IN_PLACE, _step_in_place),
        **dict.fromkeys(RECTIFIERS, _rectify),
        **dict.fromkeys(ROUNDINGS, _round),
        **dict.fromkeys(ROUNDINGS_IN_PLACE, _round_in_place),
        **dict.fromkeys(DIVISIONS, _divide),
        **dict.fromkeys(SLOPES, _slope),
    }
