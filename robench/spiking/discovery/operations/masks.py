"""What a network makes of a comparison before it becomes numbers: booleans and whole numbers."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Place(NamedTuple):
    """Where in the code an operation is."""

    file: str
    line: int
    operation: str

    def __str__(self) -> str:
        return f"{self.operation} in {Path(self.file).name}:{self.line}"


_OURS = Path(__file__).parents[1]
_NOT_THE_NETWORK = tuple(f"{folder}{os.sep}" for folder in (Path(torch.__file__).parent, _OURS))


def here(operation: str) -> Place:
    """The line of the network's code that is being executed."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_NETWORK):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno, operation)


@dataclass(frozen=True, eq=False)
class Crossing:
    """A comparison of something with a graph: true where ``above`` is the larger one.

    Attributes:
        place: where it is.
        above: one side, which the network may overwrite later.
        below: the other one.
        z: their difference, with its graph.
        all_of_it: the whole comparison, where parts of its result become numbers one by one.
        rounding: the rounding that was cut to two levels; None for a comparison.
        reached: whether it is true at z = 0 too.
        choice: whether it chooses between values that are no constants.
        joined: whether it was joined to another one, and may be a guard that never changes.
    """

    place: Place
    above: Tensor | float
    below: Tensor | float
    z: Tensor
    all_of_it: Crossing | None = None
    rounding: Place | None = None
    reached: bool = False
    choice: bool = False
    joined: bool = False

    @property
    def whole(self) -> Crossing:
        """The comparison that the network made."""
        return self.all_of_it or self


@dataclass(frozen=True, eq=False)
class Mask:
    """The result of a comparison, or of operations on it.

    Attributes:
        value: booleans or whole numbers.
        crossing: the comparison, of the shape of ``value``.
        true: where it is true.
        height: how much larger ``value`` is where it is true than where it is false.
        followed: whether this is known; otherwise the comparison is lost once it becomes numbers.
        also: other comparisons that were joined to this one, with the sign with which they raise
            the value where this one does.
    """

    value: Tensor
    crossing: Crossing
    true: Tensor
    height: Tensor | float = 1.0
    followed: bool = True
    also: tuple[tuple[Crossing, float], ...] = ()

    def lost(self, value: Tensor) -> Mask:
        """What an operation made of it that is not followed."""
        return replace(self, value=value, followed=False)

    def other(self) -> Tensor:
        """The value if the comparison came out the other way, for every neuron."""
        if self.value.dtype == torch.bool:
            return self.value ^ (torch.as_tensor(self.height, device=self.value.device) != 0)
        change = torch.where(self.true, -1, 1) * self.height
        return self.value + change.to(self.value.dtype)

    def swapped(self, args: Any) -> list[Any]:
        """Arguments with the other value in place of this one."""
        return [self.other() if arg is self.value else arg for arg in args]

    def after(self, out: Tensor, swapped_out: Tensor) -> Mask:
        """That of an operation on each neuron alone, which was done with both values.

        So it shows whether the operation turns the comparison round, or scales it.
        """
        if out.shape != self.true.shape or not out.numel():
            return self.lost(out)
        rise = torch.where(self.true, 1, -1) * (out.long() - swapped_out.long())
        first = rise.flatten()[0]
        height = float(first) if bool((rise == first).all()) else rise
        return replace(self, value=out, height=height)

    @property
    def rises(self) -> float:
        """1 or -1 where all neurons rise with z, or fall; else 0."""
        return 0.0 if isinstance(self.height, Tensor) else math.copysign(1, self.height)

    def joined(self, out: Tensor, others: Sequence[Mask]) -> Mask:
        """That of a conjunction or disjunction with others, each of which rises where it does.

        Each is differentiated as if the others let it through.
        """
        known = all(m.rises and m.followed and fits(m.crossing.z, out) for m in (self, *others))
        if out.shape != self.true.shape or out.dtype != torch.bool or not known:
            return self.lost(out)
        true, height = (out, 1.0) if self.rises > 0 else (~out, -1.0)
        signs = [(m, m.rises * self.rises) for m in others]
        also = [(replace(m.crossing, joined=True), sign) for m, sign in signs]
        also += [(of, sign * own) for m, sign in signs for of, own in m.also]
        return replace(self, value=out, true=true, height=height, also=(*self.also, *also))

    def moved(self, out: Any, func: Callable[..., Any], args: Any, kwargs: Any) -> Iterator[Mask]:
        """Those of an operation that moves, repeats or selects neurons: one for each output."""
        values = list(out) if isinstance(out, tuple | list) else [out]

        def move(side: Tensor | float) -> list[Any]:
            if not isinstance(side, Tensor) or not side.dim():
                return [side] * len(values)
            whole = side if side.shape == self.true.shape else side.expand(self.true.shape).clone()
            found = func(whole, *args, **kwargs)
            return list(found) if isinstance(found, tuple | list) else [found]

        def parts(of: Crossing) -> Iterator[Crossing]:
            for above, below, z in zip(*map(move, (of.above, of.below, of.z)), strict=True):
                yield replace(of, above=above, below=below, z=z, all_of_it=of.whole)

        others = [(parts(of), sign) for of, sign in self.also]
        each = parts(self.crossing), move(self.true), move(self.height)
        for value, part, true, height in zip(values, *each, strict=True):
            also = tuple((next(of), sign) for of, sign in others)
            yield replace(self, value=value, crossing=part, true=true, height=height, also=also)


def fits(z: Tensor, out: Tensor) -> bool:
    """Whether an output has a neuron, or several, for each of what is compared."""
    sizes = zip(reversed(z.shape), reversed(out.shape), strict=False)
    return z.dim() <= out.dim() and all(size in (1, whole) for size, whole in sizes)
