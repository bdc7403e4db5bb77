"""Choices by a comparison: ``where``, ``masked_fill`` and ``spikes[v > 1] = 1``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from robench.spiking.discovery.operations.comparisons import Comparisons, Observer
from robench.spiking.discovery.operations.masks import Mask, fits, here
from robench.spiking.discovery.operations.torch_names import CHOICES, FILLS, has_graph, is_flat
from robench.spiking.discovery.resets import is_membrane

SAME = 1e-4
"""Rises that differ by less than this part of them are one, but for rounding."""


class _Choice(NamedTuple):
    """A choice: its name, both values and their nodes, and the id of the tensor it changes."""

    name: str
    chosen: Any
    other: Any
    then: Any
    otherwise: Any
    base: int


class _Overwritten(NamedTuple):
    """Neurons that were set to a constant where a mask is true.

    ``other`` is what they were before, or the constant if this was no step.
    """

    tensor: Tensor
    where: Tensor
    value: Any
    other: Any


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
            return self._numbers(mask, out, difference) if self._fits(mask, out) else out
        then, otherwise = (getattr(value, "grad_fn", None) for value in args[1:])
        choice = _Choice("where", args[1], args[2], then, otherwise, id(args[2]))
        self._add_step(mask, out, choice)
        return out

    def _fill(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if len(args) == 3 and isinstance(args[0], Tensor) and args[0].is_floating_point():
            args = (*args[:2], self._as_numbers(args[2], args[0].dtype))
        mask = self._mask(args[1]) if len(args) == 3 else None
        if mask is None:
            return self._written(func, args, kwargs)
        # the network may write it in place
        before, base, node = args[0].detach().clone(), id(args[0]), args[0].grad_fn
        out = func(*args, **kwargs)
        filled = args[0] if out is None else out  # __setitem__ returns nothing
        if not filled.is_floating_point():
            self._keep_numbers(mask, filled, args[2], before)
            return out
        if not filled.requires_grad:
            if not self._placed(FILLS[func], mask, filled):
                self.observer.lost(mask.crossing.place)
            else:
                rise = _rise(FILLS[func], mask, args[2], before, filled)
                found = self._numbers(mask, filled, rise)
                return None if out is None else found
            return out
        written = getattr(args[2], "grad_fn", None)
        self._add_step(mask, filled, _Choice(FILLS[func], args[2], before, written, node, base))
        return out

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

    def _placed(self, name: str, mask: Mask, out: Tensor) -> bool:
        """Whether a mask has a place for each neuron of what is chosen, which can be followed."""
        if name == "__setitem__" and mask.value.shape != out.shape:  # a mask of rows
            return False
        return mask.followed and fits(mask.crossing.z, out)

    def _add_step(self, mask: Mask, out: Tensor, choice: _Choice) -> None:
        """Add zeros with the graph of a step to a choice that has a graph.

        What has a graph has its own gradient, as in a hand-written ReLU, but without that of the
        step, where it steps. That a membrane is reset where it spikes needs none.
        """
        chosen, other = choice.chosen, choice.other
        crossing, placed = mask.crossing, self._placed(choice.name, mask, out)
        if not (is_flat(chosen) and is_flat(other)):
            earlier = self.overwritten.get(choice.base)
            if earlier is not None and torch.equal(mask.value, ~earlier.where):
                other = torch.where(earlier.where, earlier.other, earlier.value)
            else:
                crossing = replace(crossing, place=here(choice.name), choice=True)
                seen = placed and not _is_reset(mask, choice)
                seen = seen and self.observer.chooses(crossing.place)
                if is_flat(chosen):
                    before = other if seen else chosen
                    self.overwritten[id(out)] = _Overwritten(out, mask.value, chosen, before)
                if not seen:
                    return
        if not placed:
            self.observer.lost(crossing.place)
            return
        height = _rise(choice.name, mask, chosen, other, out) * mask.height
        for step, sign in ((crossing, 1.0), *mask.also):
            self._add_to(out, step, height * sign)

    handlers: ClassVar = {
        **Comparisons.handlers,
        **dict.fromkeys(CHOICES, _choose),
        **dict.fromkeys(FILLS, _fill),
    }


def _difference(chosen: Any, other: Any, out: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(chosen - other, dtype=out.dtype, device=out.device)


def _rise(name: str, mask: Mask, chosen: Any, other: Any, out: Tensor) -> Tensor:
    """By how much what is chosen is larger than the other value, for each neuron.

    With ``count[v > 1] += 1`` what is chosen has a value for each place that is filled alone.
    """
    if not (name == "__setitem__" and isinstance(chosen, Tensor) and chosen.dim()):
        return _difference(chosen, other, out)
    rises = _difference(out.detach(), other, out)
    filled = rises[mask.value]
    if filled.numel() and float(filled.max() - filled.min()) <= SAME * float(filled.abs().max()):
        return filled.mean()
    if filled.numel() and is_flat(chosen):
        return _difference(chosen.flatten()[0], other, out)
    return rises


def _is_reset(mask: Mask, choice: _Choice) -> bool:
    """Whether a choice leaves the membrane as it is where it is below the threshold."""
    of = mask.crossing
    rising = bool(torch.as_tensor(mask.height).flatten()[0] > 0) == has_graph(of.above)
    return is_membrane(choice.otherwise if rising else choice.then, of.z.grad_fn)
