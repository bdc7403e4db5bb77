from __future__ import annotations

import pytest
import torch

from robench.attacks import PGD, SAPGD
from robench.attacks.primitives.norms import project
from robench.datasets import find_dataset
from robench.engine.sample_noise import SampleNoise
from robench.engine.view import ModelView, QueryCounter
from robench.epsilon import Epsilon, parse_grid
from robench.registry import find_attack, select_models
from robench.spiking import LIFParameters
from tests.spiking.test_adaptive_surrogates import by_hand as gradient_by_hand
from tests.support.linear_model import LinearModel
from tests.support.sweeping import GRID, robust_at, sweep
from tests.support.two_layers import Two, model_of

ONE = parse_grid(["0.00001"])  # too small for any adversarial example


@pytest.fixture(params=[False, True], ids=["box idle", "box active"])
def linear(request: pytest.FixtureRequest) -> LinearModel:
    return LinearModel((3, 4, 4), 16, box=request.param)


@pytest.mark.parametrize("order", ["fast", "ascending", "raw"])
def test_the_closed_form_of_a_linear_model(linear, order) -> None:
    rows = sweep(linear.model, SAPGD(steps=15), linear.x, linear.y, sweep=order).run()
    assert [robust_at(rows, k) for k in range(len(GRID))] == [linear.robust(e.value) for e in GRID]
    assert rows["reverified"].all()


@pytest.mark.parametrize("size", [1, 3])
def test_batches_do_not_matter(linear, size) -> None:
    attack = SAPGD(steps=9, restarts=2)
    whole = sweep(linear.model, attack, linear.x, linear.y).run()
    small = sweep(linear.model, attack, linear.x, linear.y, batch_size=size).run()
    for column in ("minimal_position", "forwards", "backwards"):
        assert (whole[column] == small[column]).all()
    assert (whole["minimal_position"] > 0).any()


def test_queries_are_counted(linear) -> None:
    rows = sweep(linear.model, SAPGD(steps=8, restarts=3), linear.x, linear.y, ONE).run()
    assert (rows["backwards"] == 24).all()
    assert rows["forwards"].between(1, 1 + 3).all()  # the clean image, and the end of each run


def test_the_step_falls_at_the_published_checkpoints() -> None:
    sizes = SAPGD().step_sizes()
    # 22, then 19, 16, 13, 10, 7, 6, 6 steps
    falls = [k for k in range(1, 100) if sizes[k] != sizes[k - 1]]
    assert falls == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sizes[0] == 1
    assert all(sizes[k] == sizes[k - 1] / 2 for k in falls)
    assert SAPGD(steps=3).step_sizes() == [1, 0.5, 0.25]


def test_the_card_has_the_published_settings() -> None:
    attack = find_attack("sapgd").attack
    assert attack == SAPGD()
    assert (attack.steps, attack.restarts, attack.surrogate) == (100, 1, "assg(0.425)")


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_run_is_the_published_one(restarts) -> None:
    """Update, statistics and step sizes against a loop for each image, in float64."""
    net = Two(LIFParameters(0.5))
    model = model_of(net)
    n, steps, eps = 3, 12, 0.2
    x = torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    y = torch.tensor([0, 1, 2])
    budget = torch.full((n,), eps, dtype=torch.float64)
    attack = SAPGD(steps=steps, restarts=restarts)
    noise = SampleNoise(0, "digits", range(n), (3, 2, 2))
    view = ModelView(model, y, torch.arange(n), QueryCounter.empty(n))
    state = attack.init(view, x, y, budget, noise)
    iterates = []
    for _ in range(steps * restarts):
        state.candidate = project(state.candidate, x, budget)
        iterates.append(state.candidate)
        state.candidate, state = attack.step(view, x, y, budget, state, noise)
    iterates.append(project(state.candidate, x, budget))
    assert not state.steps_left.any()
    assert all(entry is None for entry in state.statistics.entries)

    for row in range(n):
        found = []
        for run in range(restarts):
            shift = (2 * noise("start", run) - 1)[row].double()
            here = (x[row] + eps * shift / shift.abs().max()).clamp(0, 1)
            statistics, size, window, age = {}, eps, 2, 0
            m = v = torch.zeros_like(here)
            found += [here] * (run == 0)  # a later start is no candidate: the end of a run is
            for _ in range(steps):
                g = gradient_by_hand(net, here, y[row], statistics)
                m = 0.5 * m + g / g.abs().mean()
                v = 0.8 * v + g**2 / (g**2).mean()
                step = (m / (v.sqrt() + 1e-12) * size).clamp(-size, size)
                here = torch.minimum(torch.maximum(here + step, x[row] - eps), x[row] + eps)
                here = here.clamp(0, 1)
                found.append(here)
                age += 1
                if age == window:
                    size, age, window = size / 2, 0, max(window - 1, 1)
        for mine, theirs in zip((i[row] for i in iterates), found, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=0)


def test_the_statistics_of_the_neurons_are_freed() -> None:
    net = Two(LIFParameters(0.5)).float()
    model = model_of(net)
    x = torch.rand(30, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    engine = sweep(model, SAPGD(steps=6), x, model.logits(x).argmax(1), batch_size=8)
    rows = engine.run()
    assert (rows["minimal_position"] > 0).any()
    assert all(entry is None for entry in engine.states[0].statistics.entries)


def test_a_spiking_network_falls_without_a_gradient_of_its_own() -> None:
    (entry,) = select_models(["digits/vgg16-hybrid"])
    model = entry.load()
    images = find_dataset("digits").load("test").first(12)
    grid = (Epsilon(0.0, "0"), Epsilon(16 / 255, "16/255"))
    counts = {}
    for attack in (SAPGD(steps=10), PGD(steps=10)):
        rows = sweep(model, attack, images.tensor(), images.targets(), grid).run()
        counts[attack.name] = robust_at(rows, 1)
    assert counts["sapgd"] < counts["pgd"]


def test_a_surrogate_without_a_derivative_is_refused() -> None:
    from robench.errors import UsageError

    with pytest.raises(UsageError, match="derivative"):
        find_attack("sapgd[surrogate=none]")
