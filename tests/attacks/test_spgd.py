"""SPGD: its two runs, the estimators of their steps, the best iterate and the early end."""

import pytest
import torch

from robench.attacks import PGD, SAPGD, SPGD, LongRun
from robench.attacks.primitives.norms import project
from robench.engine.sample_noise import SampleNoise
from robench.engine.view import ModelView, QueryCounter
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.registry import Model, find_attack
from robench.spiking import LIFParameters
from tests.spiking.test_adaptive_surrogates import by_hand as gradient_by_hand
from tests.support.sweeping import GRID, robust_at, sweep
from tests.support.two_layers import Two, model_of

TINY = parse_grid(["0.00001"])  # too small for any adversarial example
SURROGATE = "assg_scaled(0.425)"


def images(n):
    return torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def test_spgd_is_the_run_of_pgd_and_a_long_run():
    first, last = SPGD(surrogate="atan", steps=7, restarts=2, rate_share=0.25).stages
    assert first == PGD()
    assert last == LongRun(surrogate="atan(2)", steps=7, restarts=2, rate_share=0.25)
    assert SPGD().finders == ("pgd", SURROGATE, "rga")
    assert find_attack("spgd").attack == SPGD()


@pytest.mark.parametrize("order", ["fast", "ascending", "raw"])
def test_the_closed_form_of_a_linear_model(linear, order):
    rows = sweep(linear.model, SPGD(steps=15), linear.x, linear.y, sweep=order).run()
    assert [robust_at(rows, k) for k in range(len(GRID))] == [linear.robust(e.value) for e in GRID]
    assert rows["reverified"].all()


def test_spgd_is_on_no_sample_weaker_than_pgd():
    model = model_of(Two(LIFParameters(0.5)).float())
    x = images(80)
    y = model.logits(x).argmax(1)
    own = sweep(model, PGD(), x, y).run()["minimal_position"]
    both = sweep(model, SPGD(steps=1), x, y).run()["minimal_position"]
    found = own > 0
    assert found.any()
    assert ((both[found] > 0) & (both[found] <= own[found])).all()


def started(model, attack, x, y, eps):
    n = len(x)
    noise = SampleNoise(0, "digits", range(n), tuple(x.shape[1:]))
    view = ModelView(model, y, torch.arange(n), QueryCounter.empty(n))
    return view, noise, attack.init(view, x, y, eps, noise)


@pytest.mark.parametrize("restarts", [1, 2])
def test_the_long_run_returns_to_its_best_iterate_where_the_step_is_halved(restarts):
    """Against a loop for each image, in float64."""
    net = Two(LIFParameters(0.5))
    model, n, steps, size = model_of(net), 3, 24, 0.2
    x, y = images(n).double(), torch.tensor([0, 1, 2])
    eps = torch.full((n,), size, dtype=torch.float64)
    attack = LongRun(steps=steps, restarts=restarts, surrogate="assg(0.425)")
    view, noise, state = started(model, attack, x, y, eps)
    iterates = []
    for _ in range(steps * restarts):
        state.candidate = project(state.candidate, x, eps)
        iterates.append(state.candidate)
        state.candidate, state = attack.step(view, x, y, eps, state, noise)
        ended = state.steps_left % steps == 0
        assert ended.all() == ended.any()  # else a row ended early and this loop compares nothing

    sizes, returned = [size * one for one in SAPGD(steps=steps).step_sizes()], 0
    for row in range(n):
        found = []
        for run in range(restarts):
            shift = (2 * noise("start", run) - 1)[row].double()
            here = (x[row] + size * shift / shift.abs().max()).clamp(0, 1)
            statistics, best, record = {}, here, -torch.inf
            m = v = torch.zeros_like(here)
            for done in range(steps):
                found.append(here)
                logits = net(here[None])[0]
                margin = torch.cat([logits[: y[row]], logits[y[row] + 1 :]]).max() - logits[y[row]]
                if margin > record:
                    best, record = here, margin
                g = gradient_by_hand(net, here, y[row], statistics)
                m = 0.5 * m + g / g.abs().mean()
                v = 0.8 * v + g**2 / (g**2).mean()
                if done and sizes[done] < sizes[done - 1]:
                    returned += not torch.equal(here, best)
                    here = best
                here = here + (m / (v.sqrt() + 1e-12)).clamp(-1, 1) * sizes[done]
                here = torch.minimum(torch.maximum(here, x[row] - size), x[row] + size).clamp(0, 1)
        starts = [steps * run for run in range(1, restarts)]  # the engine shows the last iterate
        for k, (mine, theirs) in enumerate(zip((i[row] for i in iterates), found, strict=True)):
            if k not in starts:
                torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=0)
    assert returned  # the rule was used


def steps_of(attack, mode):
    """The estimator of each step of a run, on images that stay robust."""
    model = model_of(Two(LIFParameters(0.5)).float(), mode=mode)
    x = images(3)
    y, eps = model.logits(x).argmax(1), torch.full((3,), 1e-3)
    view, noise, state = started(model, attack, x, y, eps)
    names = []
    for _ in range(attack.steps * attack.restarts):
        names.append(attack.finders[int(state.phase[0])])
        state.candidate, state = attack.step(view, x, y, eps, state, noise)
    return names


def test_every_second_step_on_a_hybrid_network_follows_its_rate_at_first(monkeypatch):
    monkeypatch.setattr(LongRun, "ended", SAPGD.ended)  # no early end
    usual, rate = [SURROGATE], [SURROGATE, "rga"]
    assert steps_of(LongRun(steps=9), "stbp") == usual * 9
    assert steps_of(LongRun(steps=8), "hybrid") == rate * 2 + usual * 4
    assert steps_of(LongRun(steps=8, restarts=2), "hybrid") == (rate * 2 + usual * 4) * 2
    assert steps_of(LongRun(steps=4, rate_share=1), "hybrid") == rate * 2
    assert steps_of(LongRun(steps=4, rate_share=0), "hybrid") == usual * 4


