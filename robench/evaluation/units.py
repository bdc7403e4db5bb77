"""The units of work of a run: whole cells, or shards of large cells."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from robench.attacks import Attack
from robench.attacks.surrogate_ensemble import SurrogateEnsemble
from robench.errors import UsageError
from robench.evaluation.chunks import spans
from robench.evaluation.plan import Plan, Planned

GRAIN = 4
"""The largest unit has at most this fraction of the work of one worker, if its cell has so many
chunks."""


@dataclass(frozen=True)
class Unit:
    """Work that one worker does at a time; plain data.

    Attributes:
        pattern: what selects the model alone.
        digest: the hash of the cell.
        first: the first of its chunks.
        last: the chunk after its last.
        images: number of images of the cell.
        weight: an estimate of the work, as in :func:`weight_of`.
    """

    pattern: str
    digest: str
    first: int
    last: int
    images: int
    weight: float

    @classmethod
    def of(cls, planned: Planned) -> Self:
        """A whole cell."""
        cell = planned.cell
        images = len(cell.images)
        weight = images * (cell.model.timesteps or 1) * weight_of(cell.attack.attack)
        return cls(planned.pattern, planned.digest, 0, len(spans(images)), images, weight)

    @property
    def chunks(self) -> range:
        """The numbers of its chunks."""
        return range(self.first, self.last)

    @property
    def whole(self) -> bool:
        """Whether these are all chunks of the cell."""
        return len(self.chunks) == len(spans(self.images))

    @property
    def samples(self) -> int:
        """The number of images of its chunks."""
        return sum(len(span) for span in spans(self.images)[self.first : self.last])

    def split(self, parts: int) -> list[Unit]:
        """At most ``parts`` shards of whole chunks, of nearly equal size."""
        count = self.last - self.first
        parts = max(1, min(parts, count))
        edges = [self.first + k * count // parts for k in range(parts + 1)]
        return [
            replace(self, first=first, last=last, weight=self.weight * (last - first) / count)
            for first, last in pairwise(edges)
        ]


_REPEATS = ("steps", "nb_iter", "queries", "restarts", "draws", "n_targets")
"""The parameters of attacks and of libraries that say how often something is done."""


def weight_of(attack: Attack) -> float:
    """The steps, runs, targets and queries of an attack on a sample, and its estimators.

    It is an estimate, for a balance between workers; sweeps stop early on most samples.
    """
    if attack.stages != (attack,):
        return sum(map(weight_of, attack.stages))
    given = {name: getattr(attack, name) for name in type(attack).model_fields}
    given |= given.get("parameters", {})  # of an attack of a library
    numbers = [given[name] for name in _REPEATS if isinstance(given.get(name), int)]
    runs = len(attack.finders) if isinstance(attack, SurrogateEnsemble) else 1
    return float(math.prod(numbers, start=runs))


def split_units(units: Sequence[Unit], workers: int) -> list[Unit]:
    """The units of a number of workers: large cells are split, so that all workers end together."""
    most = sum(unit.weight for unit in units) / (GRAIN * workers)
    return [
        part
        for unit in units
        for part in (unit.split(math.ceil(unit.weight / most)) if workers > 1 else [unit])
    ]


@dataclass(frozen=True)
class Shard:
    """One of the parts into which a run is divided, for the tasks of a job array.

    Attributes:
        number: of the part, from 1.
        count: of all parts.
    """

    number: int
    count: int

    def __str__(self) -> str:
        """As in ``--shard``."""
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A shard as in ``3/8``.

        Raises:
            UsageError: the text is no such fraction.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        shard = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise UsageError(
                f"--shard {text!r}: write it like 3/8, the third of 8; the first is 1/8, the last "
                "8/8"
            )
        return shard

    def of(self, plan: Plan) -> list[Unit]:
        """The units of this part. All parts together are the plan, and each has about equal work.

        They depend on the plan alone and not on what is stored, so that the tasks of a job array,
        which start at different times, divide it alike.
        """
        units = split_units([Unit.of(planned) for planned in plan.cells], self.count)
        loads = [(0.0, number) for number in range(self.count)]  # a heap
        own: list[Unit] = []
        for unit in sorted(units, key=lambda u: (-u.weight, u.digest, u.first)):
            load, least = loads[0]
            heapq.heapreplace(loads, (load + unit.weight, least))
            if least == self.number - 1:
                own.append(unit)
        order = {planned.digest: k for k, planned in enumerate(plan.cells)}
        return sorted(own, key=lambda unit: (order[unit.digest], unit.first))
