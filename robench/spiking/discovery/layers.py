"""Layers of neurons that see all time steps at once, and their gradient paths.

Such a layer maps a sequence ``(T, N, …)`` to spikes of the same shape and calls its spike function
once for each step, or once for the whole sequence, as the multi-step neurons of SpikingJelly do. It
takes the backward rules that need all steps.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robench.spiking import backward_rules
from robench.spiking.discovery.neurons import Neuron
from robench.spiking.discovery.parts import Jump, Recording, first_of, with_output
from robench.spiking.discovery.swap import Backward, swapped
from robench.spiking.gradient_paths import Rule


@dataclass(frozen=True)
class FoundLayer:
    """A layer that sees all time steps.

    Attributes:
        name: of the module.
        height: of a spike.
        neuron: how it charges and leaks; None if it is no such neuron.
    """

    name: str
    height: float
    neuron: Neuron | None


def layers(
    some: Recording, fewer: Recording, known: Mapping[str, Neuron]
) -> tuple[FoundLayer, ...]:
    """The layers over time of a network; empty unless every spike belongs to one.

    Args:
        some: the calls with straight-through derivatives of the spikes.
        fewer: the calls of the same network with fewer images.
        known: the parts that behave as a leaky integrate-and-fire neuron.
    """
    found: dict[str, FoundLayer] = {}
    covered: set[Jump] = set()
    if [call.name for call in some.closed] != [call.name for call in fewer.closed]:
        return ()
    for call, other in zip(some.closed, fewer.closed, strict=True):  # inner parts come first
        sequence = call.sequence()
        if sequence is None or other.x is None or covered.intersection(call.steps):
            continue
        height = _height(sequence[1].detach(), call.steps)
        if call.name in found or height is None or not batch_is_second(sequence[0], other.x):
            continue
        if not _separate(*sequence) or not (len(call.steps) > 1 or _mixes_time(*sequence)):
            continue
        covered.update(call.steps)
        found[call.name] = FoundLayer(call.name, height, known.get(call.name))
    return tuple(found.values()) if len(covered) == len(some.open[0].steps) else ()


def time_first(some: Recording, fewer: Recording) -> frozenset[Hashable]:
    """The steps that see all time steps, see :class:`~.found.Discovery`; arguments as above."""
    steps = some.open[0].steps, fewer.open[0].steps
    if len(steps[0]) != len(steps[1]):
        return frozenset()
    return frozenset(
        jump.call or jump.place
        for jump, other in zip(*steps, strict=True)
        if batch_is_second(jump.z, other.z)
    )


def batch_is_second(x: Tensor, fewer: Tensor) -> bool:
    """Whether the second axis is that of the batch: the only one that is shorter for fewer images.

    Args:
        x: of a call.
        fewer: of the same call with fewer images.
    """
    changed = [a != b for a, b in zip(x.shape, fewer.shape, strict=False)]
    return x.dim() == fewer.dim() and changed == [False, True, *[False] * (x.dim() - 2)]


def _height(y: Tensor, steps: Sequence[Jump]) -> float | None:
    """The height of a spike, if the output is the spikes and nothing else."""
    jumps = [(jump.z.detach() - jump.at > 0).reshape(-1, *y.shape[1:]) for jump in steps]
    fired = torch.cat(jumps)
    heights = torch.stack([torch.as_tensor(jump.height).min() for jump in steps])
    if not fired.any():
        same = not y.any() and bool((heights == heights[0]).all())
        return float(heights[0]) if same and heights[0] > 0 else None
    height = y.amax()
    return float(height) if height > 0 and torch.equal(y, fired.to(y.dtype) * height) else None


def _mixes_time(x: Tensor, y: Tensor) -> bool:
    """Whether the last output depends on the first input."""
    (gradient,) = torch.autograd.grad(y[-1].sum(), x, retain_graph=True, allow_unused=True)
    return gradient is not None and bool(gradient[0].any())


def _separate(x: Tensor, y: Tensor) -> bool:
    """Whether each neuron has its own input: no output depends on the input of another neuron."""
    columns = y.flatten(1)
    for column in {0, columns.shape[1] // 2, columns.shape[1] - 1}:
        (gradient,) = torch.autograd.grad(
            columns[:, column].sum(), x, retain_graph=True, allow_unused=True
        )
        if gradient is None:
            return False
        others = gradient.flatten(1).clone()
        others[:, column] = 0
        if bool(others.any()) or not bool(gradient.any()):
            return False
    return True


class PathPass:
    """Gives the layers of a network a backward rule in a gradient pass.

    Args:
        found: the layers.
        rule: the rule.
    """

    def __init__(self, found: Sequence[FoundLayer], rule: Rule) -> None:
        self.layers, self.rule = {layer.name: layer for layer in found}, rule
        self.open: list[tuple[Any, list[Jump]]] = []

    def entered(self, name: str, args: tuple[Any, ...]) -> None:
        """Start a layer."""
        self.open.append((args[0] if args else None, []))

    def stepped(self, jump: Jump) -> bool:
        """Whether the step belongs to a layer, whose rule takes the place of its derivative."""
        if not self.open:
            return False
        self.open[-1][1].append(jump)
        return True

    def left(self, name: str, out: Any) -> Any:
        """The output of a layer, with the rule in place of its graph."""
        x, jumps = self.open.pop()
        y = first_of(out)
        if not (isinstance(x, Tensor) and x.requires_grad and isinstance(y, Tensor)):
            return None
        new = swapped(x, y, self._backward(self.layers[name], y.detach(), jumps))
        return new if y is out else with_output(out, 0, new)

    def _backward(self, layer: FoundLayer, y: Tensor, jumps: list[Jump]) -> Backward:
        if self.rule == "bptr":
            fired = (y != 0).any(0)
            return lambda grad, x: backward_rules.bptr(grad, fired)
        if self.rule == "hart":
            with torch.no_grad():
                slopes = torch.cat([j.unit_slope().reshape(-1, *y.shape[1:]) for j in jumps])
            return lambda grad, x: backward_rules.hart(grad * layer.height, slopes)
        neuron = layer.neuron
        assert neuron is not None
        gain, scale = neuron.gain, neuron.gain * layer.height
        return lambda grad, x: backward_rules.rga(
            grad * scale, gain * x.mean(0), neuron.beta, neuron.threshold
        )
