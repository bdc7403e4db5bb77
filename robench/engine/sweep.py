"""The sweep: the smallest ε of a grid at which an attack breaks each sample.

Rows advance on their own: one that breaks, or that has spent its steps, leaves the batch at once
and another takes its place, whatever its ε. A batch holds rows of one stage and phase, so that an
attack can substitute one surrogate for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor

from robench.attacks import Attack, LineAttack, State, spread
from robench.attacks.primitives.norms import in_box, length, project, tolerance
from robench.attacks.primitives.per_sample import magnitude, same
from robench.engine.chunk import Chunk, batches
from robench.engine.evaluation_draws import EOT
from robench.engine.minimal_epsilon import MinimalEpsilons
from robench.engine.sample_table import reverify, table
from robench.engine.search import BEGIN, RUN, SHRINK, Search, SweepName
from robench.engine.stages import beginnings, iterative
from robench.engine.target import Target
from robench.engine.view import ModelView
from robench.epsilon import Epsilon
from robench.errors import EvaluationError
from robench.registry import Model
from robench.runtime.threads import Workers


class ChunkSweep:
    """An attack on one chunk over a grid.

    Attributes:
        target: the model and the images, with the count of the calls.
        breaks: what the attack found.
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
        """Prepare a sweep; ``grid`` begins with 0, which is the clean image.

        ``sources`` are other models on which the attack may make examples, ``eot`` draws that a
        gradient of a stochastic model is averaged over.
        """
        self.attack, self.stages = attack, iterative(attack)
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
        budgets = [epsilon.value / self.target.scale for epsilon in grid]
        self.budgets = torch.tensor(budgets, dtype=self.x.dtype)
        self.found = MinimalEpsilons(self.x, len(grid))

    @property
    def examples(self) -> Tensor:
        """The witnesses as the model was shown them, of the shape of the chunk's images."""
        return self.target.examples(self.found.example)

    def run(self, progress: Callable[[int], None] = lambda finished: None) -> pd.DataFrame:
        """Sweep; returns the rows of the store with ``dead`` beside them.

        Args:
            progress: called with the number of samples that are finished.
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
        if self.sweep == "raw" or isinstance(self.attack, LineAttack):
            rows = rows.assign(**self.found.raw_columns())
        return rows

    def _along(self, attack: LineAttack, right: Tensor, progress: Callable[[int], None]) -> None:
        """Show every ε of the grid along the direction of each sample."""
        done = len(self.x) - len(right)
        for samples in batches(right, self.batch_size):
            x, y, view = self.x[samples], self.y[samples], self.target.view(samples, 0)
            direction = attack.direction(view, x, y, self.target.noise(samples))
            _require_usable(direction, x)
            for point in range(1, len(self.budgets)):
                eps = self.budgets[point].expand(len(samples))
                image = project(x + spread(eps, x) * direction, x, eps, self.norm)
                rows = (view.logits(image).argmax(1) != y).nonzero().squeeze(1)
                finders = [attack.finders[0]] * len(rows)
                positions = torch.full_like(rows, point)
                self.found.note(samples[rows], positions, image[rows], finders)
            done += len(samples)
            progress(done)

    def _search(self, right: Tensor, progress: Callable[[int], None]) -> None:
        """Search the smallest ε of each sample."""
        points, parts = len(self.budgets), beginnings(self.attack)
        search = self.search = Search(right, points, self.stages, self.sweep, parts)
        n = len(search.sample)
        self.best = self.x[search.sample]  # the latest witness: where a warm run starts
        self.candidate = self.best.clone()
        self.states: list[State | None] = [None] * len(self.stages)
        self.steps_left = torch.zeros(n, dtype=torch.int64)
        self.phase = torch.zeros(n, dtype=torch.int64)
        self.taken = torch.zeros(n, dtype=torch.int64)  # steps of the run, which it draws by
        self.seen = torch.zeros(n, dtype=torch.bool)
        self.produced_by = torch.zeros(n, dtype=torch.int64)
        while search.live.any():
            self._work()
            progress(len(self.x) - len(set(search.sample[search.live].tolist())))

    def _work(self) -> None:
        """One call of the attack, for the rows of the largest group.

        Rows that wait gather, so that small batches stay rare.
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
        """Which slots have the key that is commonest among ``slots``."""
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
        """Put rows of one stage at the start of a run."""
        samples, x, y, eps = self._rows(slots)
        stage = int(self.search.stage[slots[0]])
        self.taken[slots] = 0
        view = self.target.view(samples, stage, self.taken[slots])
        part = self.stages[stage].init(view, x, y, eps, self.target.noise(samples))
        _require_usable(part.candidate, x)
        warm = spread(self.search.warm(slots), x)
        begin = torch.where(warm, self.best[slots], part.candidate)
        part.candidate = project(begin, x, eps, self.norm)
        self.seen[slots] = same(part.candidate, x)  # known to be right
        self.search.task[slots] = RUN
        self._store(slots, stage, part)
        self.produced_by[slots] = part.phase
        self._settle(slots, x, eps, view)

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
        _require_usable(candidate, x)
        self._verify(slots, before, view)
        misclassified = self._settle(slots, x, eps, view)
        part.release(misclassified)
        part.candidate = project(candidate, x, eps, self.norm)
        self._store(slots, stage, part)
        self.seen[slots] = same(part.candidate, before)  # has not moved
        self.produced_by[slots[~misclassified]] = phase[
            ~misclassified
        ]  # a witness keeps the member it is from

    def _store(self, slots: Tensor, stage: int, part: State) -> None:
        """Keep the state of some rows; only those whose slot still runs will read it."""
        state = self.states[stage]
        if state is None:  # a place for every slot; each is filled by its own init
            empty = torch.zeros(len(self.search.sample), dtype=torch.int64)
            state = self.states[stage] = part.rows(empty)
        state.assign(slots, part)
        self.candidate[slots] = part.candidate
        self.steps_left[slots] = part.steps_left
        self.phase[slots] = part.phase

    def _show(self, slots: Tensor) -> None:
        """Verify shrunk witnesses and the last candidates of rows that have spent their steps."""
        samples, x, _, eps = self._rows(slots)
        shrink = self.search.task[slots] == SHRINK
        smaller = project(self.best[slots], x, eps, self.norm)
        candidate = torch.where(spread(shrink, x), smaller, self.candidate[slots])
        self.candidate[slots] = candidate
        self.seen[slots] &= ~shrink
        view = self.target.view(samples, int(self.search.stage[slots[0]]))
        self._verify(slots, candidate, view)
        misclassified = self._settle(slots, x, eps, view)
        for row in (~misclassified).nonzero().squeeze(1).tolist():
            slot = int(slots[row])
            self.search.not_found(slot)

    def _verify(self, slots: Tensor, candidate: Tensor, view: ModelView) -> None:
        """Show the model the candidates that it was not shown by the attack itself."""
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

    def _settle(self, slots: Tensor, x: Tensor, eps: Tensor, view: ModelView) -> Tensor:
        """Take the breaks out of what the model was shown; returns which rows broke, ``(n,)``."""
        nearest = torch.full_like(eps, torch.inf)
        found = None
        for images, wrong in view.seen:
            rows = wrong.nonzero().squeeze(1)
            if not len(rows):
                continue
            image = images.index_select(0, rows)
            distance = length(image - x.index_select(0, rows), self.norm)
            inside = in_box(image) & (distance <= eps[rows] + self.tolerance)
            hit = inside & (distance < nearest[rows])
            nearest[rows[hit]] = distance[hit]
            found = torch.empty_like(x) if found is None else found
            found[rows[hit]] = image[hit]
        misclassified = nearest.isfinite()
        if found is not None and misclassified.any():
            self._break(slots[misclassified], found[misclassified], nearest[misclassified])
        return misclassified

    def _break(self, slots: Tensor, images: Tensor, distances: Tensor) -> None:
        """Note that slots were broken by images so far away, and send them on."""
        samples, positions = self.search.sample[slots], self.search.point[slots]
        if self.sweep == "fast":  # it may lie inside a smaller ball than the one it was sought in
            inside = torch.searchsorted(self.budgets, distances - self.tolerance)
            positions = torch.minimum(positions, inside.clamp_min(1))
        stages, phases = self.search.stage[slots].tolist(), self.produced_by[slots].tolist()
        finders = [self.stages[i].finders[k] for i, k in zip(stages, phases, strict=True)]
        self.found.note(samples, positions, images, finders)
        self.best[slots] = images
        for slot, position in zip(slots.tolist(), positions.tolist(), strict=True):
            self.search.found(slot, position)


def _require_usable(candidate: Tensor, x: Tensor) -> None:
    """Another shape would be broadcast, and NaN or infinity would count as a run that held."""
    if candidate.shape != x.shape:
        raise EvaluationError(
            f"the attack returned candidates of shape {tuple(candidate.shape)} "
            f"for images of shape {tuple(x.shape)}"
        )
    if not magnitude(candidate).isfinite().all():
        raise EvaluationError("the attack returned a candidate that is NaN or infinite")
