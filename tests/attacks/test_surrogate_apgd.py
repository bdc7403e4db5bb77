"""APGD-T through a surrogate of its own."""

import pytest
import torch

from robench.attacks import APGDT, SurrogateAPGDT
from robench.engine.sample_noise import SampleNoise
from robench.engine.view import ModelView, QueryCounter
from robench.spiking import LIFParameters
from tests.support.sweeping import GRID, robust_at, sweep, three_alike
from tests.support.two_layers import Two, model_of


@pytest.fixture
def spiking():
    model = model_of(Two(LIFParameters(0.5), surrogate=None).float())
    x = torch.rand(30, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    return model, x, model.logits(x).argmax(1)


def test_it_finds_examples_where_the_network_has_no_gradient(spiking):
    model, x, y = spiking
    none = sweep(model, APGDT(steps=10, n_targets=3), x, y).run()
    found = sweep(model, SurrogateAPGDT(steps=10), x, y).run()
    assert (found["minimal_position"] > 0).sum() > (none["minimal_position"] > 0).sum()
    assert set(found["found_by"].dropna()) <= {"target 1", "target 2", "target 3"}
    assert found["reverified"].all()


def test_each_run_raises_the_margin_of_its_target(spiking):
    model, x, y = spiking
    attack, n = SurrogateAPGDT(steps=12, n_targets=2), len(x)
    eps = torch.full((n,), 0.3)
    view = ModelView(model, y, torch.arange(n), QueryCounter.empty(n))
    noise = SampleNoise(0, "digits", range(n), (3, 2, 2))
    state = attack.init(view, x, y, eps, noise)
    for run in range(2):
        first = None
        for _ in range(12):
            state.candidate, state = attack.step(view, x, y, eps, state, noise)
            first = state.best_loss.clone() if first is None else first
        assert (state.best_loss >= first).all()
        assert (state.best_loss > first).float().mean() > 0.5
        target = state.target[:, run]
        logits = model.logits(state.best)
        others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
        margin = logits.gather(1, target[:, None]).squeeze(1) - others
        torch.testing.assert_close(margin, state.best_loss)


def test_the_statistics_of_the_neurons_end_with_each_run(spiking):
    model, x, y = spiking
    engine = sweep(model, SurrogateAPGDT(steps=4), x, y)
    engine.run()
    assert all(entry is None for entry in engine.states[0].statistics.entries)


def test_it_is_apgd_t_on_a_network_without_spikes(linear):
    wide = three_alike(linear, 5)
    plain = sweep(wide, APGDT(steps=9, n_targets=3), linear.x, linear.y).run()
    own = sweep(wide, SurrogateAPGDT(steps=9), linear.x, linear.y).run()
    assert plain.equals(own)


def test_two_classes_are_enough(linear):
    rows = sweep(linear.model, SurrogateAPGDT(steps=15), linear.x, linear.y).run()
    assert [robust_at(rows, k) for k in range(len(GRID))] == [linear.robust(e.value) for e in GRID]
