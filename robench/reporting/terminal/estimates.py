"""What a cell will take: its passes and its time, from results that are stored and from the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from robench.evaluation.cell import Cell
from robench.evaluation.plan import Plan
from robench.evaluation.units import weight_of
from robench.results import CellResult, ResultStore

MOST = 40
"""So many stored results of a model or an attack are read."""
_LEAST = 0.02
"""The least share of its passes that an attack without results is expected to take."""


@dataclass
class _Mean:
    """A quotient of two sums."""

    total: float = 0.0
    count: float = 0.0

    def add(self, total: float, count: float) -> None:
        self.total, self.count = self.total + total, self.count + count

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


class Estimates:
    """What cells like those of a plan took.

    Passes depend on the attack and on how robust the model is, and time depends on the model and on
    the machine: so passes are taken from results of the attack, on the same model if possible, and
    the seconds of a pass from results of the model.
    """

    def __init__(self) -> None:
        """Without a result."""
        self._of_pair = defaultdict[tuple[str, str], _Mean](_Mean)
        self._of_attack = defaultdict[str, _Mean](_Mean)
        self._of_model = defaultdict[str, _Mean](_Mean)
        self._of_step = _Mean()
        self._left = defaultdict[tuple[str, str, float], float](lambda: 1.0)

    @classmethod
    def of(cls, plan: Plan, *stores: ResultStore) -> Estimates:
        """Those from the results of the models and attacks of a plan."""
        found = cls()
        models = {planned.cell.model.id for planned in plan.cells}
        attacks = {planned.cell.attack.name for planned in plan.cells}
        read: dict[str, CellResult] = {}
        for store in stores:
            for paths in (
                *(store.paths(model=model) for model in sorted(models)),
                *(store.paths(attack=attack) for attack in sorted(attacks)),
            ):
                for path in islice(paths, MOST):
                    cell = store.record(path)
                    if isinstance(cell, CellResult):
                        read[cell.hash] = cell
        found.learn(read.values())
        return found

    def learn(self, cells: Iterable[CellResult]) -> None:
        """Add what cells took."""
        for cell in cells:
            outcome, seconds = cell.outcome, cell.run.seconds
            if outcome is None or not outcome.identity.samples:
                continue
            identity = outcome.identity
            passes = outcome.forwards + outcome.backwards + (outcome.source_passes or 0)
            self._of_pair[identity.model, cell.attack].add(passes, 1)
            self._of_attack[cell.attack].add(passes, 1)
            for point in outcome.curve:
                of = identity.model, identity.norm, point.epsilon.value
                self._left[of] = min(self._left[of], point.accuracy)
            total = passes * identity.samples
            if total and seconds:
                self._of_model[identity.model].add(seconds, total)
                self._of_step.add(seconds, total * (identity.timesteps or 1))

    def passes(self, cell: Cell) -> float:
        """Expected passes for each image.

        Without results of the attack they are those of one run at the smallest ε, as most of the
        work of a sweep is, on the images that no other attack is known to find there.
        """
        attack, model = cell.attack, str(cell.model.id)
        known = self._of_pair.get((model, attack.name)) or self._of_attack.get(attack.name)
        if known and known.value is not None:
            return known.value
        first = next((epsilon.value for epsilon in cell.settings.grid if epsilon.value), 0.0)
        left = self._left.get((model, attack.attack.norm, first), 1.0)
        return 2 * weight_of(attack.attack) * max(left, _LEAST)

    def seconds(self, cell: Cell) -> float | None:
        """Expected time of a cell; None if no result of its model is known."""
        pace = self._of_model.get(str(cell.model.id))
        if pace is None or pace.value is None:
            return None
        return pace.value * self.passes(cell) * len(cell.images)

    def work(self, cell: Cell) -> float:
        """A number for each cell that is proportional to its time, as far as that is known."""
        known = self.seconds(cell)
        if known is not None:
            return known
        step = self._of_step.value or 1e-3
        return step * (cell.model.timesteps or 1) * self.passes(cell) * len(cell.images)
