"""A gradient pass in which the steps of a network have other derivatives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor

from robench.spiking import adaptive_surrogates
from robench.spiking.discovery.found import Discovery
from robench.spiking.discovery.interception import intercepting, suspended
from robench.spiking.discovery.operations import Crossing, Operations, Place
from robench.spiking.discovery.steps import Step
from robench.spiking.discovery.swap import Slope, straight_through, surrogate_slope, swapped
from robench.spiking.surrogate import Surrogate

Network = Callable[[Tensor], Tensor]


@contextmanager
def substituted(discovery: Discovery, network: Network, surrogate: Surrogate) -> Iterator[Network]:
    """Inside, the network that it gives has other derivatives where it spikes or rounds.

    The values of the forward pass do not change. The context has to hold during the backward pass.

    Args:
        discovery: what was found in the network.
        network: from images to logits.
        surrogate: the derivative of every spike.
    """
    plan = _Substitution(discovery, surrogate)

    def forward(x: Tensor) -> Tensor:
        plan.begin(len(x))
        # the mode costs some time in every operation
        with Operations(plan) if discovery.operations else nullcontext():
            return network(x)

    with intercepting(plan):
        yield forward


class _Substitution:
    """Gives each step its derivative, in the order of the calls."""

    def __init__(self, discovery: Discovery, surrogate: Surrogate) -> None:
        self.discovery, self.surrogate = discovery, surrogate
        self.begin(0)

    def begin(self, rows: int) -> None:
        """Start a forward pass."""
        self.rows = rows
        self.calls: defaultdict[type, int] = defaultdict(int)
        self.past: defaultdict[object, list[Tensor]] = defaultdict(list)

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        found = self.discovery.functions.get(function)
        if found is None or found.kind != "spike":
            return out
        number = self.calls[function]
        self.calls[function] += 1
        known = number < len(found.steps)
        step = found.steps[number] if known else found.usual
        step = step or found.usual
        if step is None or not _fits(step, args):
            return out
        z = step.distance(args)
        if not z.requires_grad:
            return out
        group = found.groups[number] if known else function
        values = out if step.output is None else out[step.output]
        slope = self._slope(
            z, step.at.to(z.device, z.dtype), step.unit, step.height * step.sign, group
        )
        new = swapped(z, values, slope)
        if step.output is None:
            return new
        return type(out)(new if n == step.output else part for n, part in enumerate(out))

    def crossed(self, crossing: Crossing, out: Tensor, height: Tensor | float) -> Tensor:
        found = self.discovery.operations.get(crossing.place)
        if found is None or found.gate:
            return out
        z = crossing.distance()
        z = z if z.shape == out.shape else z.expand_as(out)
        slope = self._slope(z, 0.0, found.unit, height * crossing.sign, crossing.place)
        with suspended():
            return swapped(z, out, slope)

    def rounded(self, place: Place, z: Tensor, out: Tensor, scale: float) -> Tensor:
        found = self.discovery.operations.get(place)
        if found is None or found.gate:
            return out
        with suspended():
            return swapped(z, out, straight_through(scale))

    def lost(self, place: Place) -> None:
        """Nothing to do; the survey has it on record."""

    def _slope(
        self, z: Tensor, at: Tensor | float, unit: float, height: Tensor | float, group: object
    ) -> Slope:
        """The surrogate's derivative; an adaptive one follows the neurons of a layer over time."""
        surrogate, place, past = self.surrogate, None, []
        if surrogate.stateful and z.dim() > 1 and len(z) == self.rows:
            place = adaptive_surrogates.place_of(surrogate, z.detach()[None])
        elif surrogate.name == "pdsg":
            steps = ((z.detach() - at) / unit)[None]
            past = [earlier for earlier in self.past[group] if earlier.shape == steps.shape]
            self.past[group].append(steps)
        return surrogate_slope(surrogate, at, unit, height, place=place, past=past)


def _fits(step: Step, args: tuple[Any, ...]) -> bool:
    """Whether a call has the arguments of a step."""
    return all(n < len(args) and isinstance(args[n], Tensor) for n in step.argument)
