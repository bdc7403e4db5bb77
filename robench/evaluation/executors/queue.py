"""The units that are left, and which of them a worker gets next."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from threading import Condition

from robench.evaluation.units import Unit


class UnitQueue:
    """Units by model, shared by the threads that serve the workers.

    A worker goes on with the model that it has loaded and checked. Else it gets a model that no
    other worker has, the one with the most work first, and at last the heaviest unit of the model
    with the most work left. So few models are loaded twice, and all workers end at about the same
    time.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        """Sort the units."""
        self._left: dict[str, list[Unit]] = defaultdict(list)
        self._work: defaultdict[str, float] = defaultdict(float)
        for unit in sorted(units, key=lambda unit: unit.weight):
            self._left[unit.pattern].append(unit)
            self._work[unit.pattern] += unit.weight
        self._fresh = sorted(self._left, key=lambda pattern: self._work[pattern])
        self._workers: Counter[str] = Counter()
        self._open = len(units)
        self._change = Condition()

    def __bool__(self) -> bool:
        """Whether units wait for a worker."""
        return bool(self._left)

    def take(self, last: str) -> Unit | None:
        """The next unit of a worker, which waits while all units are at work elsewhere.

        Args:
            last: the pattern of the model of its last unit, empty if there is none.

        Returns:
            None if all units are finished.
        """
        with self._change:
            self._change.wait_for(lambda: self._left or not self._open)
            return self._pick(last) if self._open else None

    def _pick(self, last: str) -> Unit:
        unit = self._left[last if last in self._left else self._other_model()][-1]
        self._remove(unit)
        self._workers[unit.pattern] += 1
        return unit

    def _other_model(self) -> str:
        while self._fresh:
            if (pattern := self._fresh.pop()) in self._left:
                return pattern

        def rank(pattern: str) -> tuple[bool, float]:
            return not self._workers[pattern], self._work[pattern]

        return max(self._left, key=rank)

    def _remove(self, unit: Unit) -> None:
        self._left[unit.pattern].remove(unit)
        self._work[unit.pattern] -= unit.weight
        if not self._left[unit.pattern]:
            del self._left[unit.pattern]

    def put_back(self, unit: Unit) -> None:
        """Return a unit that its worker could not finish."""
        with self._change:
            self._workers[unit.pattern] -= 1
            self._left[unit.pattern].append(unit)
            self._work[unit.pattern] += unit.weight
            self._change.notify_all()

    def finish(self, unit: Unit) -> None:
        """Count a unit as finished."""
        with self._change:
            self._workers[unit.pattern] -= 1
            self._open -= 1
            self._change.notify_all()

    def drop(self, digest: str) -> int:
        """Take out the units of a cell that has failed; returns their number."""
        with self._change:
            every = [unit for units in self._left.values() for unit in units]
            dropped = [unit for unit in every if unit.digest == digest]
            for unit in dropped:
                self._remove(unit)
            self._open -= len(dropped)
            self._change.notify_all()
            return len(dropped)

    def close(self) -> None:
        """Let every worker end."""
        with self._change:
            self._left.clear()
            self._open = 0
            self._change.notify_all()
