from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from robench.attacks import APGDCE, APGDDLR, APGDT, PGD, SAPGD, Square
from robench.attacks.primitives.norms import project
from robench.datasets import DIGITS, Images, find_dataset
from robench.engine.sample_noise import SampleNoise
from robench.engine.view import ModelView, QueryCounter
from robench.epsilon import Epsilon, parse_grid
from robench.registry import Model, find_attack, select_models
from robench.results import ROBUST
from tests.support.commands import refused
from tests.support.linear_model import LinearModel
from tests.support.sweeping import EPSILON, GRID, robust_at, sweep, three_alike

ONE = parse_grid(["0.00001"])  # too small for any adversarial example


@pytest.fixture(params=[False, True], ids=["box idle", "box active"])
def linear(request: pytest.FixtureRequest) -> LinearModel:
    return LinearModel((3, 4, 4), 16, box=request.param)


@pytest.mark.parametrize("order", ["fast", "ascending", "raw"])
@pytest.mark.parametrize(
    "attack", [APGDCE(steps=15), APGDDLR(steps=15), APGDT(steps=15, n_targets=2)]
)
def test_the_closed_form_of_a_linear_model(linear, attack, order) -> None:
    model = three_alike(linear, attack.least_classes)
    rows = sweep(model, attack, linear.x, linear.y, sweep=order).run()
    assert [robust_at(rows, k) for k in range(len(GRID))] == [linear.robust(e.value) for e in GRID]
    assert rows["reverified"].all()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("attack", [APGDCE(steps=9, restarts=2), Square(queries=40)])
def test_batches_do_not_matter(linear, attack, size) -> None:
    whole = sweep(linear.model, attack, linear.x, linear.y).run()
    small = sweep(linear.model, attack, linear.x, linear.y, batch_size=size).run()
    for column in ("minimal_position", "forwards", "backwards"):
        assert (whole[column] == small[column]).all()
    assert (whole["minimal_position"] > 0).any()


def test_queries_are_counted(linear) -> None:
    model = three_alike(linear, 5)
    for attack, forwards, backwards in (
        (APGDCE(steps=8, restarts=3), 2, 24),
        (APGDDLR(steps=8), 2, 8),
        (APGDT(steps=4, n_targets=9, restarts=2), 3, 32),  # four other classes; their ranking
        (Square(queries=30), 32, 0),
    ):
        rows = sweep(model, attack, linear.x, linear.y, ONE).run()
        # the last candidate is not shown again where it is one that was seen
        assert rows["forwards"].isin((forwards - 1, forwards)).all()
        assert (rows["backwards"] == backwards).all()


def test_the_losses_against_their_formulae() -> None:
    logits = torch.tensor([[5.0, 3.0, 2.0, -1.0], [0.0, 4.0, 1.0, 3.0]])
    y, target = torch.tensor([0, 2]), torch.tensor([1, 3])
    assert APGDDLR().loss(logits, y, y).tolist() == pytest.approx([-2 / 3, 3 / 3])
    assert APGDT().loss(logits, y, target).tolist() == pytest.approx([-2 / 4.5, 2 / 3.5])
    assert torch.allclose(APGDDLR().loss(7 * logits + 2, y, y), APGDDLR().loss(logits, y, y))


