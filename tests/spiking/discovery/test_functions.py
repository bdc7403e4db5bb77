"""Custom functions with more than one use: several outputs, and weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.spiking.discovery import survey
from tests.spiking.discovery.test_kinds_of_networks import seeded
from tests.support.spiking_styles import Steep, Timed, X, gradient


class Saving(torch.autograd.Function):
    """Spike and membrane after the reset, with a backward pass that needs the spike."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        spike = (v > 1).to(v.dtype)
        ctx.save_for_backward(spike)
        return spike, v * (1 - spike)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (spike,) = ctx.saved_tensors
        return grads[1] * (1 - spike)


def test_a_function_may_save_a_spike_for_its_other_output() -> None:
    class Net(Timed):
        def spike(self, v: Tensor) -> Tensor:
            spike, rest = Saving.apply(v)
            return spike + 0 * rest

    net = Net().requires_grad_(False)
    assert len(survey(net, net, X).spikes) == 1
    gradient(net)


def test_a_function_may_also_make_weights() -> None:
    class Binary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(192, 40), nn.Linear(40, 10)

        def forward(self, x: Tensor) -> Tensor:
            weight = Steep.apply(self.first.weight)
            return self.last(Steep.apply(nn.functional.linear(x.flatten(1) - 0.5, weight)))

    found = survey(net := seeded(Binary), net, X)
    assert not found.own
    assert [spike.calls for spike in found.spikes] == [1]
    gradient(net)


class OnOff(torch.autograd.Function):
    """Spikes of two kinds."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        return (v > 0.5).to(v.dtype), (v < -0.5).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.zeros_like(grads[0])


@pytest.mark.parametrize("silent", [False, True])
def test_each_output_of_a_function_may_spike(silent: bool) -> None:
    class Net(nn.Module):
        def __init__(self, together: bool) -> None:
            super().__init__()
            self.together = together

        def forward(self, x: Tensor) -> Tensor:
            z = 2 * x.flatten(1)[:, :40] - 1
            calls = [(z.abs() if silent else z), z]  # in the first call, one output may be silent
            if self.together:
                pairs = [OnOff.apply(v) for v in calls]
            else:
                pairs = [(Steep.apply(v - 0.5), Steep.apply(-0.5 - v)) for v in calls]
            return sum(
                on[:, :10] * 2 + off[:, 10:20] + on[:, 20:30] - off[:, :10] for on, off in pairs
            )

    together, apart = Net(True), Net(False)
    assert torch.equal(together(X), apart(X))
    found = survey(together, together, X)
    assert [spike.calls for spike in found.spikes] == [2]
    # a threshold inside of a function is known to lie between two of its arguments
    similarity = nn.functional.cosine_similarity(
        gradient(together).flatten(1), gradient(apart).flatten(1)
    )
    assert (similarity > 0.95).all()


def test_what_a_function_was_called_with_may_be_overwritten() -> None:
    class Slope(torch.autograd.Function):
        """Saves its derivative, so that its argument may change."""

        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            ctx.save_for_backward(1 / (1 + z.abs()))
            return (z > 1).to(z.dtype)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (slope,) = ctx.saved_tensors
            return grad * slope

    class Net(Timed):
        def __init__(self, in_place: bool) -> None:
            super().__init__()
            self.in_place = in_place

        def spike(self, v: Tensor) -> Tensor:
            s = Slope.apply(v)
            if self.in_place:
                v.sub_(s.detach()).add_(s.detach())
            return s

    overwriting, plain = (Net(in_place).requires_grad_(False) for in_place in (True, False))
    found = survey(overwriting, overwriting, X)
    assert found.replaced
    assert not survey(plain, plain, X).overwritten
    torch.testing.assert_close(gradient(overwriting), gradient(plain))


@pytest.mark.parametrize("still", [0, 3])
def test_each_channel_may_have_its_own_threshold_and_height(still: int) -> None:
    class Amplitude(torch.autograd.Function):
        """Spikes of the height of the threshold, as in a network that was converted."""

        @staticmethod
        def forward(ctx: Any, v: Tensor, threshold: Tensor) -> Tensor:
            return (v > threshold).to(v.dtype) * threshold

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            return torch.zeros_like(grad), None

    class Net(Timed):
        def __init__(self, own: bool) -> None:
            super().__init__()
            self.own = own
            self.first.data[:, :still] *= 1e-3  # these never spike

        def spike(self, v: Tensor) -> Tensor:
            threshold = torch.linspace(0.5, 1.5, v.shape[1])
            if self.own:
                return Amplitude.apply(v, threshold)
            return Steep.apply(v - threshold) * threshold

    own, apart = (Net(own).requires_grad_(False) for own in (True, False))
    assert torch.equal(own(X), apart(X))
    found = survey(own, own, X)
    assert not found.own
    assert [spike.calls for spike in found.spikes] == [8]
    expected = gradient(apart)
    assert expected.any()
    similarity = nn.functional.cosine_similarity(gradient(own).flatten(1), expected.flatten(1))
    assert (similarity > 0.95).all()
