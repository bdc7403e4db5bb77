"""Stochastic models: expectation over transformations, and the evaluation draws."""

from __future__ import annotations

import hashlib

import pytest
import torch
from snntorch import Leaky
from torch import nn
from torch.nn import functional as F

import robench
from robench.attacks import APGDCE, FGSM, PGD, SPGD, Square
from robench.datasets import DIGITS
from robench.engine.evaluation_draws import DRAWS, Draws
from robench.engine.gradient import take
from robench.engine.sample_noise import SampleNoise
from robench.engine.view import ModelView, QueryCounter
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.evaluation import Cell, Request, Settings, evaluate_cell
from robench.registry import Model, find_attack
from robench.results import ResultStore
from robench.spiking import (
    LIFParameters,
    ModelNoise,
    NeuronStatistics,
    Surrogate,
    bound,
    override,
    rate,
    wrap,
)
from tests.support.sweeping import robust_at, sweep
from tests.support.two_layers import T, Two, X, Y

ASSG = Surrogate("assg", 0.425)
CPU = torch.device("cpu")


class Poisson(nn.Module):
    """Nearest class mean of the digits' 8×8 pixels, encoded as Poisson spikes.

    It computes in float64, so that the rounding of another batch decides nothing.
    """

    def __init__(self, *, own: bool = False, steps: int = 2, certainty: float = 1.0) -> None:
        super().__init__()
        data = DIGITS.load("train")
        pixels = data.tensor()[:, 0, ::4, ::4].flatten(1)
        means = torch.stack([pixels[data.targets() == k].mean(0) for k in range(10)])
        self.linear = nn.Linear(64, 10)
        with torch.no_grad():
            self.linear.weight.copy_(means)
            self.linear.bias.copy_(-means.square().sum(1) / 2)
        self.noise = ModelNoise()
        self.own, self.steps, self.certainty = own, steps, certainty
        self.double()

    def forward(self, x):
        pixels = x[:, 0, ::4, ::4].flatten(1).double()
        if self.own:  # from the global generator
            uniform = torch.rand((self.steps, *pixels.shape), dtype=pixels.dtype)
        else:
            uniform = self.noise("input", (self.steps, 64), pixels).movedim(1, 0)
        return (self.certainty * self.linear(rate(pixels, uniform).mean(0))).to(x.dtype)


def poisson(*, stochastic: bool = True, own: bool = False) -> Model:
    return Model(Poisson(own=own), "digits/poisson", 10, stochastic=stochastic)


def images(n: int):
    data = DIGITS.load("test").first(n)
    return data.tensor(), data.targets()


def view_of(model: Model, y, draws: Draws, step=None) -> ModelView:
    n = len(y)
    return ModelView(model, y, torch.arange(n), QueryCounter.empty(n), draws=draws, step=step)


def test_the_numbers_of_a_sample_are_seeded_by_32_bits_of_a_hash() -> None:
    """All published results have them."""
    key = hashlib.sha256(b"0|mnist|7|model decide input|6").digest()[:8]
    expected = torch.Generator().manual_seed(int.from_bytes(key, "big") % 2**32)
    drawn = SampleNoise(0, "mnist", [7], (4,))("model decide input", 6)
    assert torch.equal(drawn[0], torch.rand(4, generator=expected))
    pair = SampleNoise(0, "mnist", [3172, 6558], (4,)).rows("model decide input", [6, 8])
    assert torch.equal(*pair)  # which have these bits in common by chance


def test_a_gradient_is_the_mean_of_the_gradients_of_its_draws() -> None:
    model, (x, y) = poisson(), images(6)
    draws = Draws(0, "digits", range(6), eot=5)
    singles = []
    for numbers in draws.for_gradient(torch.arange(6), torch.zeros(6, dtype=torch.int64), 0):
        leaf = x.clone().requires_grad_()
        with bound(numbers):
            loss = F.cross_entropy(model.module(leaf), y, reduction="sum")
        singles.append(torch.autograd.grad(loss, leaf)[0])
    assert not torch.equal(singles[0], singles[1])
    view = view_of(model, y, draws)
    assert torch.equal(view.gradient(x, y), sum(singles[1:], singles[0]) / 5)
    assert view.queries.backwards[:, 0].tolist() == [5] * 6
    assert not view.seen  # the draws of a gradient are no evaluation draws


