"""The test of a function's values: whether an output steps, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from robench.spiking.discovery.steps import Stairs, Step, typical

LEAST = 32
"""Fewest values on which a step is believed: random masks of 6 values pass in one case of six."""
LEVELS = 64
"""Most different values of a quantiser."""
Kind = Literal["spike", "quantiser", "silent", "other", "smooth", "few"]
"""``silent`` is constant, and ``few`` has too few values to say."""
Call = tuple[tuple[Any, ...], Any]
"""The arguments and the output of a function."""


def classify(args: tuple[Any, ...], out: Any) -> tuple[Kind, list[Step | Stairs]]:
    """What an output is of the arguments, and the steps of all outputs that have any."""
    outputs = list(enumerate(out)) if isinstance(out, tuple | list) else [(None, out)]
    kind: Kind = "smooth"
    steps: list[Step | Stairs] = []
    for position, values in outputs:
        if not (isinstance(values, Tensor) and values.is_floating_point() and values.numel()):
            continue
        found, step = _classify(args, values.detach(), position)
        kind = found if found != "smooth" and not steps else kind
        steps += [] if step is None else [step]
    return kind, steps


def copied(call: Call) -> Call:
    """A call with few values as it is now; what has more values is None."""
    args, out = call
    outputs = [_copied(part) for part in out] if isinstance(out, tuple | list) else _copied(out)
    return tuple(map(_copied, args)), outputs


def _copied(value: Any) -> Tensor | None:
    if not (isinstance(value, Tensor) and value.is_floating_point() and value.numel() < LEAST):
        return None
    return value.detach().to("cpu", torch.float64, copy=True).requires_grad_(value.requires_grad)


def classify_together(calls: Sequence[Call]) -> tuple[Kind, Step | Stairs | None]:
    """What :func:`classify` says of calls with few values, by the values of all of them.

    ``few`` if these are still too few to say, but repeat as those of a step.

    Args:
        calls: as :func:`copied` gives them.
    """
    first = calls[0][1]
    kind: Kind = "smooth"
    for position in range(len(first)) if isinstance(first, list) else [None]:
        outs = [out if position is None else out[position] for _, out in calls]
        if any(out is None for out in outs):
            continue
        args, values = _joined([args for args, _ in calls], outs)
        found, step = _classify(args, values, position)
        if step is not None:
            return found, step
        if found == "few" and (len(values) < LEAST // 2 or not _repeats(values)):
            continue
        kind = found if found != "smooth" else kind
    return kind, None


def _joined(
    args: Sequence[tuple[Tensor | None, ...]], outs: Sequence[Tensor]
) -> tuple[tuple[Tensor | None, ...], Tensor]:
    """The values of some calls as of one.

    Equal ones count once: a smooth function may get the same arguments in each time step.
    """
    columns: list[Tensor] = []
    graphs: dict[int, bool] = {}
    for number, given in enumerate(zip(*args, strict=False)):
        tensors = [z for z in given if z is not None]
        if len(tensors) == len(outs) and all(map(_broadcasts, tensors, outs)):
            pairs = list(zip(tensors, outs, strict=True))
            columns.append(torch.cat([z.expand_as(out).flatten() for z, out in pairs]))
            graphs[number] = all(z.shape == out.shape and z.requires_grad for z, out in pairs)
    rows = torch.stack([*columns, torch.cat([out.flatten() for out in outs])])
    values: Tensor = torch.unique(rows, dim=1)
    known = dict(zip(graphs, values, strict=False))
    some = tuple(
        known[number].requires_grad_(graphs[number]) if number in known else None
        for number in range(len(args[0]))
    )
    return some, values[-1]


def _classify(
    args: tuple[Any, ...], out: Tensor, position: int | None
) -> tuple[Kind, Step | Stairs | None]:
    if out.numel() < LEAST:
        return "few", None
    low, high = out.amin(), out.amax()
    if low == high:
        return "silent", None
    fired = out == high
    height: Tensor | float = float(high - low)
    two_valued = bool((fired | (out == low)).all())
    if not two_valued and (channels := _by_channel(out)) is not None:
        (fired, height), two_valued = channels, True
    if not two_valued and not _repeats(out):
        return "smooth", None
    for argument, z in _candidates(args, out):
        if not two_valued:
            stairs = _stairs(argument, position, z, out)
            if stairs is not None:
                return "quantiser", stairs
            continue
        for channelwise in (False, True):
            bracket = _bracket(z, fired, channelwise)
            if bracket is not None:
                below, above, sign = bracket
                step = Step(argument, position, below, above, height, sign, unit=1.0)
                return "spike", replace(step, unit=_unit(step, z))
    return "other", None


def _by_channel(out: Tensor) -> tuple[Tensor, Tensor] | None:
    """Which values are spikes, and the heights of these, if each channel has its own height.

    That of a channel that never spikes is not a number.
    """
    if out.dim() < 2 or out.shape[1] < 2 or out.numel() // out.shape[1] < LEAST // 4:
        return None
    axes = tuple(axis for axis in range(out.dim()) if axis != 1)
    low, high = out.amin(axes, keepdim=True), out.amax(axes, keepdim=True)
    rises = high > low
    if bool((low != low.amin()).any()) or not bool(((out == high) | (out == low)).all()):
        return None
    return (out == high) & rises, torch.where(rises, high - low, torch.nan)


def _repeats(out: Tensor) -> bool:
    """Whether an output has few levels that occur several times; those of a clipped one do not."""
    levels, counts = torch.unique(out, return_counts=True)
    few = 1 < len(levels) <= min(LEVELS, out.numel() // 4)
    return few and 2 * int((counts == 1).sum()) < len(levels)


def _candidates(args: tuple[Any, ...], out: Tensor) -> list[tuple[tuple[int, ...], Tensor]]:
    """The arguments with a graph, and their differences to others, that fit an output."""
    given = ((number, value) for number, value in enumerate(args) if isinstance(value, Tensor))
    tensors = {number: value for number, value in given if value.is_floating_point()}
    fitting = {n: v for n, v in tensors.items() if v.shape == out.shape and v.requires_grad}
    found: list[tuple[tuple[int, ...], Tensor]] = [
        ((number,), value.detach()) for number, value in fitting.items()
    ]
    for number, value in fitting.items():
        for other, subtracted in tensors.items():
            if other != number and _broadcasts(subtracted, out):
                found.append(((number, other), value.detach() - subtracted.detach()))
    return found


def _broadcasts(value: Tensor, out: Tensor) -> bool:
    try:
        return value.expand_as(out).shape == out.shape
    except RuntimeError:
        return False


def _bracket(z: Tensor, fired: Tensor, channelwise: bool) -> tuple[Tensor, Tensor, int] | None:
    """The z between which the output jumps, and the sign, if there is one jump."""
    if z.numel() < LEAST:
        return None
    if not channelwise:
        axes = tuple(range(z.dim()))
    elif z.dim() < 2 or z.numel() // z.shape[1] < LEAST:
        return None
    else:
        axes = tuple(axis for axis in range(z.dim()) if axis != 1)
    for sign, above in ((1, fired), (-1, ~fired)):
        low = z.masked_fill(above, -torch.inf).amax(axes, keepdim=channelwise)
        high = z.masked_fill(~above, torch.inf).amin(axes, keepdim=channelwise)
        if bool((low <= high).all()):
            return low, high, sign
    return None


def _stairs(
    argument: tuple[int, ...], position: int | None, z: Tensor, out: Tensor
) -> Stairs | None:
    """The jumps of an output that never falls, or never rises, with z."""
    if z.numel() < LEAST:
        return None
    order = z.flatten().argsort()
    ordered = out.flatten()[order]
    rises = ordered.diff()
    if not bool((rises >= 0).all() or (rises <= 0).all()):
        return None
    places = z.flatten()[order]
    (after,) = rises.nonzero(as_tuple=True)
    jumps = (places[after] + places[after + 1]) / 2
    if len(after) != len(torch.unique(out)) - 1 or not bool((jumps.diff() > 0).all()):
        return None
    heights, seen = tuple(rises[after].tolist()), (float(places[0]), float(places[-1]))
    return Stairs(argument, position, tuple(jumps.tolist()), heights, seen)


def _unit(step: Step, z: Tensor) -> float:
    """The unit of z: the threshold if the function has it inside, else the typical distance."""
    at = step.at.abs().median()
    return typical(at if at > 0 else z)
