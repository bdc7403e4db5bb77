"""The unit in which a network measures the distance of a membrane from its threshold."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robench.spiking.discovery.operations import Crossing, Observer, Operations
from robench.spiking.discovery.operations.torch_names import named
from robench.spiking.discovery.steps import typical

_SHIFTS = named("sub", "subtract", "__sub__", "__rsub__", "rsub", "sub_", "__isub__")
_SHIFTS |= named("add", "__add__", "__radd__", "add_", "__iadd__")
_PRODUCTS = named("mul", "multiply", "__mul__", "__rmul__", "mul_", "__imul__")
_QUOTIENTS = named("div", "divide", "true_divide", "__truediv__", "div_", "__itruediv__")


class Shifts(Operations):
    """The mode of a survey, which also remembers the constants that were subtracted.

    Most networks call their spike function with ``v - threshold``, so that the function itself does
    not show the threshold.
    """

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self.constants: dict[int, tuple[Tensor, float]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What the operation gives."""
        out = super().__torch_function__(func, types, args, kwargs)
        known = func in _SHIFTS or func in _PRODUCTS or func in _QUOTIENTS
        if known and len(args) == 2 and isinstance(out, Tensor) and out.requires_grad:
            first, second = args
            size = self._size(func, first, second, out)
            size = self._size(func, second, first, out) if size is None else size
            if size is not None:
                self.constants[id(out)] = out, size  # it is kept, so that the id stays its own
        return out

    def _size(self, func: Any, z: Any, value: Any, out: Tensor) -> float | None:
        """The constant in ``out``, if ``z`` is shifted by a constant, or scaled after that."""
        size = constant(value, out)
        if size is None or func in _SHIFTS:
            return size
        before = self.subtracted(z)
        if before is None:
            return None
        return before / size if func in _QUOTIENTS else before * size

    def subtracted(self, z: Tensor) -> float | None:
        """The size of the constant by which ``z`` was shifted last, in the unit of ``z``."""
        return self.constants.get(id(z), (None, None))[1]


def constant(value: Any, z: Tensor) -> float | None:
    """The size of a threshold of ``z``, ``(N, …)``; None if it is none, or 0.

    A threshold is a number, or a tensor with at most half the values of a row: one for a layer or
    one for each channel.
    """
    row = z.numel() // max(1, len(z)) if z.dim() else 1
    found = torch.as_tensor(value).detach()
    if found.numel() > max(1, row // 2) or not found.any():
        return None
    return typical(found.to(z.dtype))


def unit_of(crossing: Crossing, z: Tensor) -> float | None:
    """The unit of a comparison: its threshold; None if neither side is one."""
    sizes = (constant(side, z) for side in (crossing.below, crossing.above))
    return next((size for size in sizes if size is not None), None)
