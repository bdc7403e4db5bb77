"""An adversarial example at the border of a ball lies in it by every later check, or outside."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from robench.attacks import IterativeAttack, Noise, State, View
from robench.attacks.contract.attack import Start, begin
from robench.attacks.primitives.norms import tolerance
from robench.epsilon import parse_grid
from robench.registry import Model
from robench.results import ROBUST
from tests.support.sweeping import sweep


class Shown(IterativeAttack):
    """Calls the model on an image at a distance, and proposes the clean one."""

    name: ClassVar[str] = "shown"
    start: ClassVar[Start] = "cold"

    at: float = 0.0

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        return begin(x, 1)

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        view.logits(x + self.at)
        state.steps_left = state.steps_left - 1
        return x, state


class ShownL2(Shown):
    norm: ClassVar[str] = "l2"


class From(torch.nn.Module):
    """Misclassifies numbers from a threshold on."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.full_like(x, 0.5), (x >= self.threshold).float()], 1)


@pytest.mark.parametrize("kind", [Shown, ShownL2])
def test_the_position_is_the_smallest_ball_in_double_precision(kind: type[Shown]) -> None:
    x, y = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    grid, slack = parse_grid(["2/255", "4/255", "8/255"]), tolerance(x, kind.norm)
    values = np.array([epsilon.value for epsilon in grid])
    balls = np.minimum(values, values.astype(np.float32)) + slack
    for border, units in product(values[1:], range(-3, 4)):
        near = np.float32(border + slack)
        at = float(near + units * np.spacing(near))
        rows = sweep(Model(From(at), "digits/from", 2), kind(at=at), x, y, grid).run()
        position = int(np.searchsorted(balls, at))
        assert rows["minimal_position"].item() == (position if position < len(grid) else ROBUST)