def test_each_gradient_has_new_draws_and_the_deployed_model_has_not() -> None:
    model, (x, y) = poisson(), images(3)
    draws = Draws(0, "digits", range(3))
    view = view_of(model, y, draws)
    first = view.gradient(x, y)
    assert not torch.equal(view.gradient(x, y), first)
    later = view_of(model, y, draws, torch.ones(3, dtype=torch.int64))
    assert not torch.equal(later.gradient(x, y), first)
    again = view_of(model, y, draws, torch.zeros(3, dtype=torch.int64))
    assert torch.equal(again.gradient(x, y), first)
    logits = view.logits(x)
    assert torch.equal(later.logits(x), logits)
    alone = ModelView(model, y[1:2], torch.tensor([1]), QueryCounter.empty(3), draws=draws)
    torch.testing.assert_close(alone.logits(x[1:2]), logits[1:2])
    assert view.queries.forwards.tolist() == [DRAWS] * 3
    other = view_of(model, y, Draws(1, "digits", range(3)))
    assert not torch.equal(other.logits(x), logits)


def test_a_loss_of_the_attack_goes_through_the_mean_of_the_evaluation_draws() -> None:
    model, (x, y) = poisson(), images(4)
    draws = Draws(0, "digits", range(4))
    view = view_of(model, y, draws)
    leaf = x.clone().requires_grad_()
    logits = view.differentiable(leaf)
    (found,) = torch.autograd.grad(logits.square().sum(), leaf)
    by_hand = x.clone().requires_grad_()
    parts = []
    for numbers in draws.for_evaluation(torch.arange(4)):
        with bound(numbers):
            parts.append(model.module(by_hand))
    expected = torch.stack(parts).mean(0)
    (gradient,) = torch.autograd.grad(expected.square().sum(), by_hand)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(found, gradient)
    assert view.queries.forwards.tolist() == view.queries.backwards[:, 0].tolist() == [DRAWS] * 4


def test_logits_and_gradient_of_a_row_are_the_same_bits_in_every_batch() -> None:
    """APGD compares the losses of two iterates, which are equal where the spikes are."""
    model, (x, y) = poisson(), images(24)
    draws = Draws(0, "digits", range(24), eot=3)

    def taken(rows):
        view = ModelView(model, y[rows], rows, QueryCounter.empty(24), draws=draws)
        leaf = x[rows].clone().requires_grad_()
        logits = view.differentiable(leaf)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
        return logits.detach(), gradient, view.gradient(x[rows], y[rows])

    whole = taken(torch.arange(24))
    parts = zip(*(taken(rows) for rows in torch.arange(24).split(5)), strict=True)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, torch.cat(other))


@pytest.mark.parametrize(
    "attack",
    [FGSM(), PGD(steps=4), SPGD(pgd_steps=2, steps=4), APGDCE(steps=4), Square(queries=15)],
    ids=lambda attack: attack.name,
)
def test_an_outcome_does_not_depend_on_the_batch(attack) -> None:
    model, (x, y) = poisson(), images(24)
    grid = parse_grid(["8/255", "16/255", "32/255"])
    one, other = (
        sweep(model, attack, x, y, grid, batch_size=size, eot=3).run() for size in (64, 5)
    )
    assert one.equals(other)
    assert (one["minimal_position"] > 0).any()


def test_one_draw_for_each_gradient_overstates_the_robust_accuracy() -> None:
    """Each draw of this network is certain of another class, and so its gradient misleads."""
    module = Poisson(steps=1, certainty=10.0)
    model, (x, y) = Model(module, "digits/poisson", 10, stochastic=True), images(60)
    robust = {}
    for eot in (1, 10):
        rows = sweep(model, PGD(steps=1), x, y, parse_grid(["32/255"]), eot=eot).run()
        robust[eot] = robust_at(rows, 1)
    assert 0 < robust[10] < robust[1]


