"""The loss of models over their weights."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor, nn

from robench import load_model
from robench.analysis.landscape import RADII, Landscape
from robench.analysis.landscape.directions import Weights
from robench.analysis.measuring import Measured
from robench.errors import EvaluationError, UsageError
from robench.evaluation import Cell, at_work
from robench.registry import Model
from tests.support.analysing import cell_of, of_network
from tests.support.rebuilt import OfSnnTorch, OfSpikingJelly, OfSpikingJellyAtOnce
from tests.support.spiking_digits import Bare, Small

SMALL = Landscape(points=3, pairs=1)


def measured(cell: Cell, landscape: Landscape = SMALL) -> Measured:
    with at_work(cell):
        return landscape.measure(cell)


def linear() -> nn.Sequential:
    """A linear network, as a user writes one."""
    generator = torch.Generator().manual_seed(3)
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))
    with torch.no_grad():
        network[2].weight.copy_(torch.randn(10, 48, generator=generator))
    return network


def test_the_sharpness_of_a_linear_model_agrees_with_its_closed_form() -> None:
    network, landscape = linear(), Landscape(points=5, pairs=3)
    cell = cell_of(of_network(network), 60)
    found = measured(cell, landscape)
    weights = Weights(network)
    x = network[1](network[0](cell.images.tensor())).double().numpy()
    y = cell.images.targets().numpy()

    def loss(*steps: tuple[float, int]) -> float:
        w = network[2].weight.detach().double().numpy()
        for distance, number in steps:
            w = w + distance * weights.direction(0, number)["2.weight"].double().numpy()
        logits = x @ w.T + network[2].bias.detach().double().numpy()
        return float((logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]).mean())

    assert found.summary["loss"] == pytest.approx(loss(), abs=1e-6)
    for at, (radius, entry) in enumerate(zip(RADII, found.summary["sharpness"], strict=True)):
        along = [loss((radius, number)) for number in range(6)]
        np.testing.assert_allclose(found.arrays["losses"][:, at], along, atol=1e-5)
        assert entry["radius"] == radius
        assert entry["value"] == pytest.approx(np.mean(along) - loss(), abs=1e-5)
        assert entry["low"] <= entry["value"] <= entry["high"]
    for i, a in enumerate((-1, -0.5, 0, 0.5, 1)):
        for j, b in enumerate((-1, -0.5, 0, 0.5, 1)):
            assert found.arrays["surface"][i, j] == pytest.approx(loss((a, 0), (b, 1)), abs=1e-5)


def test_the_middle_is_the_model_itself() -> None:
    cell = cell_of(load_model("digits/vgg16-stbp"), 24)
    found = measured(cell)
    assert found.arrays["coordinates"].tolist() == [-1, 0, 1]
    assert found.arrays["surface"][1, 1] == found.summary["loss"]
    assert found.arrays["surface_accuracy"][1, 1] == found.summary["accuracy"]
    logits = cell.model.logits(cell.images.tensor())
    wanted = nn.functional.cross_entropy(logits, cell.images.targets()).item()
    assert found.summary["loss"] == pytest.approx(wanted, rel=1e-4)


def plainly(network: nn.Module) -> nn.Module:
    """Without what a frozen network folds."""
    return deepcopy(network).requires_grad_(True)


@pytest.mark.parametrize("name", ["vgg16-ann", "flex-ann", "vgg16-stbp", "flex-stbp"])
def test_what_a_frozen_network_folds_is_folded_again(name: str) -> None:
    model = load_model(f"digits/{name}")
    cell = cell_of(model, 16)
    x, y = cell.images.tensor(), cell.images.targets()
    model.logits(x)  # folds
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    found = measured(cell)
    unfolded = plainly(model.module)
    weights = Weights(unfolded)
    weights.move((0.5, weights.direction(0, 0)))
    with torch.no_grad():
        wanted = nn.functional.cross_entropy(unfolded(x), y).item()
    assert found.arrays["losses"][0, 2] == pytest.approx(wanted, rel=2e-2)
    assert abs(wanted - found.summary["loss"]) > 0.1 * wanted
    assert all(torch.equal(before[key], value) for key, value in model.module.state_dict().items())


@pytest.mark.parametrize("name", ["vgg16-stbp", "flex-hybrid", "control-random-mask"])
def test_the_same_seed_gives_the_same_arrays(name: str) -> None:
    one, two = (measured(cell_of(load_model(f"digits/{name}"), 12)) for _ in range(2))
    assert one.summary == two.summary
    assert one.arrays.keys() == two.arrays.keys()
    for key, value in one.arrays.items():
        assert np.array_equal(value, two.arrays[key])
    other = measured(cell_of(load_model(f"digits/{name}"), 12), Landscape(3, 1, seed=1))
    assert not np.array_equal(other.arrays["surface"], one.arrays["surface"])


def in_style(make: Callable[[], nn.Module]) -> Model:
    torch.manual_seed(0)
    network = make()
    network.register_forward_hook(lambda *_: None)
    return of_network(network)


@pytest.mark.parametrize(
    "make",
    [Small, Bare, OfSnnTorch, OfSpikingJelly, OfSpikingJellyAtOnce],
    ids=lambda m: m.__name__,
)
def test_a_network_of_another_library_is_measured_and_left_as_it_was(
    make: Callable[[], nn.Module],
) -> None:
    model = in_style(make)
    network = model.module
    state = deepcopy(network.state_dict())
    before = {name: facts(part) for name, part in network.named_modules()}
    cell = cell_of(model, 10)
    found = measured(cell)
    assert np.isfinite(found.arrays["surface"]).all()
    assert np.ptp(found.arrays["surface"]) > 0
    assert network is model.module
    after = network.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], state[name]) for name in state)
    assert {name: facts(part) for name, part in network.named_modules()} == before


def facts(part: nn.Module) -> tuple[Any, ...]:
    own = [
        (name, id(value), value.requires_grad)
        for name, value in part._parameters.items()
        if value is not None
    ]
    return part.training, own, list(part._forward_hooks), list(part._forward_pre_hooks)


class Normed(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, scales: Tensor) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, stride=4, bias=False)
        self.norm = nn.BatchNorm2d(6, eps=0)
        self.head = nn.Linear(6 * 8 * 8, 10)
        with torch.no_grad():
            for weight in (self.conv.weight, self.head.weight):
                weight.copy_(torch.randn(weight.shape, generator=generator) / 4)
            self.head.bias.zero_()
            self.conv.weight.mul_(scales[:, None, None, None])
            self.norm.running_mean.copy_(torch.linspace(-1, 1, 6) * scales)
            self.norm.running_var.copy_(torch.linspace(0.5, 2, 6) * scales**2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


def test_the_scale_of_a_filter_before_a_batch_norm_has_no_influence() -> None:
    scales = torch.tensor([1.0, 10.0, 0.1, 3.0, 100.0, 0.5])
    one, two = (
        measured(cell_of(of_network(Normed(given)), 20)) for given in (torch.ones(6), scales)
    )
    for name in ("surface", "losses"):
        np.testing.assert_allclose(one.arrays[name], two.arrays[name], rtol=1e-4)


class Exploding(nn.Module):
    """Its logits are infinite unless its weight is what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(48, 10)
        self.register_buffer("at", self.read.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        there = (self.read.weight - self.at).abs().max() > 0
        out = self.read(nn.functional.avg_pool2d(x, 8).flatten(1))
        return out * float("inf") if there else out


def test_a_loss_that_is_not_finite_is_recorded_as_such() -> None:
    found = measured(cell_of(of_network(Exploding()), 8))
    assert np.isfinite(found.summary["loss"])
    assert found.summary["sharpness"][0] == {
        "radius": 0.1, "value": None, "low": None, "high": None
    }  # fmt: skip
    assert not np.isfinite(found.arrays["surface"][0]).any()


def test_a_network_without_weights_is_refused() -> None:
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.ZeroPad1d((0, -38)))
    with pytest.raises(EvaluationError, match="no weights to move"):
        measured(cell_of(of_network(network), 4))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"points": 20}, "odd number"), ({"points": 1}, "odd number from 3"),
        ({"pairs": 0}, "at least 1"), ({"seed": -1}, "from 0"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(given: dict[str, int], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Landscape(**given)
