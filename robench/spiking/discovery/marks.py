"""What a survey notes of steps: the calls of a function, and the marks of an operation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from statistics import median_high
from typing import Any

from robench.spiking.discovery.classify import Call, Kind
from robench.spiking.discovery.found import FoundFunction, FoundOperation
from robench.spiking.discovery.operations import Place
from robench.spiking.discovery.operations.slopes import LimitCounts
from robench.spiking.discovery.steps import Stairs, Step, height_of
from robench.spiking.discovery.uses import BESIDE, DETACHED, GATE, IDLE, SILENT, Mark, Uses, use_of


@dataclass
class Calls:
    """The calls of a custom function."""

    kinds: list[Kind] = field(default_factory=list)
    steps: list[Step | None] = field(default_factory=list)
    ends: list[list[Any]] = field(default_factory=list)
    """The nodes of the output of each call and of its arguments."""
    graphs: set[int] = field(default_factory=set)
    """The numbers of the calls with a graph."""
    hidden: bool = False
    """Whether a call without a graph, as under ``no_grad``, has few values."""
    few: dict[int, tuple[tuple[Any, ...], Call]] = field(default_factory=dict)
    """The arguments of calls with too few values, and a copy of each call, by its number."""
    stairs: Stairs | None = None
    outputs: dict[int | None, Step] = field(default_factory=dict)
    """A step of each output that steps."""
    groups: list[str] = field(default_factory=list)

    def found(self, function: type) -> FoundFunction:
        """The function, with what its calls show together."""
        kinds = set(self.kinds) or {"smooth"}
        known = [step for step in self.steps if step is not None]
        kind: Kind = next(
            k for k in ("other", "quantiser", "spike", "smooth", "silent", "few") if k in kinds
        )
        return FoundFunction(
            name=f"{function.__module__}.{function.__qualname__}",
            kind=kind,
            steps=tuple(self._joined(known)),
            groups=tuple(self.groups),
            usual=known[0] if known else None,
            stairs=self.stairs,
            calls=len(self.graphs),
            outputs=tuple(self.outputs.values()),
        )

    def _joined(self, known: list[Step]) -> Iterator[Step | None]:
        """Each call's step, with the jump of all calls if they have one.

        Unit and height are those of its layer.
        """
        layers = defaultdict(list)
        for group, step in zip(self.groups, self.steps, strict=True):
            if step is not None:
                layers[group].append(step)
        common: Step | None = known[0] if known else None
        for step in known[1:]:
            common = common and common.joined(step)
        for group, step in zip(self.groups, self.steps, strict=True):
            at = common or step
            if at is None:
                yield None
                continue
            own = layers[group] or [s for s in known if isinstance(s.height, float)] or known
            yield replace(at, unit=median_high(s.unit for s in own), height=height_of(own))


@dataclass
class Marks:
    """The nodes that mark an operation in the graph of the survey."""

    quantiser: bool
    calls: dict[int, object] = field(default_factory=dict)
    results: list[Mark] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    constant: bool = True
    guards: bool = True
    """Whether each call may be a guard, which never changes."""
    levels: set[float] = field(default_factory=set)
    """A few values of a rounding, at least three where there are more than two."""
    cut: int = 0
    """Calls of a rounding that are spikes, as in ``floor(v).clamp(0, 1)``."""
    slope: LimitCounts | None = None
    """How steep a smooth function is; None of others."""

    @property
    def steps(self) -> bool:
        """Whether it makes steps that no other mark has."""
        return self.cut < len(self.calls) and (self.slope is None or self.slope.steep)

    def found(self, place: Place, uses: Uses, steps: Set[Any]) -> FoundOperation:
        """The operation, with what the graph of the logits uses it for.

        Args:
            place: where it is.
            uses: of the network's graph.
            steps: the nodes of all marks.
        """
        gate = use_of(uses, self.results, steps) if self.results else GATE
        if self.quantiser and self.constant:
            gate = IDLE
        elif self.quantiser:
            gate = BESIDE if gate == DETACHED else ""
        elif self.constant:
            gate = {"": IDLE if self.guards else SILENT, DETACHED: IDLE}.get(gate, gate)
        return FoundOperation(
            place, self.quantiser, median_high(self.units), len(self.calls), gate,
            binary=len(self.levels) == 2 and place.operation != "bernoulli",
        )  # fmt: skip
