"""The leaky integrate-and-fire neuron that a part of a network behaves as, from its membranes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robench.spiking.discovery.parts import Call, Jump, Recording, are_of
from robench.spiking.discovery.steps import typical

_CLOSE = 1e-3
"""Largest part of the spread that a fitted neuron may leave unexplained."""


@dataclass(frozen=True)
class Neuron:
    """The leaky integrate-and-fire neuron that a layer behaves as, in the unit of its z.

    Attributes:
        gain: by how much an input of 1 raises z.
        beta: the leak.
        threshold: the distance from the resting potential to the threshold.
    """

    gain: float
    beta: float
    threshold: float


def neurons(some: Recording) -> dict[str, Neuron]:
    """The neuron that each part of the network behaves as, by its name, where it is one.

    The part may see one time step in a call, or all.
    """
    parts: defaultdict[str, list[Call]] = defaultdict(list)
    for call in some.closed:
        parts[call.name].append(call)
    found: dict[str, Neuron] = {}
    for name, calls in parts.items():
        inputs = [call.x for call in calls if call.x is not None]
        jumps = [jump for call in calls for jump in call.steps]
        if len(inputs) != len(calls):
            continue
        if len(calls) == 1:
            x = inputs[0]
        elif len(jumps) == len(calls) and len({part.shape for part in inputs}) == 1:
            x = torch.stack(inputs)
        else:
            continue
        if are_of(jumps, x) and (neuron := fitted(x, jumps)) is not None:
            found[name] = neuron
    return found


def thresholds(some: Recording, known: Mapping[str, Neuron]) -> dict[tuple[type, int], float]:
    """The threshold of each call of a spike function in a known neuron, in the unit of its z."""
    return {
        jump.call: known[call.name].threshold
        for call in some.closed
        if call.name in known
        for jump in call.steps
        if jump.call is not None
    }


def fitted(x: Tensor, steps: Sequence[Jump]) -> Neuron | None:
    """The neuron whose first two membranes are the observed ones; None if there is none."""
    current = x.detach().double().flatten(1)
    distances = [(jump.z - jump.at).detach().double() for jump in steps]
    z = torch.cat([distance.reshape(-1, current.shape[1]) for distance in distances])
    charged = _line(current[0], z[0])
    if charged is None:
        return None
    gain, rest = charged
    silent, fired = z[0] <= 0, z[0] > 0
    carried = z[1] - gain * current[1]
    leaked = _line(z[0][silent], carried[silent])
    if leaked is None or gain <= 0 or not -_CLOSE <= leaked[0] <= 1 + _CLOSE:
        return None
    beta, offset = leaked
    if len(z) > 2 and len(current) > 2:  # a threshold that adapts, or changes over time
        still = silent & (z[1] <= 0)
        error = z[2] - gain * current[2] - beta * z[1] - offset
        if still.any() and float(error[still].abs().max()) > 10 * _CLOSE * typical(z):
            return None
    threshold, least = -rest, 10 * _CLOSE * typical(z)
    if beta < 1 - 10 * _CLOSE:
        threshold = offset / (beta - 1)
    elif (after := _line(z[0][fired], carried[fired])) is not None and -after[1] > least:
        threshold = -after[1]  # a neuron without reset has none there
    return Neuron(gain, min(max(beta, 0.0), 1.0), threshold) if threshold > least else None


def _line(x: Tensor, y: Tensor) -> tuple[float, float] | None:
    """Slope and intercept of y over x; None if y is no line."""
    if len(x) < 2:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    spread = float(dx @ dx)
    if spread == 0:
        return None
    slope = float(dx @ dy) / spread
    left = dy - slope * dx
    if float(left @ left) > _CLOSE**2 * max(float(dy @ dy), spread):
        return None
    return slope, float(y.mean() - slope * x.mean())
