"""Comparisons that become numbers, as the spikes of a hand-written neuron do.

Such a neuron may spike by ``(v > threshold).float()``, which has no gradient at all. The mode
follows the result of a comparison of something with a graph to the operation that makes numbers of
it, and gives these the graph of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robench.spiking.discovery.operations.masks import Crossing, Mask, Place, fits, here
from robench.spiking.discovery.operations.torch_names import (
    ARITHMETIC,
    CASTS,
    COMPARISONS,
    CONJUNCTIONS,
    COPIES,
    HARMLESS,
    IN_PLACE,
    INTEGERS,
    LOGIC,
    MOVES,
    NEGATIONS,
    OVERWRITING,
    PRODUCTS,
    has_graph,
    positional,
)


class Observer(Protocol):
    """What is done with a step that an operation makes."""

    def crossed(self, crossing: Crossing, out: Tensor, height: Tensor | float) -> Tensor:
        """``out``, which is ``height`` larger where a comparison is true, with another graph."""
        ...

    def chooses(self, place: Place) -> bool:
        """Whether a choice by a comparison, other than between constants, is shown as a step."""
        ...

    def rounded(self, place: Place, z: Tensor, out: Tensor, scale: float) -> Tensor:
        """``out``, which is z quantised and times ``scale``, with another graph."""
        ...

    def sloped(self, place: Place, z: Tensor, out: Tensor, limits: tuple[float, float]) -> Tensor:
        """``out``, which rises with z between two limits, also with another graph."""
        ...

    def lost(self, place: Place) -> None:
        """A comparison became numbers in a way that is not followed."""
        ...


class Comparisons(TorchFunctionMode):
    """Shows an observer every comparison that becomes numbers, for one forward pass.

    A network gets from every operation what it gets without the mode, to the bit.
    """

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self.observer = observer
        # by the id of a tensor, which is kept, so that its id is not used again
        self.masks: dict[int, Mask] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():  # also inside of a custom function
            return func(*args, **kwargs)
        handler = self.handlers.get(func)
        if handler is None:
            return self._other(func, args, kwargs)
        return handler(self, func, *positional(args, kwargs))

    def _mask(self, value: object) -> Mask | None:
        """The mask that a tensor is."""
        return self.masks.get(id(value))

    def _first(self, values: Any) -> Mask | None:
        """The first mask among some values; one that is followed, if there is any."""
        found = [mask for mask in map(self._mask, values) if mask is not None]
        return next((mask for mask in found if mask.followed), found[0] if found else None)

    def _keep(self, mask: Mask) -> None:
        self.masks[id(mask.value)] = mask

    def _other(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An operation that makes no step, unless it makes numbers of a comparison."""
        out = func(*args, **kwargs)
        if self.masks:
            given = (*args, *kwargs.values())
            lists = [arg if isinstance(arg, list | tuple) else (arg,) for arg in given]
            mask = self._first(part for parts in lists for part in parts)
            if mask is not None:
                for part in out if isinstance(out, list | tuple) else (out,):
                    if isinstance(part, Tensor):
                        self._unknown(func, mask, part)
        return out

    def _unknown(self, func: Any, mask: Mask, out: Tensor) -> None:
        """What is not followed: it is lost as soon as it is numbers."""
        if not out.is_floating_point():
            self._keep(mask.lost(out))
        elif getattr(func, "__name__", "") not in HARMLESS:
            self.observer.lost(mask.crossing.place)

    def _fits(self, mask: Mask | None, out: object) -> bool:
        """Whether numbers of a comparison can be followed; else they are lost."""
        if mask is None or not isinstance(out, Tensor):
            return False
        if mask.followed and fits(mask.crossing.z, out):
            return True
        self.observer.lost(mask.crossing.place)
        return False

    def _compare(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if len(args) != 2 or not any(map(has_graph, args)):
            return self._other(func, args, kwargs)
        out = func(*args, **kwargs)
        if isinstance(out, Tensor):
            self._keep(Mask(out, _crossing(COMPARISONS[func], *args), out))
        return out

    def _compare_in_place(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if len(args) != 2 or not any(map(has_graph, args)):
            return func(*args, **kwargs)
        # a copy, because the comparison overwrites what it compares
        first = args[0] * 1
        crossing = _crossing(IN_PLACE[func], first, args[1])
        return self.observer.crossed(crossing, func(*args, **kwargs), 1.0)

    def _carry(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An operation on each neuron of a mask alone."""
        mask = self._first(args)
        if mask is None:
            return func(*args, **kwargs)
        same = func in COPIES or (func in INTEGERS and mask.value.dtype == torch.bool)
        joins = func in CONJUNCTIONS or (
            func in PRODUCTS
            and all(isinstance(arg, Tensor) and arg.dtype == torch.bool for arg in args)
        )
        if func in OVERWRITING and args[0] is not mask.value:  # a counter, which is written once
            return func(*args, **kwargs)
        alone = joins or all(m is None or m is mask for m in map(self._mask, args))
        if not (mask.followed and alone) or "out" in kwargs:
            return self._other(func, args, kwargs)
        if same or joins or func in NEGATIONS:
            out = func(*args, **kwargs)
        else:
            swapped_out = func(*mask.swapped(args), **kwargs)
            out = func(*args, **kwargs)
        if not isinstance(out, Tensor):
            return out
        if out.is_floating_point():
            self._unknown(func, mask, out)
        elif same:
            self._keep(replace(mask, value=out))
        elif func in NEGATIONS:
            self._keep(replace(mask, value=out, height=-mask.height))
        else:
            others = [other for other in map(self._mask, args) if other not in (None, mask)]
            self._keep(mask.joined(out, others) if joins else mask.after(out, swapped_out))
        return out

    def _move(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An operation that moves, repeats or selects neurons."""
        mask = self._mask(args[0]) if args else None
        if mask is None or not mask.followed:
            return self._other(func, args, kwargs)
        out = func(*args, **kwargs)
        try:
            for moved in mask.moved(out, func, args[1:], kwargs):
                self._keep(moved)
        except RuntimeError:  # a view that only the mask has
            self._keep(mask.lost(out))
        return out

    def _cast(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask = self._mask(args[0]) if args else None
        if mask is None or not mask.followed:
            return self._other(func, args, kwargs)
        out = func(*args, **kwargs)
        if out.is_floating_point():
            return self._numbers(mask, out) if self._fits(mask, out) else out
        if mask.value.dtype == torch.bool:
            self._keep(replace(mask, value=out))
        else:
            self._keep(mask.after(out, func(*mask.swapped(args), **kwargs)))
        return out

    def _numbers(self, mask: Mask, out: Tensor, rise: Tensor | float = 1.0) -> Tensor:
        """A mask as numbers, or a choice by it, with the graph of the step of each comparison."""
        height = rise * mask.height
        found = self.observer.crossed(mask.crossing, out, height)
        for other, sign in mask.also:
            self._add_to(found, other, height * sign)
        return found

    def _add_to(self, out: Tensor, crossing: Crossing, height: Tensor | float) -> None:
        """Add zeros with the graph of a step."""
        zeros = torch.full_like(out, -0.0, requires_grad=False)  # no sign of a zero changes
        step = self.observer.crossed(crossing, zeros, height)
        if step.requires_grad:
            out.add_(step)

    def _calculate(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Arithmetic with a comparison, which becomes numbers."""
        if self._first(args) is None:
            return func(*args, **kwargs)
        types = [a.dtype for a in args if isinstance(a, Tensor) and a.is_floating_point()]
        if not types and any(isinstance(a, float) for a in args):
            types = [torch.get_default_dtype()]
        if not types:  # of two comparisons, or with a whole number
            return self._carry(func, args, kwargs)
        return func(*(self._as_numbers(arg, types[0]) for arg in args), **kwargs)

    def _as_numbers(self, arg: Any, dtype: torch.dtype) -> Any:
        """A comparison as numbers."""
        mask = self._mask(arg)
        if mask is None or not self._fits(mask, arg):
            return arg
        return self._numbers(mask, arg.to(dtype))

    handlers: ClassVar[Mapping[Any, Callable[[Any, Any, Any, dict[str, Any]], Any]]] = {
        **dict.fromkeys(COMPARISONS, _compare),
        **dict.fromkeys((*INTEGERS, *COPIES, *NEGATIONS, *LOGIC, *CONJUNCTIONS), _carry),
        **dict.fromkeys(MOVES, _move),
        **dict.fromkeys(CASTS, _cast),
        **dict.fromkeys(ARITHMETIC, _calculate),
        **dict.fromkeys(IN_PLACE, _compare_in_place),
    }


def _crossing(operation: str, first: Any, second: Any) -> Crossing:
    above, below = (first, second) if operation[:2] in ("gt", "ge") else (second, first)
    z = torch.as_tensor(above - below)
    place = here(operation.rstrip("_"))
    return Crossing(place, above, below, z, reached=operation[1] == "e")
