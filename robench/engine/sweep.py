"""The sweep: the smallest ε of a grid at which an attack finds an adversarial example of a sample.

Rows advance independently: a row with an adversarial example, or without steps left, leaves the
batch at once, and another row takes its place, at any ε. All rows of a batch have the same stage
and phase, so that an attack can substitute one surrogate for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor

from robench.attacks import Attack, LineAttack, State, spread
from robench.attacks.primitives.norms import project, tolerance
from robench.attacks.primitives.per_sample import same
from robench.engine.candidates import nearest_examples, require_usable
from robench.engine.chunk import Chunk, batches
from robench.engine.minimal_epsilon import MinimalEpsilons
from robench.engine.sample_table import reverify, table
from robench.engine.search import BEGIN, RUN, SHRINK, Search, SweepName
from robench.engine.stages import stages_of
from robench.engine.target import Target
from robench.engine.view import ModelView
from robench.epsilon import Epsilon
from robench.registry import Model
from robench.results import EOT
from robench.runtime.threads import Workers
from robench.spiking import used

Progress = Callable[[int, int], None]
"""Called with the number of samples that are finished, and of the passes of all samples so far."""


def silent(finished: int, passes: int) -> None:
    """Show no progress."""


class ChunkSweep:
    """An attack on one chunk over a grid.

    Attributes:
        target: the model and the images, with the query counter.
        found: the adversarial examples.
    """

    def __init__(
        self,
        model: Model,
        attack: Attack,
        chunk: Chunk,
        grid: Sequence[Epsilon],
        *,
        seed: int,
        batch_size: int,
        sweep: SweepName = "fast",
        workers: Workers | None = None,
        sources: tuple[Model, ...] = (),
        eot: int = EOT,
    ) -> None:
        """Prepare a sweep.

        Args:
            model: the model under attack.
            attack: the attack.
            chunk: the images.
            grid: ascending, from ε = 0, which is the clean image.
            seed: of the random numbers.
            batch_size: rows of one call.
            sweep: the order of the ε, see :mod:`robench.engine.search`.
            workers: threads that share the rows of each call.
            sources: other models on which the attack may make examples.
            eot: number of draws that a gradient of a stochastic model is averaged over.
        """
        self.attack = attack
        descends = sweep == "fast" and len(grid) > 2
        self.stages, self.parts = stages_of(attack, descends=descends)
        self.target = Target(
            model,
            chunk,
            seed=seed,
            stages=len(self.stages),
            workers=workers,
            sources=sources,
            eot=eot,
        )
        self.x, self.y = self.target.x, chunk.y
        self.norm, self.tolerance = attack.norm, tolerance(self.x, attack.norm)
        self.sweep, self.batch_size = sweep, batch_size
        budgets = torch.tensor([e.value for e in grid], dtype=torch.float64) / self.target.scale
        self.budgets = budgets.to(self.x.dtype)
        # the ball of an ε, whether it is read as it was given or as it is stored
        self.reach = torch.minimum(budgets, self.budgets.double()) + self.tolerance
        self.found = MinimalEpsilons(self.x, len(grid))

    @property
    def examples(self) -> Tensor:
        """The adversarial examples as inputs of the model, of the shape of the chunk's images."""
        return self.target.examples(self.found.example)

    def run(self, progress: Progress = silent) -> pd.DataFrame:
        """Sweep; returns the rows of the store, see :func:`~robench.engine.sample_table.table`.

        Args:
            progress: called after each call of the attack or the model.
        """
        prediction = self._clean()
        right = (prediction == self.y).nonzero().squeeze(1)
        if isinstance(self.attack, LineAttack):
            self._along(self.attack, right, progress)
        else:
            self._search(right, progress)
        again = reverify(self.target, self.found, self.batch_size)
        budgets = self.target.scale * self.budgets.double().numpy()
        rows = table(self.target, self.found, prediction, again, budgets, self.norm)
        if not self.target.model.spiking:  # a transfer attack names its sources
            rows["found_by"] = rows["found_by"].map(used, na_action="ignore").astype("string")
        if self.sweep == "raw" or isinstance(self.attack, LineAttack):
            rows = rows.assign(**self.found.raw_columns())
        return rows

    def _along(self, attack: LineAttack, right: Tensor, progress: Progress) -> None:
        """Evaluate every ε of the grid along the direction of each sample."""
        done = len(self.x) - len(right)
        for samples in batches(right, self.batch_size):
            x, y, view = self.x[samples], self.y[samples], self.target.view(samples, 0)
            direction = attack.direction(view, x, y, self.target.noise(samples))
            require_usable(direction, x)
            for point in range(1, len(self.budgets)):
                eps = self.budgets[point].expand(len(samples))
                image = project(x + spread(eps, x) * direction, x, eps, self.norm)
                rows = (view.logits(image).argmax(1) != y).nonzero().squeeze(1)
                finders = [attack.finders[0]] * len(rows)
                positions = torch.full_like(rows, point)
                self.found.note(samples[rows], positions, image[rows], finders)
            done += len(samples)
            progress(done, self.target.queries.total)

    def _search(self, right: Tensor, progress: Progress) -> None:
        """Search for the minimal ε of each sample."""
        points = len(self.budgets)
        search = self.search = Search(right, points, self.stages, self.sweep, self.parts)
        n = len(search.sample)
        self.best = self.x[search.sample]  # the latest example: where a warm run starts
        self.candidate = self.best.clone()
        self.states: list[State | None] = [None] * len(self.stages)
        self.steps_left = torch.zeros(n, dtype=torch.int64)
        self.phase = torch.zeros(n, dtype=torch.int64)
        self.taken = torch.zeros(n, dtype=torch.int64)  # steps of the run, which select its draws
        self.seen = torch.zeros(n, dtype=torch.bool)
        self.produced_by = torch.zeros(n, dtype=torch.int64)
        while search.live.any():
            self._work()
            live = set(search.sample[search.live].tolist())
            progress(len(self.x) - len(live), self.target.queries.total)

    def _work(self) -> None:
        """One call of the attack or the model, for the largest group of rows.

        Smaller groups wait and grow, so that small batches are rare.
        """
        task = self.search.task
        fresh = task == BEGIN
        running = (task == RUN) & (self.steps_left > 0)
        phases = max(len(stage.finders) for stage in self.stages)
        group = running & self._commonest(self.search.stage * phases + self.phase, running)
        waiting = (task == SHRINK) | ((task == RUN) & (self.steps_left <= 0))
        size = int(group.sum())
        if size < self.batch_size and fresh.any():
            self._begin(self._take(fresh & self._commonest(self.search.stage, fresh)))
        elif int(waiting.sum()) >= size:
            self._show(self._take(waiting))
        else:
            self._step(self._take(group))

    @staticmethod
    def _commonest(key: Tensor, slots: Tensor) -> Tensor:
        """Which slots have the most common key among ``slots``."""
        return key == key[slots].mode().values if slots.any() else slots

    def _take(self, slots: Tensor) -> Tensor:
        """The first slots of a mask that fit into a batch, as indices."""
        return slots.nonzero().squeeze(1)[: self.batch_size]

    def _clean(self) -> Tensor:
        predictions = []
        for rows in batches(torch.arange(len(self.x)), self.batch_size):
            predictions.append(self.target.view(rows, 0).logits(self.x[rows]).argmax(1))
        prediction = torch.cat(predictions)
        self.found.clean(prediction != self.y)
        return prediction

    def _rows(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        samples = self.search.sample[slots]
        x, y = self.x.index_select(0, samples), self.y[samples]
        return samples, x, y, self.budgets[self.search.point[slots]]

    def _begin(self, slots: Tensor) -> None:
        """Start a run of rows of one stage."""
        samples, x, y, eps = self._rows(slots)
        stage = int(self.search.stage[slots[0]])
        self.taken[slots] = 0
        view = self.target.view(samples, stage, self.taken[slots])
        part = self.stages[stage].init(view, x, y, eps, self.target.noise(samples))
        require_usable(part.candidate, x)
        warm = spread(self.search.warm(slots), x)
        begin = torch.where(warm, self.best[slots], part.candidate)
        part.candidate = project(begin, x, eps, self.norm)
        self.seen[slots] = same(part.candidate, x)  # known to be classified right
        self.search.task[slots] = RUN
        self._store(slots, stage, part)
        self.produced_by[slots] = part.phase
        self._settle(slots, x, view)

    def _step(self, slots: Tensor) -> None:
        samples, x, y, eps = self._rows(slots)
        stage = int(self.search.stage[slots[0]])
        self.taken[slots] += 1
        view = self.target.view(samples, stage, self.taken[slots])
        state = self.states[stage]
        assert state is not None
        before, phase = self.candidate.index_select(0, slots), self.phase[slots]
        part = state.rows(slots)
        candidate, part = self.stages[stage].step(view, x, y, eps, part, self.target.noise(samples))
        require_usable(candidate, x)
        self._verify(slots, before, view)
        misclassified = self._settle(slots, x, view)
        part.release(misclassified)
        part.candidate = project(candidate, x, eps, self.norm)
        self._store(slots, stage, part)
        self.seen[slots] = same(part.candidate, before)  # has not moved
        running = ~misclassified  # an adversarial example keeps the finder that made it
        self.produced_by[slots[running]] = phase[running]

    def _store(self, slots: Tensor, stage: int, part: State) -> None:
        """Store the state of some rows; it is read only while their slots run."""
        state = self.states[stage]
        if state is None:  # rows for every slot, overwritten by its own init
            empty = torch.zeros(len(self.search.sample), dtype=torch.int64)
            state = self.states[stage] = part.rows(empty)
        state.assign(slots, part)
        self.candidate[slots] = part.candidate
        self.steps_left[slots] = part.steps_left
        self.phase[slots] = part.phase

    def _show(self, slots: Tensor) -> None:
        """Verify projected examples, and the last candidates of rows without steps left."""
        samples, x, _, eps = self._rows(slots)
        shrink = self.search.task[slots] == SHRINK
        smaller = project(self.best[slots], x, eps, self.norm)
        candidate = torch.where(spread(shrink, x), smaller, self.candidate[slots])
        self.candidate[slots] = candidate
        self.seen[slots] &= ~shrink
        view = self.target.view(samples, int(self.search.stage[slots[0]]))
        self._verify(slots, candidate, view)
        misclassified = self._settle(slots, x, view)
        for slot in slots[~misclassified].tolist():
            self.search.not_found(slot)

    def _verify(self, slots: Tensor, candidate: Tensor, view: ModelView) -> None:
        """Evaluate the candidates on which the attack has not called the model."""
        for image, _ in view.seen:
            self.seen[slots] |= same(image, candidate)
        rows = (~self.seen[slots]).nonzero().squeeze(1)
        if len(rows):
            late = self.target.view(view.samples[rows], view.stage)
            late.logits(candidate[rows])
            wrong = torch.zeros(len(slots), dtype=torch.bool)
            wrong[rows] = late.seen[0][1]
            view.seen.append((candidate, wrong))
            self.seen[slots] = True

    def _settle(self, slots: Tensor, x: Tensor, view: ModelView) -> Tensor:
        """Record the adversarial examples among the view's inputs; returns their rows, ``(n,)``."""
        reach = self.reach[self.search.point[slots]]
        images, distances = nearest_examples(view.seen, x, reach, self.norm)
        misclassified = distances.isfinite()
        if images is not None and misclassified.any():
            # made within the step, as the start of a later run
            new = slots[misclassified & ~same(images, self.candidate[slots])]
            self.produced_by[new] = self.phase[new]
            self._record(slots[misclassified], images[misclassified], distances[misclassified])
        return misclassified

    def _record(self, slots: Tensor, images: Tensor, distances: Tensor) -> None:
        """Record adversarial examples at their distances, and advance the search of their slots."""
        samples, positions = self.search.sample[slots], self.search.point[slots]
        if self.sweep == "fast":  # an example may lie in a smaller ball of the grid
            inside = torch.searchsorted(self.reach, distances)
            positions = torch.minimum(positions, inside.clamp_min(1))
        stages, phases = self.search.stage[slots].tolist(), self.produced_by[slots].tolist()
        finders = [self.stages[i].finders[k] for i, k in zip(stages, phases, strict=True)]
        self.found.note(samples, positions, images, finders)
        self.best[slots] = images
        for slot, position in zip(slots.tolist(), positions.tolist(), strict=True):
            self.search.found(slot, position)
