"""In which order the ε of a grid are visited for each sample.

A sample counts as broken at every ε from the smallest one at which an attack breaks it. To find
that one, most of the work goes into confirming ε at which the sample holds, since those take all
steps of a run while a break takes a few. The *fast* search confirms each sample about once: it
begins at the largest ε, follows the witness down as far as it breaks in smaller balls, and goes
on from there, one ε lower after each break, until a run holds. The *ascending* search confirms
every ε below the break, the *raw* one visits every ε.

An attack of several stages searches with each of them in turn, below what those before it found.
An ensemble begins each of its parts anew from the largest ε: what a part finds depends on where
its search begins, and so the ensemble is on no sample weaker than one of its parts by itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robench.attacks import IterativeAttack

SweepName = Literal["fast", "ascending", "raw"]

BEGIN, SHRINK, RUN, DONE = range(4)
"""What a slot does next: start a run, show a witness in a smaller ball, step, or nothing."""


class Search:
    """Where each slot stands. A slot is one sample; in a raw sweep one sample at one ε.

    Attributes:
        sample: index of the sample in its chunk, ``(S,)``.
        stage: index of the attack's stage.
        point: position in the grid that is attacked.
        task: ``BEGIN``, ``SHRINK``, ``RUN`` or ``DONE``.
        high: the smallest position that the part in turn broke; the grid's length for none.
        lowest: the same over all parts.
        low: the largest position at which the witness, shrunk, is known to hold; 0 for none.
    """

    def __init__(
        self,
        samples: Tensor,
        points: int,
        stages: tuple[IterativeAttack, ...],
        sweep: SweepName,
        parts: frozenset[int] = frozenset({0}),
    ) -> None:
        """Begin with the first stage.

        Args:
            samples: those that are right without attack, ``(N,)``.
            points: length of the grid, whose first point is ε = 0.
            stages: of the attack.
            sweep: the order.
            parts: the stages with which a part of an ensemble begins.
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
        """Begin a stage below what is known to be broken, where there is anything below."""
        while stage < len(self.stages):
            if stage in self.parts:  # what climbs needs no search of its own above the others'
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
        """The sample was broken inside the ball of a position, at most the slot's own."""
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
        """A run, or a shrunk witness, did not break the sample at the slot's point."""
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
        """Halve the positions between where the witness breaks and where it is known to hold."""
        low, high = int(self.low[slot]), int(self.high[slot])
        if high - low > 1:
            self.point[slot] = (low + high) // 2
            self.task[slot] = SHRINK
        else:
            self._below(slot)

    def _below(self, slot: int) -> None:
        """Attack the next smaller ε from the witness, or go on where one run serves every ε."""
        if self.stages[int(self.stage[slot])].start == "once":
            self.low[slot] = 0
            self._enter(slot, int(self.stage[slot]) + 1)
            return
        self.point[slot] = int(self.high[slot]) - 1
        self.low[slot] = 0
        self.task[slot] = BEGIN

    def warm(self, slots: Tensor) -> Tensor:
        """Which of these slots begin from the sample's witness, ``(n,)``."""
        can = torch.tensor([stage.start in ("warm", "example") for stage in self.stages])
        known = self.high[slots] < self.points
        return known & can[self.stage[slots]] & (self.sweep == "fast")

    @property
    def live(self) -> Tensor:
        """Which slots are not done, ``(S,)``."""
        return self.task != DONE