def by_hand(loss, x: torch.Tensor, start: torch.Tensor, eps: float, steps: int) -> list:
    """One run for one sample, written as in the paper: the iterates and the step sizes."""

    def look(z):
        leaf = z.clone().requires_grad_()
        value = loss(leaf)
        return float(value.detach()), torch.autograd.grad(value, leaf)[0]

    def clip(z):
        return torch.minimum(torch.maximum(z, x - eps), x + eps).clamp(0, 1)

    window, checks = max(1, int(0.22 * steps)), []
    at = 0
    while at < steps:
        at += window
        checks.append((at, window))
        window = max(window - max(1, int(0.03 * steps)), max(1, int(0.06 * steps)))
    now = before = clip(start)
    eta, halved, raised = 2 * eps, True, 0
    best, (top, best_gradient) = now, look(now)
    last = checked = top
    found = [(now, eta)]
    gradient = best_gradient
    for k in range(1, steps):
        ahead = clip(now + eta * gradient.sign())
        a = 1.0 if k == 1 else 0.75
        now, before = clip(now + a * (ahead - now) + (1 - a) * (now - before)), now
        value, gradient = look(now)
        found.append((now, eta))
        raised += value > last
        last = value
        if value > top:
            best, top, best_gradient = now, value, gradient
        for at, length in checks:
            if k == at:
                fall = raised < 0.75 * length or (not halved and top <= checked)
                halved, checked, raised = fall, top, 0
                if fall:
                    eta, now, gradient = eta / 2, best, best_gradient
    return found


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_run_is_the_one_of_the_paper(row) -> None:
    torch.manual_seed(row)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(12, 9), torch.nn.Tanh(), torch.nn.Linear(9, 4)
    ).double()
    model = Model(net, "digits/small", 4)
    x = torch.rand(3, 3, 2, 2, dtype=torch.float64)
    y = torch.tensor([0, 1, 2])
    eps, attack = torch.full((3,), 0.3, dtype=torch.float64), APGDCE(steps=40)
    noise = SampleNoise(0, "digits", [0, 1, 2], (3, 2, 2))
    view = ModelView(model, y, torch.arange(3), QueryCounter.empty(3))
    state = attack.init(view, x, y, eps, noise)
    state.candidate = project(state.candidate, x, eps)
    start = state.candidate.clone()
    here, sizes = [], []
    for _ in range(attack.steps):
        here.append(state.candidate[row])
        candidate, state = attack.step(view, x, y, eps, state, noise)
        state.candidate = project(candidate, x, eps)
        sizes.append(float(state.step_size[row]) * 0.3)

    def loss(z):
        return F.cross_entropy(net(z[None]), y[row : row + 1])

    expected = by_hand(loss, x[row], start[row], 0.3, attack.steps)
    for mine, (theirs, _) in zip(here, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)
    assert sizes[-1] < sizes[0] == 0.6  # the step fell


def test_no_weaker_than_pgd_of_the_same_budget() -> None:
    (entry,) = select_models(["digits/vgg16-ann"])
    images = find_dataset("digits").load("test").first(32)
    grid = (Epsilon(0.0, "0"), Epsilon(24 / 255, "24/255"))
    counts = {}
    for attack in (APGDCE(steps=20), APGDT(steps=10, n_targets=3), PGD(steps=20)):
        rows = sweep(entry.load(), attack, images.tensor(), images.targets(), grid).run()
        counts[attack.name] = robust_at(rows, 1)
    assert counts["apgd-ce"] <= counts["pgd"] + 1
    assert counts["apgd-t"] <= counts["pgd"] + 1
    assert counts["pgd"] < 31


def test_square_follows_the_published_schedule() -> None:
    attack = Square(queries=10_000)
    done = torch.tensor([0, 10, 11, 50, 51, 200, 201, 501, 1001, 2001, 4001, 6001, 8001])
    share = 0.8 / 2.0 ** torch.tensor([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9])
    expected = (share * 32 * 32).sqrt().round().long().clamp_min(1)
    assert attack.side(done, 32, 32).tolist() == expected.tolist()
    assert Square(queries=100).side(torch.tensor([1]), 32, 32) == expected[5]
    assert Square(queries=100, rescale=False).side(torch.tensor([1, 11]), 32, 32).tolist() == [
        expected[0],
        expected[2],
    ]


