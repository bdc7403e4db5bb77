"""The order in which the ε of a grid are visited for each sample.

A sample counts as misclassified at every ε from its minimal ε on. Most of the work of the search
goes into ε at which the sample stays robust: such a run takes all of its steps, while a successful
run takes a few. The *fast* search has about one unsuccessful run for each sample: it begins at the
largest ε, projects the adversarial example to smaller balls as far as it stays misclassified, and
continues from there, one ε lower after each success, until a run finds nothing. The *ascending*
search runs at every ε up to the minimal one, the *raw* search at every ε.

An attack of several stages searches with each stage in turn, below the ε that the earlier stages
found. An ensemble starts each of its members from the largest ε again, because the result of a
member depends on where its search starts. So on every sample the ensemble is at least as strong as
each of its members.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robench.attacks import IterativeAttack

SweepName = Literal["fast", "ascending", "raw"]

BEGIN, SHRINK, RUN, DONE = range(4)
"""The next task of a slot: start a run, evaluate a projected example, step, or nothing."""


class Search:
    """The state of the search for each slot: a sample, or in a raw sweep a sample at one ε.

    Attributes:
        sample: index of the sample in its chunk, ``(S,)``.
        stage: index of the attack's stage.
        point: position in the grid that is attacked.
        task: ``BEGIN``, ``SHRINK``, ``RUN`` or ``DONE``.
        high: the smallest position at which the current part of the attack found an adversarial
            example; the grid's length if it found none.
        lowest: the same over all parts.
        low: the largest position at which the projected example is known to be classified right;
            0 if there is none.
    """

    def __init__(
        self,
        samples: Tensor,
        points: int,
        stages: tuple[IterativeAttack, ...],
        sweep: SweepName,
        parts: frozenset[int] = frozenset({0}),
    ) -> None:
        """Start with the first stage.

        Args:
            samples: those that are classified right without attack, ``(N,)``.
            points: length of the grid, whose first point is ε = 0.
            stages: of the attack.
            sweep: the order.
            parts: the first stage of each member of an ensemble.
        """
        self.points, self.stages, self.sweep, self.parts = points, stages, sweep, parts
        if points < 2:
            samples = samples[:0]
        grid = torch.arange(1, points)
        raw = sweep == "raw"
        self.sample = samples.repeat_interleave(len(grid)) if raw else samples.clone()
        self.stage = torch.zeros_like(self.sample)
        self.point = grid.repeat(len(samples)) if raw else torch.zeros_like(self.sample)
        self.task = torch.full_like(self.sample, DONE)
        self.high = torch.full_like(self.sample, points)
        self.lowest = self.high.clone()
        self.low = torch.zeros_like(self.sample)
        for slot in range(len(self.sample)):
            self._enter(slot, 0)

    def _descends(self, stage: int) -> bool:
        return self.sweep == "fast" and self.stages[stage].start != "own"

    def _climbs(self, stage: int) -> bool:
        return self.sweep != "raw" and not self._descends(stage)

    def _lacks_example(self, slot: int, stage: int) -> bool:
        known = self.sweep == "fast" and int(self.high[slot]) < self.points
        return self.stages[stage].start == "example" and not known

    def _enter(self, slot: int, stage: int) -> None:
        """Enter a stage, or the next one that can run; done if no smaller ε is left."""
        while stage < len(self.stages):
            if stage in self.parts:  # a climb need not go above what other parts found
                self.high[slot] = self.points if self._descends(stage) else self.lowest[slot]
            if not self._lacks_example(slot, stage):
                break
            stage += 1
        if stage == len(self.stages) or int(self.lowest[slot]) == 1:
            self.task[slot] = DONE
            return
        high = int(self.high[slot])
        self.stage[slot] = stage
        if self.sweep != "raw":
            self.point[slot] = 1 if self._climbs(stage) else high - 1
        self.task[slot] = BEGIN

    def found(self, slot: int, position: int) -> None:
        """An adversarial example was found in the ball of a position, at most the slot's point."""
        stage, first = int(self.stage[slot]), int(self.high[slot]) == self.points
        if self.sweep == "raw":
            self.task[slot] = DONE
            return
        self.high[slot] = position
        self.lowest[slot] = min(int(self.lowest[slot]), position)
        if not self._descends(stage):
            self._enter(slot, stage + 1)
        elif position == 1:
            self.task[slot] = DONE
        elif self.task[slot] == SHRINK or first:
            self._shrink(slot)
        else:
            self._below(slot)

    def not_found(self, slot: int) -> None:
        """A run or a projected example gave no adversarial example at the slot's point."""
        stage, point = int(self.stage[slot]), int(self.point[slot])
        if self.task[slot] == SHRINK:
            self.low[slot] = point
            self._shrink(slot)
        elif self._climbs(stage) and point + 1 < int(self.high[slot]):
            self.point[slot] = point + 1
            self.task[slot] = BEGIN
        else:
            self._enter(slot, stage + 1)

    def _shrink(self, slot: int) -> None:
        """Bisect the positions at which the projected example may be adversarial."""
        low, high = int(self.low[slot]), int(self.high[slot])
        if high - low > 1:
            self.point[slot] = (low + high) // 2
            self.task[slot] = SHRINK
        else:
            self._below(slot)

    def _below(self, slot: int) -> None:
        """Attack at the next smaller ε, or enter the next stage if one run serves every ε."""
        if self.stages[int(self.stage[slot])].start == "once":
            self.low[slot] = 0
            self._enter(slot, int(self.stage[slot]) + 1)
            return
        self.point[slot] = int(self.high[slot]) - 1
        self.low[slot] = 0
        self.task[slot] = BEGIN

    def warm(self, slots: Tensor) -> Tensor:
        """Which of these slots start from the sample's adversarial example, ``(n,)``."""
        can = torch.tensor([stage.start in ("warm", "example") for stage in self.stages])
        known = self.high[slots] < self.points
        return known & can[self.stage[slots]] & (self.sweep == "fast")

    @property
    def live(self) -> Tensor:
        """Which slots are not done, ``(S,)``."""
        return self.task != DONE
