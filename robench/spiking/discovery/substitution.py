"""A gradient pass in which the steps of a network have other derivatives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from robench.spiking import adaptive_surrogates
from robench.spiking.discovery.found import Discovery
from robench.spiking.discovery.interception import intercepting, suspended
from robench.spiking.discovery.layers import PathPass
from robench.spiking.discovery.operations import Crossing, Operations, Place
from robench.spiking.discovery.parts import Jump, following, with_output
from robench.spiking.discovery.resets import Resets
from robench.spiking.discovery.steps import Stairs, Step
from robench.spiking.discovery.swap import (
    Slope,
    sequence_of,
    sloped,
    straight_through,
    surrogate_slope,
)
from robench.spiking.discovery.units import unit_of
from robench.spiking.gradient_paths import Rule
from robench.spiking.surrogate import Surrogate

Network = Callable[[Tensor], Tensor]
STRAIGHT_THROUGH = Surrogate("straight_through", 1.0)


class Watcher(Protocol):
    """What is done with a step beside its substitution."""

    def stepped(self, jump: Jump) -> bool:
        """Whether the step keeps its graph."""
        ...


@contextmanager
def substituted(
    discovery: Discovery,
    network: Network,
    surrogate: Surrogate,
    watcher: Watcher | None = None,
) -> Iterator[Network]:
    """Inside, the network that it gives has other derivatives where it spikes or rounds.

    The values of the forward pass do not change. The context has to hold during the backward pass.

    Args:
        discovery: what was found in the network.
        network: from images to logits.
        surrogate: the derivative of every spike.
        watcher: sees every spike.
    """
    plan = _Substitution(discovery, surrogate, watcher)

    def forward(x: Tensor) -> Tensor:
        plan.begin(len(x))
        # the mode costs some time in every operation
        with Operations(plan) if discovery.operations else nullcontext():
            out = network(x)
        plan.resets.cut()
        return out

    with intercepting(plan):
        yield forward


@contextmanager
def along(
    discovery: Discovery,
    module: nn.Module,
    network: Network,
    surrogate: Surrogate | None,
    rule: Rule,
) -> Iterator[Network]:
    """:func:`substituted` with a backward rule of the layers that see all time steps.

    Args:
        discovery: what was found in the network, all of whose spikes belong to such layers.
        module: the network.
        network: from images to logits.
        surrogate: the derivative of every spike, where the rule takes one.
        rule: the backward rule.
    """
    of_rule = PathPass(discovery.layers, rule)
    parts = [(layer.name, module.get_submodule(layer.name)) for layer in discovery.layers]
    slopes = surrogate or STRAIGHT_THROUGH
    with following(parts, of_rule), substituted(discovery, network, slopes, of_rule) as changed:
        yield changed


class _Substitution:
    """Gives each step its derivative, in the order of the calls."""

    def __init__(self, discovery: Discovery, surrogate: Surrogate, watcher: Watcher | None) -> None:
        self.discovery, self.surrogate, self.watcher = discovery, surrogate, watcher
        self.begin(0)

    def begin(self, rows: int) -> None:
        """Start a forward pass."""
        self.rows = rows
        self.calls: defaultdict[type, int] = defaultdict(int)
        self.past: defaultdict[Hashable, list[Tensor]] = defaultdict(list)
        self.resets = Resets()

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        found = self.discovery.functions.get(function)
        if found is not None and found.kind == "quantiser" and found.stairs is not None:
            return self._climbed(found.stairs, args, out)
        if found is None or found.kind != "spike":
            return out
        number = self.calls[function]
        self.calls[function] += 1
        group = found.groups[number] if number < len(found.groups) else function
        for step in found.steps_of(number):
            out = self._stepped(step, args, out, group, (function, number))
        return out

    def _stepped(
        self, step: Step, args: tuple[Any, ...], out: Any, group: Hashable, call: tuple[type, int]
    ) -> Any:
        """The result of a function, one of whose outputs steps."""
        if not fits(step, args) or not (z := step.distance(args)).requires_grad:
            return out
        z = z.clone() if self.discovery.overwritten else z
        values = out if step.output is None else out[step.output].clone()  # which it may have saved
        at, height = step.at.to(z.device, z.dtype), step.rise(z)
        slope = self._slope(z, at, step.unit, height, group, call in self.discovery.time_first)
        jump = Jump(z, at, height, slope, group, call)
        return with_output(out, step.output, self._swapped(jump, values))

    def _climbed(self, stairs: Stairs, args: tuple[Any, ...], out: Any) -> Any:
        """The output of a function with more than two levels."""
        if not fits(stairs, args) or not (z := stairs.distance(args)).requires_grad:
            return out
        z = z.clone() if self.discovery.overwritten else z
        values = out if stairs.output is None else out[stairs.output].clone()
        if not (stairs.ternary and self.surrogate.elementwise):
            return with_output(
                out, stairs.output, sloped(z, values, straight_through(stairs.slope, stairs.ends))
            )
        each = [
            surrogate_slope(self.surrogate, at, stairs.unit, height)
            for at, height in zip(stairs.jumps, stairs.heights, strict=True)
        ]
        new = sloped(z, values, lambda at: each[0](at) + each[1](at))
        return with_output(out, stairs.output, new)

    def crossed(self, crossing: Crossing, out: Tensor, height: Tensor | float) -> Tensor:
        found = self.discovery.operations.get(crossing.place)
        if found is None or found.gate:
            return out
        z = crossing.z
        z = z if z.shape == out.shape else z.expand_as(out)
        with suspended():
            unit = unit_of(crossing, z) or found.unit  # layers may share a line
            layer = crossing.place, z.shape
            over_time = crossing.place in self.discovery.time_first
            slope = self._slope(z, 0.0, unit, height, layer, over_time)
            return self._swapped(Jump(z, 0.0, height, slope, layer, place=crossing.place), out)

    def chooses(self, place: Place) -> bool:
        return self.discovery.replaces(place)

    def rounded(self, place: Place, z: Tensor, out: Tensor, scale: float) -> Tensor:
        if not self.discovery.replaces(place):
            return out
        with suspended():
            return sloped(z, out, straight_through(scale))

    def sloped(self, place: Place, z: Tensor, out: Tensor, limits: tuple[float, float]) -> Tensor:
        if place not in self.discovery.operations:
            return out
        return self.crossed(Crossing(place, z, 0.0, z), out, limits[1] - limits[0])

    def lost(self, place: Place) -> None:
        """Nothing to do; the survey has it on record."""

    def _swapped(self, jump: Jump, out: Tensor) -> Tensor:
        if self.watcher is not None and self.watcher.stepped(jump):
            return out
        spikes = sloped(jump.z, out, jump.slope)
        self.resets.spiked(jump.layer, jump.z.grad_fn, spikes.grad_fn)
        return spikes

    def _slope(
        self,
        z: Tensor,
        at: Tensor | float,
        unit: float,
        height: Tensor | float,
        group: Hashable,
        over_time: bool,
    ) -> Slope:
        """The surrogate's derivative; an adaptive one follows the neurons of a layer over time."""
        surrogate, place, past = self.surrogate, None, []
        place_of = partial(adaptive_surrogates.place_of, surrogate, strict=False)
        if over_time and z.shape[1] % self.rows == 0:
            place = place_of(sequence_of(z.detach(), self.rows))
            return surrogate_slope(surrogate, at, unit, height, place=place, rows=self.rows)
        if surrogate.stateful and z.dim() > 1 and len(z) == self.rows:
            place = place_of(z.detach()[None])
        elif surrogate.name == "pdsg":
            steps = ((z.detach() - at) / unit)[None]
            past = [earlier for earlier in self.past[group] if earlier.shape == steps.shape]
            self.past[group].append(steps)
        return surrogate_slope(surrogate, at, unit, height, place=place, past=past)


def fits(step: Step | Stairs, args: tuple[Any, ...]) -> bool:
    """Whether a call has the arguments of a step."""
    return all(n < len(args) and isinstance(args[n], Tensor) for n in step.argument)
