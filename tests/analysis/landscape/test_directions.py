"""The directions in which the weights of a network are moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench import load_model
from robench.analysis.landscape.directions import Weights, direction
from robench.errors import EvaluationError


def norms(value: Tensor) -> Tensor:
    """Of the filters."""
    return value.double().flatten(1).norm(dim=1)


def normalised(value: Tensor) -> Tensor:
    return value.double().flatten(1) / norms(value)[:, None]


@pytest.mark.parametrize(
    "shape", [(5, 3, 3, 3), (4, 7), (1, 6), (6, 1), (2, 3, 4)], ids=lambda shape: str(shape)
)
def test_each_filter_of_a_direction_has_the_norm_of_the_weights_filter(
    shape: tuple[int, ...],
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3
    found = direction("w", weight, 0, 0)
    assert found.shape == weight.shape
    torch.testing.assert_close(norms(found), norms(weight))


def test_a_filter_of_zeros_stays() -> None:
    weight = torch.ones(3, 4)
    weight[1] = 0
    assert (direction("w", weight, 0, 0)[1] == 0).all()


def test_a_direction_depends_on_seed_number_name_and_shape_alone() -> None:
    weight = torch.randn(4, 6)
    here = direction("w", weight, 0, 0)
    assert torch.equal(direction("w", weight, 0, 0), here)
    torch.testing.assert_close(normalised(direction("w", weight * -3, 0, 0)), normalised(here))
    for other in (
        direction("w", weight, 1, 0), direction("w", weight, 0, 1), direction("v", weight, 0, 0),
    ):  # fmt: skip
        assert not torch.equal(other, here)
    assert not torch.equal(direction("w", weight.view(2, 12), 0, 0).view(4, 6), here)


def test_drawing_a_direction_leaves_the_random_numbers_of_torch_alone() -> None:
    before = torch.get_rng_state()
    direction("w", torch.randn(3, 3, generator=torch.Generator()), 0, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_models_of_one_architecture_share_directions() -> None:
    one, two = (Weights(load_model(f"digits/vgg16-{mode}").module) for mode in ("ann", "stbp"))
    first, second = one.direction(0, 3), two.direction(0, 3)
    assert list(first) == list(second)
    for name in first:
        filled = norms(one.at[name]) * norms(two.at[name]) > 0
        torch.testing.assert_close(
            normalised(first[name])[filled], normalised(second[name])[filled], atol=1e-6, rtol=1e-5
        )


def test_vgg_and_flex_share_those_of_equal_name_and_shape() -> None:
    vgg, flex = (
        Weights(load_model(f"digits/{name}-stbp").module).direction(0, 0)
        for name in ("vgg16", "flex")
    )
    equal = [name for name in vgg if name in flex and vgg[name].shape == flex[name].shape]
    assert equal
    for name in equal:
        torch.testing.assert_close(
            normalised(vgg[name]).nan_to_num(), normalised(flex[name]).nan_to_num(),
            atol=1e-6, rtol=1e-5,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["vgg16-stbp", "flex-stbp", "flex-ann"])
def test_only_weights_of_layers_move(name: str) -> None:
    network = load_model(f"digits/{name}").module
    moved = Weights(network).moved
    wanted = {
        f"{part}.weight"
        for part, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    assert set(moved) == wanted


class Odd(nn.Module):
    """Parameters of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 1)
        self.pointwise = nn.Conv2d(8, 1, 1)
        self.grouped = nn.Conv2d(4, 4, 1, groups=4)
        self.recurrent = nn.LSTM(3, 5)
        self.norm = nn.GroupNorm(2, 4)
        self.matrix = nn.Parameter(torch.randn(3, 4))
        self.threshold = nn.Parameter(torch.tensor(1.0))
        self.theta = nn.Parameter(torch.randn(1, 8, 1, 1))
        self.gain = nn.Parameter(torch.randn(8, 1, 1))
        self.whole = nn.Parameter(torch.ones(3, 4, dtype=torch.int64), requires_grad=False)
        self.register_buffer("table", torch.randn(3, 4))


def test_vectors_norms_thresholds_integers_and_buffers_stay() -> None:
    assert set(Weights(Odd()).moved) == {
        "one.weight", "pointwise.weight", "grouped.weight", "matrix",
        "recurrent.weight_ih_l0", "recurrent.weight_hh_l0",
    }  # fmt: skip


def test_a_network_without_weights_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no weights to move"):
        Weights(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)))


def test_weights_go_there_and_back_to_the_bit() -> None:
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = Weights(network)
    first, second = weights.direction(0, 0), weights.direction(0, 1)
    weights.move((0.5, first), (-0.25, second))
    for name in weights.moved:
        there = before[name] + 0.5 * first[name] - 0.25 * second[name]
        torch.testing.assert_close(network.state_dict()[name], there)
    assert torch.equal(network[0].bias, before["0.bias"])
    weights.move((0.0, first), (0.0, second))
    for name, value in network.state_dict().items():
        assert np.array_equal(value.numpy(), before[name].numpy())
