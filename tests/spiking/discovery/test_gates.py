"""Comparisons that are no spikes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robench.spiking.discovery import survey
from tests.support.spiking_styles import X, gradient


def test_nothing_is_found_in_networks_without_spikes() -> None:
    class Gates(nn.Module):
        """Hand-written activations, a mask of the largest values, and dropout by hand."""

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1) - 0.5
            x = x * (x > 0)
            x = x - 0.2
            x = x * (x > 0).float()
            x = torch.where(x > 0.1, x, 0.1 * x)
            x = x * (0.1 + 0.9 * (x > 0))
            x = x * (1 - 0.5 * (x < 0).float())
            kept = (x >= x.topk(50).values[:, -1:]).to(x.dtype)
            return (x * kept)[:, :10]

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
        leaf = X.clone().requires_grad_()
        logits = net(leaf)
        (own,) = torch.autograd.grad(logits[:, :5].sum() - logits[:, 5:].sum(), leaf)
        assert torch.equal(gradient(net), own)


def test_spikes_that_are_scaled_into_logits_are_spikes() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2.0 * (x.flatten(1)[:, :10] > 0.5) - 1.0

    assert len(survey(Scaled(), Scaled(), X).spikes) == 1