class Recorder(ModelView):
    """A view that records the losses that are differentiated."""

    def gradient_and_logits(self, x, y, loss="cross-entropy", **estimator):
        self.losses.add(loss)
        return super().gradient_and_logits(x, y, loss, **estimator)


def losses(model, x, **parameters):
    """Those that a step of the long run differentiates."""
    y, attack = model.logits(x).argmax(1), LongRun(steps=1, **parameters)
    view = Recorder(model, y, torch.arange(len(x)), QueryCounter.empty(len(x)))
    view.losses = set()
    eps = torch.full((len(x),), 0.1)
    noise = SampleNoise(0, "digits", range(len(x)), tuple(x.shape[1:]))
    attack.step(view, x, y, eps, attack.init(view, x, y, eps, noise), noise)
    return view.losses


def test_the_loss_is_the_margin_where_the_network_was_trained_without_spikes(linear):
    net = Two(LIFParameters(0.5)).float()
    assert losses(model_of(net), images(2)) == {"cross-entropy"}
    assert losses(model_of(net), images(2), loss="dlr") == {"dlr"}
    assert losses(model_of(net, mode="hybrid"), images(2)) == {"margin"}
    unrated = Model(Unknown(), "digits/unknown", 4, mode="hybrid", timesteps=3)
    unrated.survey(images(2))
    assert (unrated.spiking, unrated.rated) == (True, False)
    assert losses(unrated, images(2)) == {"margin"}
    assert losses(linear.model, linear.x[:2]) == {"margin"}


@pytest.mark.parametrize(("scale", "close"), [(1.0, False), (0.01, True)])
def test_the_loss_is_the_margin_where_logits_are_close(scale, close):
    class Scaled(Unknown):
        def forward(self, x):
            return scale * (super().forward(x) + torch.tensor([9.0, 0.0, 0.0, 0.0]))

    model = Model(Scaled(), "digits/scaled", 4, mode="stbp", timesteps=3)
    model.survey(images(9))
    assert model.spiking
    assert losses(model, images(2)) == {"margin" if close else "cross-entropy"}


class Unknown(torch.nn.Module):
    """Spikes of a user's own, of which no rate is known."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = torch.nn.Parameter(torch.randn(12, 4, generator=generator))

    def forward(self, x):
        v = total = 0
        for _ in range(3):
            v = 0.5 * v + x.flatten(1) @ self.weight
            spike = (v > 0.5).to(x.dtype)
            v, total = v - 0.5 * spike, total + spike
        return total


class Far(torch.nn.Module):
    """Classes 0 and 1 of the first pixel, with a margin that the other pixels enlarge."""

    def forward(self, x):
        x = x.flatten(1)
        margin = x[:, 0] - 0.5 + 10 * x[:, 1]
        return torch.stack([margin, -margin], 1)


def test_a_run_ends_whose_margin_has_hardly_moved():
    x = torch.full((2, 1, 1, 3), 0.5)
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 0.52, 0.0  # the margin moves by far more than its half
    x[1, 0, 0, 0], x[1, 0, 0, 1] = 0.52, 1.0  # far away from the boundary
    rows = sweep(Model(Far(), "digits/far", 2), SPGD(), x, torch.zeros(2, dtype=torch.int64), TINY)
    assert rows.run()["backwards"].tolist() == [20 + 49, 20 + 49]  # hardly any ε
    grid = parse_grid(["0.0195"])
    rows = sweep(Model(Far(), "digits/far", 2), SPGD(), x, torch.zeros(2, dtype=torch.int64), grid)
    assert rows.run()["backwards"].tolist() == [20 + 120, 20 + 49]
    twice = SPGD(restarts=2)
    rows = sweep(Model(Far(), "digits/far", 2), twice, x, torch.zeros(2, dtype=torch.int64), grid)
    assert rows.run()["backwards"].tolist() == [20 + 240, 20 + 98]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 49])
def test_a_short_run_takes_all_of_its_steps(linear, steps):
    rows = sweep(linear.model, SPGD(pgd_steps=1, steps=steps), linear.x, linear.y, TINY).run()
    assert (rows["backwards"] == 1 + steps).all()


def test_the_step_that_found_an_example_is_named():
    net = Two(LIFParameters(0.5)).float()
    model = model_of(net, mode="hybrid")
    x = images(60)
    rows = sweep(model, SPGD(pgd_steps=1), x, model.logits(x).argmax(1)).run()
    found = rows[rows["minimal_position"] > 0]
    assert set(found["found_by"]) == {"pgd", SURROGATE, "rga"}
    assert rows["reverified"].all()


@pytest.mark.parametrize("surrogate", ["", "bptr", "none"])
def test_the_long_run_needs_a_surrogate(surrogate):
    with pytest.raises((UsageError, ValueError), match="surrogate"):
        SPGD(surrogate=surrogate)


def test_rows_that_have_ended_free_the_statistics_of_the_neurons():
    model = model_of(Two(LIFParameters(0.5)).float())
    x = images(4)
    y, eps = model.logits(x).argmax(1), torch.full((4,), 0.01)
    attack = LongRun(steps=2)
    view, noise, state = started(model, attack, x, y, eps)
    state.candidate, state = attack.step(view, x, y, eps, state, noise)
    assert all(entry is not None for entry in state.statistics.entries)
    state.candidate, state = attack.step(view, x, y, eps, state, noise)
    assert state.statistics.entries == [None] * 4
