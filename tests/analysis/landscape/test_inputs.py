"""The loss of models over their inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench import load_model
from robench.analysis.landscape import InputLandscape
from robench.analysis.landscape.inputs import own_gradient
from robench.analysis.landscape.losses import at_speed, losses
from robench.analysis.measuring import Measured
from robench.errors import EvaluationError, UsageError
from robench.evaluation import at_work
from robench.registry import Model
from robench.spiking import ModelNoise
from tests.support.analysing import attacked_at, cell_of, of_network
from tests.support.rebuilt import OfSpikingJelly
from tests.support.spiking_digits import Bare, Small, trained


def measured(
    model: Model, folder: Path, *, images: int = 24, attack: str = "spgd[steps=6]", points: int = 5
) -> Measured:
    cell = cell_of(model, images, attack=attack, eps="24/255")
    given = attacked_at(cell, folder)
    with at_work(cell):
        return InputLandscape(given, points).measure(cell)


def test_a_zero_gradient_is_flat_along_itself_and_rises_along_the_attack(tmp_path: Path) -> None:
    masked = measured(load_model("digits/control-zero-gradient"), tmp_path)
    own, attack = masked.arrays["own"], masked.arrays["attack"]
    assert masked.summary["zero_gradient"] == 1
    assert np.ptp(own, axis=0).max() == 0
    assert attack[-1, 2] > attack[2, 2] + 0.5
    rise = masked.summary["rise"]
    assert rise["own"] == {"value": 0, "low": 0, "high": 0}
    assert rise["attack"]["low"] > 0.3
    sound = measured(load_model("digits/vgg16-stbp"), tmp_path)
    assert sound.summary["zero_gradient"] == 0
    assert sound.summary["rise"]["own"]["low"] > 0


@pytest.mark.parametrize("make", [Small, lambda: trained(Small()), OfSpikingJelly], ids=range(3))
def test_networks_of_other_libraries_are_measured(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    found = measured(of_network(make()), tmp_path)
    assert found.summary["zero_gradient"] < 1
    assert np.isfinite(found.arrays["own"]).all()


def test_spikes_without_a_gradient_are_shown_as_masked(tmp_path: Path) -> None:
    network = trained(Bare())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = measured(of_network(network), tmp_path)
    assert found.summary["zero_gradient"] == 1
    assert found.summary["rise"]["own"]["value"] == 0
    assert found.summary["rise"]["attack"]["low"] > 0
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_linear_model_agrees_with_its_closed_form(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))
    cell = cell_of(of_network(network), 30, attack="fgsm", eps="24/255")
    given = attacked_at(cell, tmp_path)
    with at_work(cell):
        found = InputLandscape(given, 3).measure(cell)
    index, x, adversarial = given.pairs(cell)
    assert found.arrays["index"].tolist() == index.tolist()
    y, epsilon = cell.images.targets()[index], 24 / 255

    def loss(at: torch.Tensor) -> float:
        with torch.no_grad():
            return nn.functional.cross_entropy(network(at).double(), y).item()

    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(network(leaf), y, reduction="sum").backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    there = (x + epsilon * leaf.grad.sign()).clamp(0, 1)
    assert found.arrays["own"][2, 1] == pytest.approx(loss(there), abs=1e-5)
    back = (x - epsilon * leaf.grad.sign()).clamp(0, 1)
    assert found.arrays["own"][0, 1] == pytest.approx(loss(back), abs=1e-5)
    assert found.arrays["attack"][2, 1] == pytest.approx(loss(adversarial), abs=1e-5)
    assert found.arrays["attack"][1, 1] == found.summary["loss"] == pytest.approx(loss(x), abs=1e-5)
    assert np.array_equal(found.arrays["own"][1], found.arrays["attack"][1])  # random signs alone
    assert found.arrays["loss.own"].mean() == found.arrays["own"][2, 1]
    assert found.arrays["loss.random"].mean() == found.arrays["own"][1, 2]


class Noisy(nn.Module):
    """Draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.noise = ModelNoise()
        self.read = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        seen = nn.functional.avg_pool2d(x, 8).flatten(1)
        return self.read(4 * seen + self.noise("of the input", seen.shape[1:], seen))


@pytest.mark.parametrize("name", ["vgg16-stbp", "noisy"])
def test_the_same_seed_gives_the_same_arrays(name: str, tmp_path: Path) -> None:
    noisy = name == "noisy"
    model = (
        Model(Noisy(), "digits/noisy", stochastic=True) if noisy else load_model(f"digits/{name}")
    )
    cell = cell_of(model, 12, attack="fgsm", eps="32/255")
    given = attacked_at(cell, tmp_path)
    found = []
    for seed in (0, 0, 1):
        with at_work(cell):
            found.append(InputLandscape(given, 3, seed).measure(cell))
        torch.rand(3)
    one, two, other = found
    assert one.summary == two.summary
    assert all(np.array_equal(value, two.arrays[key]) for key, value in one.arrays.items())
    assert not np.array_equal(other.arrays["loss.random"], one.arrays["loss.random"])
    assert np.array_equal(other.arrays["loss.own"], one.arrays["loss.own"])


def test_the_losses_of_a_stochastic_model_do_not_depend_on_the_batch() -> None:
    cell = cell_of(Model(Noisy(), "digits/noisy", stochastic=True), 12)
    x, y, index = cell.images.tensor(), cell.images.targets(), np.arange(12)
    with at_work(cell), at_speed(cell.model, x) as workers:
        whole = losses(cell.model, x, y, index, workers)
        workers.allow(1)
        alone = losses(cell.model, x[5:], y[5:], index[5:], workers)
    np.testing.assert_allclose(alone.values, whole.values[5:], rtol=1e-5)


def test_the_own_gradient_does_not_depend_on_the_batch() -> None:
    cell = cell_of(load_model("digits/vgg16-stbp"), 6)
    x, y, index = cell.images.tensor(), cell.images.targets(), np.arange(6)
    with at_work(cell), at_speed(cell.model, x) as workers:
        whole = own_gradient(cell.model, x, y, index, workers).sign()
        for row in range(6):
            some = slice(row, row + 1)
            alone = own_gradient(cell.model, x[some], y[some], index[some], workers).sign()
            assert (alone == whole[some]).float().mean() > 0.99


def test_without_an_adversarial_example_there_is_no_surface(tmp_path: Path) -> None:
    cell = cell_of(load_model("digits/vgg16-ann"), 6, attack="noise", eps="0.0001")
    given = attacked_at(cell, tmp_path)
    with pytest.raises(EvaluationError, match="no adversarial example at ε"):
        InputLandscape(given, 3).measure(cell)


@pytest.mark.parametrize("given", [{"points": 4}, {"seed": -2}], ids=str)
def test_settings_out_of_range_are_refused(given: dict[str, int], tmp_path: Path) -> None:
    attacked = attacked_at(cell_of(of_network(nn.Flatten()), 1, attack="transfer"), tmp_path)
    with pytest.raises(UsageError, match="from"):
        InputLandscape(attacked, **given)