def test_square_finds_examples_without_a_gradient(linear) -> None:
    rows = sweep(linear.model, Square(queries=300), linear.x, linear.y).run()
    robust = [linear.robust(epsilon.value) for epsilon in GRID]
    found = [robust_at(rows, k) for k in range(len(GRID))]
    assert all(mine >= exact for mine, exact in zip(found, robust, strict=True))
    assert found[-1] < len(linear.x)
    assert (rows["backwards"] == 0).all()


@pytest.mark.parametrize(("name", "least"), [("apgd-dlr", 3), ("apgd-t", 4)])
def test_too_few_classes_are_an_error_before_the_run(
    cli, tmp_path, monkeypatch, name, least
) -> None:
    (tmp_path / "twoclasses.py").write_text(
        "import torch\nfrom robench import Model\n"
        "def two():\n"
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))\n"
        "    net(torch.zeros(1, 3, 32, 32))\n"
        "    return Model(net, 'digits/two', 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    test = DIGITS.load("test")
    some = Images(test.images[test.labels < 2], test.labels[test.labels < 2])
    data = replace(DIGITS, classes=2, load=lambda split: some)
    monkeypatch.setattr("robench.evaluation.plan.find_dataset", lambda name: data)
    command = ("run", "--models", "twoclasses:two", "--attacks", f"fgsm,{name}", "--limit", "3")
    refused(cli(*command, "--output", tmp_path / "results"), name, f"fewer than {least}", "has 2")
    assert not list(tmp_path.rglob("*.json"))


def test_fab_is_the_one_of_a_library(linear) -> None:
    named = find_attack("fab[n_iter=15]")
    assert named.name == "fab[n_iter=15]"
    assert named.implementation == "advertorch:LinfFABAttack"
    assert "advertorch 0." in named.version
    rows = sweep(linear.model, named.attack, linear.x, linear.y).run()
    for k, epsilon in enumerate(GRID):
        assert 0 <= robust_at(rows, k) - linear.robust(epsilon.value) <= 1


class Wavy(torch.nn.Module):
    """A robust model whose gradient leads elsewhere from every start."""

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.sin(1000 * x).flatten(1).mean(1)
        return torch.stack([waves.new_full(waves.shape, 2.0), waves], 1)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(steps=1, restarts=4),
        APGDCE(steps=1, restarts=4),
        SAPGD(steps=1, restarts=4),
    ],
    ids=lambda attack: attack.name,
)
def test_the_last_iterate_of_every_run_is_verified(attack) -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 3, 4, 4)
    model = Model(Wavy(), "digits/wavy", 2)
    rows = sweep(model, attack, x, torch.zeros(5, dtype=torch.int64), parse_grid(["0.1"])).run()
    assert (rows["minimal_position"] == ROBUST).all()
    assert (rows["backwards"] == 4).all()
    assert (rows["forwards"] == 1 + 4).all()  # the clean image, and the end of each run


class AtAPoint(torch.nn.Module):
    """Misclassifies a single point of the images."""

    point: Tensor

    def forward(self, x: Tensor) -> Tensor:
        hit = ((x - self.point).flatten(1).abs().amax(1, keepdim=True) < 1e-5).float()
        logits = torch.tensor([3.0, 2.0, 1.0, 0.0, -1.0]) + 1e-3 * x.flatten(1).mean(1)[:, None]
        return logits + 9 * hit * F.one_hot(torch.tensor(2), 5)


@pytest.mark.parametrize("run", [0, 1, 2])
def test_an_example_that_is_a_random_start_is_found_by_the_target_of_its_run(run: int) -> None:
    x, y, eps = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1).long(), torch.tensor([EPSILON])
    net, noise = AtAPoint(), SampleNoise(0, "digits", [0], x.shape[1:])
    net.point = project(PGD.start_point(x, eps, noise, run), x, eps)
    model = Model(net, "digits/at-a-point", 5)
    rows = sweep(model, APGDT(steps=5, n_targets=3), x, y, parse_grid(["8/255"])).run()
    assert rows["found_by"].tolist() == [f"target {run + 1}"]
