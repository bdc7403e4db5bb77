"""Spikes of networks of any library, which are not changed by being watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench import Model
from robench.analysis.activity.measure import count
from robench.datasets import DIGITS
from tests.support.rebuilt import (
    TIMESTEPS,
    ByHand,
    OfSnnTorch,
    OfSpikingJelly,
    OfSpikingJellyAtOnce,
    checkpoint,
)
from tests.support.spiking_digits import Bare, Small, trained
from tests.support.spiking_styles import STYLES, Timed, X


def counted(net: nn.Module, x: Tensor) -> dict[str, Any]:
    model = Model(net, "digits/net", classes=10, version="1")
    if not model.layered:
        model.survey(x)
    return count(model, x, np.arange(len(x))).summary()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return DIGITS.load("test").first(12).tensor()


@pytest.mark.parametrize(
    ("make", "reset"),
    [
        (OfSnnTorch, "subtract"),
        (ByHand, "subtract"),
        (OfSpikingJelly, "zero"),
        (OfSpikingJellyAtOnce, "zero"),
    ],
)
def test_libraries_spike_alike(make: Callable[[], nn.Module], reset: str, x: Tensor) -> None:
    """Only the first convolution differs: robench computes it once, others in each step."""
    own, theirs = counted(checkpoint(reset=reset), x), counted(make(), x)
    assert theirs["total"]["spikes"] == own["total"]["spikes"]
    assert theirs["total"]["acs"] == own["total"]["acs"]
    known = [(row["neurons"], row["steps"], row["silent"]) for row in own["activations"]]
    assert [(row["neurons"], row["steps"], row["silent"]) for row in theirs["activations"]] == known
    first = own["operations"][0]["macs"]
    more = theirs["total"]["macs"]["value"] - own["total"]["macs"]["value"]
    assert more == (TIMESTEPS - 1) * first


def fired(spike: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """The spikes of the two layers of a network, by its own output."""
    seen = []

    class Watched(Timed):
        def spike(self, v: Tensor) -> Tensor:
            seen.append(spike(v))
            return seen[-1]

    with torch.no_grad():
        Watched()(x)
    return sum(int((s > 0).sum()) for s in seen)


@pytest.mark.parametrize("style", STYLES)
def test_spikes_of_every_style_are_counted(style: str) -> None:
    class Styled(Timed):
        def spike(self, v: Tensor) -> Tensor:
            return STYLES[style](v)

    found = counted(Styled(), X)
    assert [row["neurons"] for row in found["activations"]] == [40, 10]
    assert [row["steps"] for row in found["activations"]] == [4, 4]
    assert found["total"]["spikes"]["value"] == fired(STYLES[style], X) / len(X)


def test_a_reset_of_snntorch_is_no_spike(x: Tensor) -> None:
    """Its neurons call the spike function a second time, for the reset."""
    (of_library,), (by_hand,) = (
        counted(trained(net), x)["activations"] for net in (Small(), Bare())
    )
    assert of_library["steps"] == by_hand["steps"] == 4
    assert of_library["active"] == by_hand["active"]


def test_functions_on_layers_of_two_sizes_that_were_computed_before_are_two_layers(
    x: Tensor,
) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = nn.Linear(3072, 40), nn.Linear(3072, 10)

        def forward(self, x: Tensor) -> Tensor:
            wide, narrow = self.wide(x.flatten(1)), self.narrow(x.flatten(1))
            return torch.relu(wide)[:, :10] + torch.relu(narrow)

    assert [row["neurons"] for row in counted(Both(), x)["activations"]] == [40, 10]


class TwoSizes(nn.Module):
    """One spike function for layers of two sizes, in one module."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        wide = (rows > 0.5).float()
        return 2 * (wide[:, :10] + rows[:, :10] > 1).float()


def test_layers_of_different_size_are_different_layers(x: Tensor) -> None:
    found = counted(TwoSizes(), x)["activations"]
    assert [row["neurons"] for row in found] == [3072, 10]


def test_an_ann_has_active_outputs_and_no_spikes(x: Tensor) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 30), nn.ReLU(), nn.Linear(30, 10))
    found = counted(net, x)
    with torch.no_grad():
        active = float((net[1](x.flatten(1)) > 0).sum()) / len(x)
    assert found["total"]["rate"] is None
    assert found["total"]["spikes"]["value"] == 0
    assert found["activations"][0]["active"] == active
    assert not found["activations"][0]["spikes"]


@pytest.mark.parametrize("make", [OfSnnTorch, ByHand, Small])
def test_the_network_is_as_before(make: Callable[[], nn.Module], x: Tensor) -> None:
    net = make()
    with torch.no_grad():
        before = net(x)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    needs = [p.requires_grad for p in net.parameters()]
    counted(net, x)
    hooks = [part._forward_hooks or part._forward_pre_hooks for part in net.modules()]
    assert not any(hooks)
    assert [p.requires_grad for p in net.parameters()] == needs
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    with torch.no_grad():
        assert torch.equal(net(x), before)
