"""Comparisons that are no spikes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robench.spiking.discovery import survey
from tests.support.spiking_styles import X, gradient, own_gradient


def test_nothing_is_found_in_networks_without_spikes() -> None:
    class Gates(nn.Module):
        """Hand-written activations."""

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1) - 0.5
            x = x * (x > 0)
            x = x - 0.2
            x = x * (x > 0).float()
            x = torch.where(x > 0, x, 0.1 * x)
            x = x * (x > 0) + (x.exp() - 1) * (x <= 0)
            x[x < 0] *= 0.5
            x = x * (0.1 + 0.9 * (x > 0))
            x = x * (1 - 0.5 * (x < 0).float())
            return x[:, :10]

    torch.manual_seed(0)
    lstm = nn.LSTM(8, 10, batch_first=True)

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = lstm

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x.flatten(1, 2))[0][:, -1]

    relu = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.LogSoftmax(1)
    )
    for net in (Gates(), relu, Recurrent(), nn.Sequential(nn.Flatten(), nn.GELU())):
        net.eval().requires_grad_(False)
        found = survey(net, net, X)
        assert not found.replaced, found
        assert not found.refused
        assert not found.own
        assert torch.equal(gradient(net), own_gradient(net))


@pytest.mark.parametrize("scale", [None, 2.0])
def test_spikes_may_be_logits(scale: float | None) -> None:
    class Logits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            spikes = x.flatten(1)[:, :10] > 0.5
            return spikes.float() if scale is None else scale * spikes - 1.0

    assert len(survey(Logits(), Logits(), X).spikes) == 1


def rounded(levels: int) -> nn.Module:
    """Activations with a straight-through gradient beside a detached rounding."""

    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            soft = torch.sigmoid(4 * (x.flatten(1) - 0.5))
            hard = torch.round(levels * soft) / levels
            return (soft + (hard - soft).detach())[:, :10]

    return Rounded()


def test_a_detached_rounding_keeps_the_gradient_beside_it_and_is_named_if_it_spikes() -> None:
    many, two = (survey(net, net, X) for net in (rounded(15), rounded(1)))
    assert not many.own
    assert len(two.own) == 1
    assert two.own[0].startswith("round in test_gates.py")
    assert two.own[0].endswith("(1 calls, two levels)")
    assert not many.replaced
    assert not two.replaced
