"""Choices by a comparison: ``where``, ``masked_fill`` and ``spikes[v > 1] = 1``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from robench.spiking.discovery.operations.comparisons import Comparisons, Observer
from robench.spiking.discovery.operations.masks import Mask
from robench.spiking.discovery.operations.torch_names import CHOICES, FILLS, is_flat


class _Overwritten(NamedTuple):
    """A tensor whose neurons were set to a constant where a mask is true."""

    tensor: Tensor
    where: Tensor
    value: Any


class Choices(Comparisons):
    """Shows an observer also the comparisons that choose between two values."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self.overwritten: dict[int, _Overwritten] = {}

    def _choose(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is Tensor.where and len(args) == 3:
            func, args = torch.where, (args[1], args[0], args[2])
        mask = self._mask(args[0]) if len(args) == 3 else None
        if mask is None or self._first(args[1:]) is not None:
            return self._other(func, args, kwargs)
        out = func(*args, **kwargs)
        if not out.is_floating_point():
            self._keep_numbers(mask, out, args[1], args[2])
            return out
        if not out.requires_grad:
            difference = _difference(args[1], args[2], out)
            return self._chosen(mask, out, difference) if self._fits(mask, out) else out
        step = self._step_beside(mask, out, args[1], args[2])
        return out if step is None else out + step

    def _fill(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if len(args) == 3 and isinstance(args[0], Tensor) and args[0].is_floating_point():
            args = (*args[:2], self._as_numbers(args[2], args[0].dtype))
        mask = self._mask(args[1]) if len(args) == 3 else None
        if mask is None:
            return self._written(func, args, kwargs)
        before, base = args[0].detach().clone(), id(args[0])
        out = func(*args, **kwargs)
        filled = args[0] if out is None else out  # __setitem__ returns nothing
        if not filled.is_floating_point():
            self._keep_numbers(mask, filled, args[2], before)
            return out
        if not filled.requires_grad:
            if self._fits(mask, filled):
                flat = is_flat(args[2])
                difference = _difference(args[2], before, filled) if flat else filled - before
                found = self._chosen(mask, filled, difference)
                return None if out is None else found
            return out
        step = self._step_beside(mask, filled, args[2], before, base)
        if step is None:
            return out
        if out is None:
            filled.add_(step)
            return None
        return filled + step

    def _written(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Booleans that get a mask, or numbers at places that have one among them: it is lost."""
        out = func(*args, **kwargs)
        filled = args[0] if out is None else out
        if isinstance(filled, Tensor) and len(args) == 3:
            value, places = self._mask(args[2]), args[1] if isinstance(args[1], tuple) else ()
            place = self._first(places)
            if value is not None and not filled.is_floating_point():
                self._keep(value.lost(filled))
            elif place is not None and filled.is_floating_point() and not filled.requires_grad:
                self.observer.lost(place.crossing.place)
        return out

    def _keep_numbers(self, mask: Mask, out: Tensor, chosen: Any, other: Any) -> None:
        """A choice between two whole numbers is a mask; a counter, say, is none."""
        flat = is_flat(chosen) and is_flat(other) and not isinstance(mask.height, Tensor)
        if flat and mask.followed and out.shape == mask.true.shape and out.numel():
            rise = _difference(chosen, other, out).flatten()[0]
            self._keep(replace(mask, value=out, height=float(rise) * mask.height))

    def _chosen(self, mask: Mask, out: Tensor, difference: Tensor) -> Tensor:
        """A choice by a mask, with the graph of a step."""
        return self.observer.crossed(mask.crossing, out, difference * mask.height)

    def _step_beside(
        self, mask: Mask, out: Tensor, chosen: Any, other: Any, base: int = 0
    ) -> Tensor | None:
        """Zeros with the graph of a step, for a choice between two constants with a graph.

        A choice that depends on the input, as in a hand-written ReLU, has its own gradient; but not
        if two masks that complete each other set all neurons to constants, one after the other.
        """
        if not is_flat(chosen):
            return None
        if not is_flat(other):
            earlier = self.overwritten.get(base or id(other))
            if earlier is None or not torch.equal(mask.value, ~earlier.where):
                self.overwritten[id(out)] = _Overwritten(out, mask.value, chosen)
                return None
            other = earlier.value
        if not self._fits(mask, out):
            return None
        zeros = torch.zeros_like(out, requires_grad=False)
        return self._chosen(mask, zeros, _difference(chosen, other, out))

    handlers: ClassVar = {
        **Comparisons.handlers,
        **dict.fromkeys(CHOICES, _choose),
        **dict.fromkeys(FILLS, _fill),
    }


def _difference(chosen: Any, other: Any, out: Tensor) -> Tensor:
    with torch.no_grad():
        if isinstance(chosen, Tensor) and chosen.shape != out.shape and is_flat(chosen):
            chosen = chosen.flatten()[:1]  # a value for each place that is filled
        return torch.as_tensor(chosen - other, dtype=out.dtype, device=out.device)
