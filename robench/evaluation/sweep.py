"""The sweep: the smallest ε of a grid at which an attack breaks each sample.

Rows advance on their own: one that breaks, or that has spent its steps, leaves the batch at once
and another takes its place, whatever its ε. A batch holds rows of one phase, so that an attack
can substitute one surrogate for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robench.attacks import Attack, DirectAttack, IterativeAttack, Noise, State, View, spread
from robench.attacks.base import begin
from robench.errors import EvaluationError
from robench.evaluation.noise import SampleNoise
from robench.evaluation.view import Ledger, ModelView
from robench.numbers import Epsilon
from robench.results import CLEAN_WRONG, NEVER
from robench.zoo import Model

BALL_TOLERANCE = 1e-6


class OneStep(IterativeAttack):
    """A direct attack in the form that the engine steps."""

    attack: DirectAttack

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """The clean image."""
        return begin(x, 1)

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """The attack's candidate."""
        state.steps_left = state.steps_left - 1
        return self.attack.run(view, x, y, eps, noise), state


def iterative(attack: Attack) -> IterativeAttack:
    """The attack in the form that the engine steps."""
    if isinstance(attack, IterativeAttack):
        return attack
    assert isinstance(attack, DirectAttack)
    return OneStep.model_construct(attack=attack)


def project(candidate: Tensor, x: Tensor, eps: Tensor) -> Tensor:
    """Onto the L∞ ball of each row and the box [0, 1]; what is not finite goes back to ``x``."""
    e = spread(eps, x)
    candidate = torch.where(candidate.isfinite(), candidate, x)
    candidate = torch.minimum(torch.maximum(candidate, x - e), x + e)
    # at ε = 0 the bounds are x itself; rounding in x ± ε never leaves the box for long
    return candidate.clamp(0, 1)


@dataclass
class Chunk:
    """The samples of a chunk.

    Attributes:
        x: images in [0, 1], ``(N, C, H, W)``.
        y: labels, ``(N,)``.
        indices: index of each in the data set's test images.
    """

    x: Tensor
    y: Tensor
    indices: Sequence[int]


