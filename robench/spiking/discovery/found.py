"""What is not differentiable in a network: the record of a survey."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from robench.spiking.discovery.classify import Kind
from robench.spiking.discovery.layers import FoundLayer
from robench.spiking.discovery.operations import Place
from robench.spiking.discovery.steps import Stairs, Step
from robench.spiking.discovery.uses import BESIDE, DETACHED, SILENT


@dataclass(frozen=True)
class FoundFunction:
    """A custom autograd function.

    Attributes:
        name: of its class, with its module.
        kind: what its output is of its arguments.
        steps: the step of each call of a forward pass; None where it is not known.
        groups: the layer that each call belongs to, for surrogates that follow a layer over time.
        usual: a step of any call.
        stairs: of a quantiser, those of the call with the most levels.
        outputs: a step of each output that steps.
        calls: number of calls with a graph in a forward pass.
        detached: how many of these are spikes that change the logits and have no gradient there.
    """

    name: str
    kind: Kind
    steps: tuple[Step | None, ...]
    groups: tuple[str, ...]
    usual: Step | None
    stairs: Stairs | None
    calls: int
    outputs: tuple[Step, ...] = ()
    detached: int = 0

    def steps_of(self, number: int) -> list[Step]:
        """The steps of a call, one for each output that steps; empty if none is known."""
        first = (self.steps[number] if number < len(self.steps) else None) or self.usual
        if first is None:
            return []
        others = (step for step in self.outputs if step.output != first.output)
        return [first, *(replace(step, unit=first.unit) for step in others)]

    @property
    def spikes(self) -> bool:
        """Whether its output has two levels, or three: ternary spikes."""
        return self.kind == "spike" or (self.stairs is not None and self.stairs.ternary)

    def in_units(self, function: type, units: Mapping[tuple[type, int], float]) -> FoundFunction:
        """With the units of those calls in which they are known."""
        steps = tuple(
            step and replace(step, unit=units.get((function, number), step.unit))
            for number, step in enumerate(self.steps)
        )
        return replace(self, steps=steps)


@dataclass(frozen=True)
class FoundOperation:
    """An operation in a line of code.

    Attributes:
        place: the line.
        quantiser: whether it rounds; else it is a comparison.
        unit: what the distance to the threshold is measured in, where that is no constant.
        calls: number of calls with a graph in a forward pass.
        gate: why it is left alone; empty if it is replaced.
        binary: whether it rounds to two levels, as a spike.
    """

    place: Place
    quantiser: bool
    unit: float
    calls: int
    gate: str = ""
    binary: bool = False


@dataclass(frozen=True)
class Discovery:
    """What a survey found in a network.

    Attributes:
        functions: custom functions by their class.
        operations: operations by their line.
        layers: the layers that see all time steps, if every spike belongs to one.
        time_first: the steps whose z is ``(T, N, …)`` or ``(T, N·C)``: the function and number of
            a call, or a line of code.
        hidden: what the survey cannot look into, such as TorchScript.
        gap: the typical difference of the two largest logits.
        overwritten: whether the network overwrites what a function was called with.
        refused: why nothing is replaced all the same; empty if steps are replaced.
    """

    functions: Mapping[type, FoundFunction] = field(default_factory=dict)
    operations: Mapping[Place, FoundOperation] = field(default_factory=dict)
    layers: tuple[FoundLayer, ...] = ()
    time_first: frozenset[Hashable] = frozenset()
    hidden: tuple[str, ...] = ()
    gap: float = math.inf
    overwritten: bool = False
    refused: str = ""

    @property
    def replaced(self) -> bool:
        """Whether a derivative can be replaced."""
        return not self.refused and bool(self.spikes or self.quantisers)

    def replaces(self, place: Place) -> bool:
        """Whether the operation in a line of code gets another derivative."""
        found = self.operations.get(place)
        return found is not None and not found.gate

    @property
    def spikes(self) -> list[FoundFunction | FoundOperation]:
        """The spikes that are replaced."""
        functions = [f for f in self.functions.values() if f.spikes and f.detached < f.calls]
        return [*functions, *(o for o in self.operations.values() if not (o.quantiser or o.gate))]

    @property
    def quantisers(self) -> list[FoundFunction | FoundOperation]:
        """The roundings that are replaced."""
        functions = [f for f in self.functions.values() if f.kind == "quantiser" and not f.spikes]
        return [*functions, *(o for o in self.operations.values() if o.quantiser and not o.gate)]

    @property
    def own(self) -> list[str]:
        """What takes few values, or cannot be looked into, and keeps its own gradient."""
        why = {
            "other": "calls",
            "silent": "calls, constant on clean images",
            "few": "calls, too few values to say",
        }
        functions = [f for f in self.functions.values() if f.kind in why and f.calls]
        kept = [f"{f.name} ({f.calls} {why[f.kind]})" for f in functions]
        cut = [f for f in self.functions.values() if f.detached]
        kept += [f"{f.name} ({f.detached} calls, detached)" for f in cut]
        detached = [str(o.place) for o in self.operations.values() if o.gate == DETACHED]
        # without other spikes, what never changes is a guard
        silent = [o for o in self.operations.values() if o.gate == SILENT and self.spikes]
        kept += [f"{o.place} ({o.calls} {why['silent']})" for o in silent]
        binary = [o for o in self.operations.values() if o.binary and o.gate in ("", BESIDE)]
        kept += [f"{o.place} ({o.calls} calls, two levels)" for o in binary]
        return [*kept, *detached, *self.hidden]

    def __str__(self) -> str:
        """One line, as ``spikes of my_snn.Spike (40 calls)``; empty if nothing was found."""
        if self.refused:
            return f"nothing replaced: {self.refused}"
        counts: Counter[str] = Counter()
        for what, steps in (("spikes of", self.spikes), ("roundings by", self.quantisers)):
            for step in steps:
                name = step.name if isinstance(step, FoundFunction) else str(step.place)
                counts[f"{what} {name}"] += step.calls
        parts = [f"{name} ({count} calls)" for name, count in counts.items()]
        if self.own:
            parts.append(f"not replaced: {', '.join(self.own)}")
        return "; ".join(parts)
