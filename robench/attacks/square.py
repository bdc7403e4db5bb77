"""Square Attack: random search with squares at the corners of the ball, without gradients.

Andriushchenko, Croce, Flammarion and Hein, Square Attack: a query-efficient black-box adversarial
attack via random search, ECCV 2020, with the constants published there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robench.attacks.contract.attack import MOST, Gradients, IterativeAttack, Start, State
from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.norms import project
from robench.attacks.primitives.per_sample import spread

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries, of 10,000, after which the share of pixels is halved."""


@dataclass
class SquareState(State):
    """A state with the best image, ``(N, C, H, W)``, and its margin, ``(N,)``."""

    best: Tensor
    margin: Tensor


class Square(IterativeAttack):
    """Random squares of ±ε, kept where they lower the margin of the true class.

    Attributes:
        queries: the number of images for each sample.
        p_init: the share of pixels that the first squares cover.
        rescale: whether the halvings, published for 10,000 queries, are scaled to ``queries``.
    """

    name: ClassVar[str] = "square"
    gradients: ClassVar[Gradients] = "none"
    version: ClassVar[int] = 2  # draws only the numbers that it uses
    start: ClassVar[Start] = "cold"

    queries: int = Field(5000, ge=1, le=MOST)
    p_init: float = Field(0.8, gt=0, le=1)
    rescale: bool = True

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> SquareState:
        """Vertical stripes of ±ε, one pixel wide."""
        stripes = noise("square stripes", shape=(*x.shape[1:-2], 1, x.shape[-1]))
        signs = (stripes < 0.5).to(x.dtype) * 2 - 1
        count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return SquareState(
            (x + spread(eps, x) * signs).clamp(0, 1),
            count + self.queries,
            count.clone(),
            x.clone(),
            torch.full_like(eps, torch.inf),
        )

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """Evaluate the last image, keep the better one, and draw the next square onto it."""
        assert isinstance(state, SquareState)
        done = self.queries - state.steps_left
        logits = view.logits(state.candidate)
        true = logits.gather(1, y[:, None]).squeeze(1)
        margin = true - logits.scatter(1, y[:, None], -torch.inf).amax(1)
        better = margin < state.margin
        state.margin = torch.where(better, margin, state.margin)
        state.best = torch.where(spread(better, x), state.candidate, state.best)
        state.steps_left = state.steps_left - 1
        shift = 2 * spread(eps, x) * self._square(x, done, noise)
        return project(state.best + shift, x, eps), state

    def side(self, done: Tensor, height: int, width: int) -> Tensor:
        """The side of the next square after ``done`` queries, ``(N,)``."""
        passed = done * 10_000 // self.queries if self.rescale else done
        halvings = (passed[:, None] > torch.tensor(HALVINGS, device=done.device)).sum(1)
        share = self.p_init / 2.0**halvings
        return (share * height * width).sqrt().round().long().clamp(1, min(height, width))

    def _square(self, x: Tensor, done: Tensor, noise: Noise) -> Tensor:
        """±1 in the square of each row, with a sign for each channel, and 0 elsewhere.

        The frames of a sample share the square and have different signs.
        """
        height, width = x.shape[-2:]
        side = self.side(done, height, width)
        place = noise("square place", done, (2,))
        signs = (noise("square signs", done, (*x.shape[1:-2], 1, 1)) < 0.5).to(x.dtype) * 2 - 1
        top = (place[:, 0] * (height - side + 1)).long()
        left = (place[:, 1] * (width - side + 1)).long()
        rows, columns = torch.arange(height), torch.arange(width)
        inside = ((rows >= top[:, None]) & (rows < (top + side)[:, None]))[:, :, None] & (
            (columns >= left[:, None]) & (columns < (left + side)[:, None])
        )[:, None, :]
        return inside.view(-1, *[1] * (x.dim() - 3), height, width).to(x.dtype) * signs
