"""Steps without a function of their own: comparisons that become numbers, and rounding.

A hand-written neuron may spike by ``(v > threshold).float()``, which has no gradient at all. The
mode follows the result of a comparison of something with a graph to the operation that makes
numbers of it, and gives these the graph of a step. Rounding gets the straight-through estimator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robench.spiking.discovery.torch_names import (
    ARITHMETIC,
    CARRIERS,
    CASTS,
    CHOICES,
    COMPARISONS,
    CONJUNCTIONS,
    DIVISIONS,
    FILLS,
    HARMLESS,
    IN_PLACE,
    NEGATIONS,
    ROUNDINGS,
    ROUNDINGS_IN_PLACE,
    SIGNS,
    has_graph,
    is_flat,
    positional,
)

_NOT_THE_NETWORK = str(Path(torch.__file__).parent), str(Path(__file__).parent)


class Place(NamedTuple):
    """Where in the code an operation is."""

    file: str
    line: int
    operation: str

    def __str__(self) -> str:
        return f"{self.operation} in {Path(self.file).name}:{self.line}"


@dataclass(frozen=True)
class Crossing:
    """A comparison of something with a graph: true where ``sign·(above − below)`` is positive."""

    place: Place
    above: Tensor | float
    below: Tensor | float
    sign: int = 1

    def distance(self) -> Tensor:
        """z, with its graph."""
        return torch.as_tensor(self.above - self.below)


class Observer(Protocol):
    """What is done with a step that an operation makes."""

    def crossed(self, crossing: Crossing, out: Tensor, height: Tensor | float) -> Tensor:
        """``out``, which is ``height`` larger where a comparison is true, with another graph."""
        ...

    def rounded(self, place: Place, z: Tensor, out: Tensor, scale: float) -> Tensor:
        """``out``, which is z quantised and times ``scale``, with another graph."""
        ...

    def lost(self, place: Place) -> None:
        """A comparison became numbers in a way that is not followed."""
        ...


class Operations(TorchFunctionMode):
    """Shows an observer every step that an operation makes, for one forward pass.

    A network gets from every operation what it gets without the mode, to the bit.
    """

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self.observer = observer
        self.known: dict[int, tuple[Tensor, Crossing]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():  # also inside of a custom function
            return func(*args, **kwargs)
        handler = _HANDLERS.get(func)
        if handler is None:
            return self._other(func, args, kwargs)
        return handler(self, func, *positional(args, kwargs))

    def _crossing_of(self, value: object) -> Crossing | None:
        """The comparison that a tensor is the result of."""
        return self.known.get(id(value), (None, None))[1]

    def _keep(self, out: Any, crossing: Crossing) -> None:
        self.known[id(out)] = out, crossing  # the tensor is kept, so that its id is not used again

    def _other(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An operation that makes no step, unless it makes numbers of a comparison."""
        out = func(*args, **kwargs)
        followed = getattr(func, "__name__", "") not in HARMLESS
        if self.known and isinstance(out, Tensor) and followed:
            lists = [arg if isinstance(arg, list | tuple) else (arg,) for arg in args]
            given = [part for parts in lists for part in parts]
            known = next(filter(None, map(self._crossing_of, given)), None)
            if known is not None and out.dtype == torch.bool:
                self._keep(out, known)
            elif known is not None:
                self.observer.lost(known.place)
        return out

    def _fits(self, known: Crossing | None, out: object) -> bool:
        """Whether numbers of a comparison can be followed; else they are lost."""
        if known is None or not isinstance(out, Tensor):
            return False
        if out.shape == known.distance().shape:
            return True
        self.observer.lost(known.place)
        return False

    def _compare(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        if len(args) == 2 and isinstance(out, Tensor) and any(map(has_graph, args)):
            self._keep(out, _crossing(COMPARISONS[func], *args))
        return out

    def _compare_in_place(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if len(args) != 2 or not any(map(has_graph, args)):
            return func(*args, **kwargs)
        # a copy, because the comparison overwrites what it compares
        first = args[0] * 1
        crossing = _crossing(IN_PLACE[func], first, args[1])
        return self.observer.crossed(crossing, func(*args, **kwargs), 1.0)

    def _carry(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        known = next(filter(None, map(self._crossing_of, args)), None)
        if known is not None and isinstance(out, Tensor) and not out.is_floating_point():
            sign = -known.sign if func in NEGATIONS else known.sign
            self._keep(out, Crossing(known.place, known.above, known.below, sign))
        return out

    def _cast(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        known = self._crossing_of(args[0]) if args else None
        if known is None or not isinstance(out, Tensor):
            return out
        if not out.is_floating_point():
            self._keep(out, known)
            return out
        return self.observer.crossed(known, out, 1.0) if self._fits(known, out) else out

    def _calculate(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Arithmetic with a comparison, which becomes numbers."""
        if not any(map(self._crossing_of, args)):
            return func(*args, **kwargs)
        types = [a.dtype for a in args if isinstance(a, Tensor) and a.is_floating_point()]
        if not types and any(isinstance(a, float) for a in args):
            types = [torch.get_default_dtype()]
        if not types:  # of two comparisons, or with a whole number
            return self._carry(func, args, kwargs)
        return func(*(self._as_numbers(arg, types[0]) for arg in args), **kwargs)

    def _as_numbers(self, arg: Any, dtype: torch.dtype) -> Any:
        """A comparison as numbers."""
        known = self._crossing_of(arg)
        if known is None or not self._fits(known, arg):
            return arg
        return self.observer.crossed(known, arg.to(dtype), 1.0)

    def _choose(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        known = self._crossing_of(args[0]) if len(args) == 3 else None
        if known is None or not out.is_floating_point() or not self._fits(known, out):
            return out
        if not out.requires_grad:
            return self.observer.crossed(known, out, _difference(args[1], args[2], out))
        step = self._step_beside(known, out, args[1], args[2])
        return out if step is None else out + step

    def _fill(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        known = self._crossing_of(args[1]) if len(args) == 3 else None
        if known is None or not args[0].is_floating_point() or not self._fits(known, args[0]):
            return func(*args, **kwargs)
        before = args[0].detach().clone()
        out = func(*args, **kwargs)
        filled = args[0] if out is None else out  # __setitem__ returns nothing
        if not filled.requires_grad:
            found = self.observer.crossed(known, filled, _difference(args[2], before, filled))
            return None if out is None else found
        step = self._step_beside(known, filled, args[2], before)
        if step is None:
            return out
        if out is None:
            filled.add_(step)
            return None
        return filled + step

    def _step_beside(self, known: Crossing, out: Tensor, chosen: Any, other: Any) -> Tensor | None:
        """Zeros with the graph of a step, for a choice between two constants with a graph.

        A choice that depends on the input, as in a hand-written ReLU, has its own gradient.
        """
        if not (is_flat(chosen) and is_flat(other)):
            return None
        height = _difference(chosen, other, out)
        return self.observer.crossed(known, torch.zeros_like(out, requires_grad=False), height)

    def _step(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not args or not has_graph(args[0]):
            return func(*args, **kwargs)
        with torch.no_grad():  # heaviside has no derivative, not even zero
            out = func(*args, **kwargs)
        name = SIGNS[func]
        crossing = Crossing(_place(name), args[0], 0.0)
        return self.observer.crossed(crossing, out, 2.0 if name == "sign" else 1.0)

    def _round(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not args or not has_graph(args[0]):
            return func(*args, **kwargs)
        with torch.no_grad():
            out = func(*args, **kwargs)
        return self.observer.rounded(_place(ROUNDINGS[func]), args[0], out, 1.0)

    def _round_in_place(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if not args or not has_graph(args[0]):
            return func(*args, **kwargs)
        first = args[0] * 1  # a copy, because the rounding overwrites it
        name = ROUNDINGS_IN_PLACE[func].rstrip("_")
        return self.observer.rounded(_place(name), first, func(*args, **kwargs), 1.0)

    def _divide(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        name = DIVISIONS[func]
        floors = name == "floor_divide" or kwargs.get("rounding_mode")
        if not floors:
            return self._calculate(func, args, kwargs)
        if len(args) != 2 or not has_graph(args[0]) or not isinstance(args[1], int | float):
            return func(*args, **kwargs)
        with torch.no_grad():
            out = func(*args, **kwargs)
        return self.observer.rounded(_place(name), args[0], out, 1 / args[1])


_HANDLERS: dict[Any, Callable[[Operations, Any, Any, dict[str, Any]], Any]] = {
    **dict.fromkeys(COMPARISONS, Operations._compare),
    **dict.fromkeys((*CARRIERS, *NEGATIONS, *CONJUNCTIONS), Operations._carry),
    **dict.fromkeys(CASTS, Operations._cast),
    **dict.fromkeys(ARITHMETIC, Operations._calculate),
    **dict.fromkeys(IN_PLACE, Operations._compare_in_place),
    **dict.fromkeys(CHOICES, Operations._choose),
    **dict.fromkeys(FILLS, Operations._fill),
    **dict.fromkeys(SIGNS, Operations._step),
    **dict.fromkeys(ROUNDINGS, Operations._round),
    **dict.fromkeys(ROUNDINGS_IN_PLACE, Operations._round_in_place),
    **dict.fromkeys(DIVISIONS, Operations._divide),
}


def _crossing(operation: str, first: Any, second: Any) -> Crossing:
    above, below = (first, second) if operation[:2] in ("gt", "ge") else (second, first)
    return Crossing(_place(operation.rstrip("_")), above, below)


def _difference(chosen: Any, other: Any, out: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(chosen - other, dtype=out.dtype, device=out.device)


def _place(operation: str) -> Place:
    """The line of the network's code that is being executed."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_NETWORK):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno, operation)
