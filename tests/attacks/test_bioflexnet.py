from __future__ import annotations

import pytest
import torch

from robench.engine.sample_noise import SampleNoise
from robench.engine.view import ModelView, QueryCounter
from robench.epsilon import parse_grid
from robench.registry import find_attack
from tests.support.sweeping import robust_at, sweep

GRID = parse_grid(["0.01", "0.02", "0.05", "0.1"])


@pytest.mark.parametrize("name", ["pgd-bioflexnet", "spgd-bioflexnet"])
def test_twenty_steps_of_a_quarter_epsilon_from_a_random_start(linear, name) -> None:
    attack = find_attack(name).attack
    assert attack.name == name
    x, y = linear.x[:5], linear.y[:5]
    eps = torch.full((5,), 0.08)
    noise = SampleNoise(0, "digits", list(range(5)), x.shape[1:])
    view = ModelView(linear.model, y, torch.arange(5), QueryCounter.empty(5))
    state = attack.init(view, x, y, eps, noise)
    assert (state.steps_left == 20).all()
    assert torch.allclose(state.candidate, x + 0.08 * (2 * noise("start") - 1))
    before = state.candidate
    after, _ = attack.step(view, x, y, eps, state, noise)
    assert torch.allclose((after - before).abs(), torch.tensor(0.02))


def test_both_are_the_same_attack_and_exact_on_a_linear_model(linear) -> None:
    tables = [
        sweep(linear.model, find_attack(name).attack, linear.x, linear.y, GRID).run()
        for name in ("pgd-bioflexnet", "spgd-bioflexnet")
    ]
    assert tables[0]["minimal_position"].equals(tables[1]["minimal_position"])
    assert [robust_at(tables[0], k) for k in range(len(GRID))] == [
        linear.robust(e.value) for e in GRID
    ]
    assert tables[0]["backwards"].max() > 0