class ChunkSweep:
    """An attack on one chunk over an ascending grid.

    A slot is a sample at one ε. With ``carry`` each sample has one slot that climbs the grid until
    it breaks (what is broken at an ε is broken at every larger one); without, every sample has a
    slot at every ε.
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
        carry: bool = True,
    ) -> None:
        """Prepare a sweep; ``grid`` begins with 0, which is the clean image."""
        self.model, self.attack, self.chunk = model, iterative(attack), chunk
        self.members = attack.members
        self.seed, self.batch_size, self.carry = seed, batch_size, carry
        self.budgets = torch.tensor([epsilon.value for epsilon in grid], dtype=chunk.x.dtype)
        n = len(chunk.x)
        self.ledger = Ledger.empty(n)
        self.position = torch.full((n,), NEVER)
        self.broken = torch.zeros(n, len(grid), dtype=torch.bool)
        self.witness = chunk.x.clone()
        self.member = [""] * n

    def run(self, progress: Callable[[int], None] = lambda finished: None) -> pd.DataFrame:
        """Sweep; returns the rows of the store with the ledger's ``dead`` beside them.

        Args:
            progress: called with the number of samples that are finished.
        """
        prediction = self._clean()
        self._start(prediction == self.chunk.y)
        while self.live.any():
            fresh = self.live & self.fresh
            if fresh.any():
                self._init(self._take(fresh))
            else:
                # the largest group first: rows that wait gather, and small batches stay rare
                finished = self.live & (self.state.steps_left <= 0)
                running = self._largest_phase(self.live & ~finished)
                if finished.sum() >= running.sum():
                    self._finish(self._take(finished))
                else:
                    self._step(self._take(running))
            progress(len(self.chunk.x) - len(set(self.sample[self.live].tolist())))
        return self._table(prediction, self._reverify())

    def _clean(self) -> Tensor:
        predictions = []
        for rows in torch.split(torch.arange(len(self.chunk.x)), self.batch_size):
            view = self._view(rows)
            predictions.append(view.logits(self.chunk.x[rows]).argmax(1))
        prediction = torch.cat(predictions)
        wrong = prediction != self.chunk.y
        self.position[wrong] = CLEAN_WRONG
        self.broken[wrong, 0] = True
        return prediction

    def _start(self, right: Tensor) -> None:
        samples = right.nonzero().squeeze(1)
        points = torch.arange(1, len(self.budgets))
        if not self.carry:
            self.sample = samples.repeat_interleave(len(points))
            self.point = points.repeat(len(samples))
        else:
            self.sample, self.point = samples, torch.ones_like(samples)
        n = len(self.sample) if len(self.budgets) > 1 else 0
        self.sample, self.point = self.sample[:n], self.point[:n]
        self.live = torch.ones(n, dtype=torch.bool)
        self.fresh = torch.ones(n, dtype=torch.bool)
        self.seen = torch.zeros(n, dtype=torch.bool)
        self.produced_by = torch.zeros(n, dtype=torch.int64)
        self.state: State = begin(self.chunk.x[:0], 0)

    def _view(self, samples: Tensor) -> ModelView:
        return ModelView(self.model, self.chunk.y[samples], samples, self.ledger)

    def noise(self, samples: Tensor) -> SampleNoise:
        """The random numbers of some samples of the chunk."""
        indices = [self.chunk.indices[int(i)] for i in samples]
        return SampleNoise(self.seed, self.model.dataset, indices, self.chunk.x.shape[1:])

    def _largest_phase(self, slots: Tensor) -> Tensor:
        """Those of the slots that share the phase which most of them are in."""
        if not slots.any():
            return slots
        phases = self.state.phase
        return slots & (phases == phases[slots].bincount().argmax())

    def _take(self, slots: Tensor) -> Tensor:
        """The first slots of a mask that fit into a batch, as indices."""
        return slots.nonzero().squeeze(1)[: self.batch_size]

    def _init(self, slots: Tensor) -> None:
        samples, x, y, eps = self._rows(slots)
        view = self._view(samples)
        part = self.attack.init(view, x, y, eps, self.noise(samples))
        part.candidate = project(part.candidate, x, eps)
        if len(self.state.candidate) == 0:
            empty = torch.zeros(len(self.sample), dtype=torch.int64)
            self.state = part.rows(empty)  # a place for every slot; each is filled by its own init
        self.state.assign(slots, part)
        self.fresh[slots] = False
        self.produced_by[slots] = part.phase
        # the clean image is known to be right; a random start is not known to be anything
        self.seen[slots] = (part.candidate == x).flatten(1).all(1)
        self._settle(slots, view)

    def _step(self, slots: Tensor) -> None:
        samples, x, y, eps = self._rows(slots)
        view = self._view(samples)
        before, phase = self.state.candidate[slots], self.state.phase[slots]
        candidate, part = self.attack.step(
            view, x, y, eps, self.state.rows(slots), self.noise(samples)
        )
        self._settle(slots, view, verify=True)
        part.candidate = project(candidate, x, eps)
        self.state.assign(slots, part)
        unchanged = (part.candidate == before).flatten(1).all(1)
        self.seen[slots] = unchanged  # what has not moved has been seen
        self.produced_by[slots] = phase

    def _finish(self, slots: Tensor) -> None:
        """Verify the last candidate of rows that have spent their steps; let the rest climb."""
        samples = self.sample[slots]
        self._settle(slots, self._view(samples), verify=True)
        left = slots[self.live[slots]]
        if not self.carry:
            self.live[left] = False
            return
        self.point[left] += 1
        self.fresh[left] = True
        self.live[left[self.point[left] >= len(self.budgets)]] = False

    def _settle(self, slots: Tensor, view: ModelView, *, verify: bool = False) -> None:
        """Take the breaks out of what the model was shown.

        With ``verify`` a candidate that it was not shown is shown to it now.
        """
        _, x, _, eps = self._rows(slots)
        candidate = self.state.candidate[slots]
        for image, _ in view.seen:
            self.seen[slots] |= (image == candidate).flatten(1).all(1)
        if verify and not self.seen[slots].all():
            rows = (~self.seen[slots]).nonzero().squeeze(1)
            late = self._view(self.sample[slots[rows]])
            late.logits(candidate[rows])
            image, wrong = late.seen[0]
            everywhere = torch.zeros(len(slots), dtype=torch.bool)
            everywhere[rows] = wrong
            view.seen.append((candidate, everywhere))
            self.seen[slots] = True
        for image, wrong in view.seen:
            distance = (image - x).abs().flatten(1).amax(1)
            inside = (distance <= eps + BALL_TOLERANCE) & _in_box(image)
            hits = (wrong & inside & self.live[slots]).nonzero().squeeze(1)
            for row in hits.tolist():
                self._break(int(slots[row]), image[row])

    def _break(self, slot: int, image: Tensor) -> None:
        sample, point = int(self.sample[slot]), int(self.point[slot])
        self.live[slot] = False
        self.broken[sample, point] = True
        best = int(self.position[sample])
        if best == NEVER or point < best:
            self.position[sample] = point
            self.witness[sample] = image
            self.member[sample] = self.members[int(self.produced_by[slot])]

    def _rows(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        samples = self.sample[slots]
        return (
            samples,
            self.chunk.x[samples],
            self.chunk.y[samples],
            self.budgets[self.point[slots]],
        )

    def _reverify(self) -> Tensor:
        """Whether each witness breaks again, shown in another batch."""
        again = torch.zeros(len(self.chunk.x), dtype=torch.bool)
        attacked = (self.position > CLEAN_WRONG).nonzero().squeeze(1)
        for rows in torch.split(attacked, self.batch_size // 2 + 1):
            with torch.no_grad():
                logits = self.model.logits(self.witness[rows])
            again[rows] = logits.argmax(1) != self.chunk.y[rows]
        return again

    def _table(self, prediction: Tensor, again: Tensor) -> pd.DataFrame:
        position = self.position.numpy()
        attacked = position > CLEAN_WRONG
        delta = (self.witness - self.chunk.x).double().flatten(1)
        linf = delta.abs().amax(1).numpy()
        budgets = self.budgets.double().numpy()
        if (linf[attacked] > budgets[position[attacked]] + BALL_TOLERANCE).any():
            raise EvaluationError("a witness lies outside its ε-ball: a bug in the engine")
        columns = {
            "index": np.asarray(self.chunk.indices, dtype=np.int64),
            "label": self.chunk.y.numpy(),
            "clean_prediction": prediction.numpy(),
            "break_position": position,
            "break_epsilon": np.where(position == NEVER, np.nan, budgets[position]),
            "linf": np.where(attacked, linf, np.nan),
            "l2": np.where(attacked, delta.norm(dim=1).numpy(), np.nan),
            "member": pd.array([name or None for name in self.member], dtype="string"),
            "forwards": self.ledger.forwards.numpy(),
            "backwards": self.ledger.backwards.numpy(),
            "reverified": again.numpy() | ~attacked,
            "dead": self.ledger.dead.numpy(),
        }
        raw = {f"raw_{k}": column.numpy() for k, column in enumerate(self.broken.unbind(1))}
        return pd.DataFrame(columns | ({} if self.carry else raw))


def _in_box(image: Tensor) -> Tensor:
    low, high = image.flatten(1).amin(1), image.flatten(1).amax(1)
    return (low >= -BALL_TOLERANCE) & (high <= 1 + BALL_TOLERANCE)