def test_the_first_draw_updates_the_neuron_statistics_and_the_others_do_not() -> None:
    class Noisy(Two):
        def __init__(self) -> None:
            super().__init__(LIFParameters(0.5))
            self.noise = ModelNoise()

        def forward(self, x):
            return super().forward(x + 0.2 * self.noise("input", x.shape[1:], x))

    net = Noisy()
    model = Model(net, "digits/noisy", 4, timesteps=T, stochastic=True)
    n = len(X)
    draws = Draws(0, "digits", range(n), eot=3)
    numbers = draws.for_gradient(torch.arange(n), torch.zeros(n, dtype=torch.int64), 0)

    def gradient(draw: int, entries, *, frozen: bool):
        with bound(numbers[draw]):
            loss = "cross-entropy"
            return take(net, CPU, X, Y, loss, entries, rescale=False, frozen=frozen)

    statistics = NeuronStatistics.empty(n)
    with override(model.module, surrogate=ASSG, path=None):
        first = gradient(0, statistics.entries, frozen=False)
        others = [gradient(draw, first.statistics, frozen=True) for draw in (1, 2)]
        moved = gradient(1, statistics.entries, frozen=False)
    found = view_of(model, Y, draws).gradient(X, Y, surrogate=ASSG, statistics=statistics)
    expected = torch.stack([part.gradient for part in (first, *others)]).mean(0)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    parts = statistics.entries, first.statistics, moved.statistics
    for entry, kept, unlike in zip(*parts, strict=True):
        assert torch.equal(entry, kept)
        assert not torch.equal(entry, unlike)


def test_a_gradient_that_underflows_in_every_draw_is_rescaled_in_all() -> None:
    class Faint(Poisson):
        def forward(self, x):
            logits = super().forward(x)
            return logits + 1e4 * F.one_hot(logits.argmax(1), 10)  # saturates the loss

    model, (x, _) = Model(Faint(), "digits/faint", 10, stochastic=True), images(3)
    y = view_of(model, torch.zeros(3, dtype=torch.int64), Draws(indices=range(3))).logits(x)
    view = view_of(model, y.argmax(1), Draws(indices=range(3), eot=2))
    assert view.gradient(x, y.argmax(1)).flatten(1).any(1).all()
    assert view.queries.backwards[:, 0].tolist() == [4] * 3


def cell_of(model: Model, **settings) -> Cell:
    data = DIGITS.load("test").first(12)
    chosen = Settings(parse_grid(["16/255"]), **settings)
    return Cell(model, find_attack("pgd[steps=2]"), DIGITS, data, chosen)


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        (poisson(), ()),
        (poisson(stochastic=False), ("not-deterministic",)),
        (poisson(own=True), ("draws-not-bound",)),
    ],
    ids=["declared", "undeclared", "draws of its own"],
)
def test_a_stochastic_model_must_declare_itself_and_use_the_given_draws(
    tmp_path, model, reasons
) -> None:
    outcome = evaluate_cell(cell_of(model), ResultStore(tmp_path)).outcome
    assert outcome is not None
    assert outcome.reasons[:1] == reasons
    assert outcome.verdict == ("invalid" if reasons else "valid")


def test_the_hash_covers_the_draws_only_of_a_stochastic_model() -> None:
    few, usual = (cell_of(poisson(), eot=eot).identity for eot in (3, 10))
    assert (few.eot, usual.eot) == (3, 10)
    assert few.digest() != usual.digest()
    plain = [cell_of(poisson(stochastic=False), eot=eot).identity for eot in (3, 10)]
    assert plain[0].eot is None
    assert plain[0].digest() == plain[1].digest()


def test_the_spikes_of_a_rate_coded_network_are_replaced() -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(3072, 40), nn.Linear(40, 10)
            self.spikes = Leaky(beta=0.9, init_hidden=True)

        def forward(self, x):
            return torch.stack([self.last(self.spikes(self.first(part.flatten(1)))) for part in x])

    net = wrap(Net(), timesteps=4, encoding="rate", readout="mean")
    model = Model(net, dataset="digits", stochastic=True)
    found = robench.check(model, limit=16).to_frame().set_index("check")
    assert found.loc["spikes", "verdict"] == "valid"
    assert found.loc["draws", "verdict"] == "valid"
    assert model.replaces
    assert {call.calls for call in model.discovery.functions.values()} == {7}  # resets from step 2


def test_draws_that_are_not_possible_are_refused(cli, tmp_path) -> None:
    with pytest.raises(UsageError, match="at least 1 draw"):
        Request(eot=0)
    command = ("--models", "digits/vgg16-ann", "--attacks", "fgsm", "--limit", "2", "--eot", "3")
    done = cli("run", *command, "--output", tmp_path)
    assert done.code == 2
    assert "none of these models is stochastic" in done.err
