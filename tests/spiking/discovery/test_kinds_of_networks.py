"""Networks of the kinds that are published are attacked through their spikes, or say why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import norse.torch as norse
import pytest
import snntorch
import torch
from snntorch import surrogate as slopes
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.model.spikformer import SpikformerBlock
from torch import Tensor, nn

from robench.compat import snntorch as compat
from robench.spiking import Surrogate
from robench.spiking.discovery import substituted, survey
from tests.support.faulty_networks import StraightThrough
from tests.support.spiking_styles import Steep, T, Timed, X, gradient, own_gradient


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval().requires_grad_(False)


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 7).round() / 7


class GradFloor(StraightThrough):
    """The floor of published conversions, with a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()


class Levels(nn.Module):
    """A quantised ReLU with a learned threshold."""

    def __init__(self, floor: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(1.3))
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        return self.floor(torch.clamp(x / self.threshold, 0, 1) * 8 + 0.5) / 8 * self.threshold


def quantised(floor: Callable[[Tensor], Tensor]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 60), Levels(floor), nn.Linear(60, 10))


class Steps(nn.Module):
    """A layer, neurons step by step, and a readout."""

    def __init__(self, neurons: nn.Module, reset: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.first, self.neurons, self.last = nn.Linear(192, 40), neurons, nn.Linear(40, 10)
        self.reset = reset

    def forward(self, x: Tensor) -> Tensor:
        self.reset()
        state: Any = ()
        out = []
        for _ in range(T):
            spikes, *state = self.neurons(self.first(x.flatten(1)) * 2, *state)
            out.append(self.last(spikes))
        return torch.stack(out).amax(0)


class AtOnce(nn.Module):
    """A layer of SpikingJelly's over all steps between two of weights."""

    def __init__(self, neurons: nn.Module) -> None:
        super().__init__()
        self.first, self.neurons, self.last = nn.Linear(192, 40), neurons, nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        current = self.first(x.flatten(1)) * 2
        return self.last(self.neurons(current.expand(T, *current.shape))).mean(0)


class Transformer(nn.Module):
    """A Spikformer of one block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Conv2d(3, 16, 2, 2), SpikformerBlock(16, 4, mlp_ratio=2.0)
        self.head = nn.Linear(16, 10)
        functional.set_step_mode(self.block, "m")

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        patches = self.embed(x) * 5
        return self.head(self.block(patches.expand(T, *patches.shape)).mean((0, 3, 4)))


class Ternary(nn.Module):
    """Spikes of both signs, from a function of its own."""

    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, v: Tensor) -> Tensor:
            return (v > 1).to(v.dtype) - (v < -1).to(v.dtype)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return torch.zeros_like(grad)

    def forward(self, x: Tensor) -> Tensor:
        return self.Sign.apply((x.flatten(1) - 0.5) * 8)[:, :10]


def norse_net() -> nn.Module:
    return Steps(norse.LIFCell(norse.LIFParameters(alpha=torch.tensor(100.0))))


def snntorch_net(kind: str, **more: Any) -> nn.Module:
    neurons = getattr(snntorch, kind)(beta=0.7, **more)

    def reset() -> None:
        compat.reset(neurons)

    return Steps(neurons, reset)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "floor of a function": (lambda: quantised(GradFloor.apply), 0, 1),
    "floor": (lambda: quantised(torch.floor), 0, 1),
    "rounded input": (lambda: nn.Sequential(Rounded(), nn.Flatten(), nn.Linear(192, 10)), 0, 1),
    "ternary": (Ternary, 1, 0),
    "norse, alpha 100, maximum": (norse_net, T, 0),
    "RLeaky": (lambda: snntorch_net("RLeaky", linear_features=40), 2 * T - 1, 0),
    "RSynaptic": (
        lambda: snntorch_net("RSynaptic", alpha=0.5, linear_features=40), 2 * T - 1, 0,
    ),
    "PLIF": (lambda: AtOnce(neuron.ParametricLIFNode(step_mode="m")), T, 0),
    "PSN": (lambda: AtOnce(neuron.PSN(T)), 1, 0),
    "spikformer": (Transformer, 5 * T, 0),
    "data parallel": (lambda: nn.DataParallel(AtOnce(neuron.IFNode(step_mode="m"))), T, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_differentiated_through_its_steps(name: str) -> None:
    make, spikes, roundings = NETWORKS[name]
    net = seeded(make)
    found = survey(net, net, X)
    assert not found.refused
    assert not found.own
    assert sum(spike.calls for spike in found.spikes) == spikes
    assert sum(step.calls for step in found.quantisers) == roundings
    assert gradient(net).flatten(1).any(1).all()


@pytest.mark.parametrize("surrogate", ["atan(2)", "assg_scaled(0.425)", "pdsg(1)"])
def test_the_gradient_of_a_layer_over_time_depends_on_no_other_image(surrogate: str) -> None:
    """Its spike function gets all steps of all images at once, as ``(T, N·C)``."""
    net, found = seeded(lambda: AtOnce(neuron.PSN(T))), []
    known = survey(net, net, X)
    for images in (2, 3, T, len(X)):
        with substituted(known, net, Surrogate.parse(surrogate)) as network:
            found.append(own_gradient(network, X[:images]))
    for other in found[1:]:
        torch.testing.assert_close(other[:2], found[0], atol=1e-6, rtol=1e-4)


def test_a_ternary_spike_has_the_slopes_of_two() -> None:
    slope = gradient(Ternary()).flatten(1)[:, :10].abs()
    v = ((X - 0.5) * 8).flatten(1)[:, :10].abs()
    torch.testing.assert_close(slope, 8 * (1 - (v - 1).abs()).clamp(min=0), atol=0.3, rtol=0)


def test_a_function_that_quantises_has_the_straight_through_gradient() -> None:
    net, leaf = seeded(lambda: quantised(GradFloor.apply)), X.clone().requires_grad_()
    (own,) = torch.autograd.grad(net(leaf)[:, :5].sum() - net(leaf)[:, 5:].sum(), leaf)
    torch.testing.assert_close(gradient(net), own, atol=1e-6, rtol=0.05)


def test_the_step_of_a_small_layer_is_that_of_the_other_calls() -> None:
    """Two images of 10 neurons are too few values to find a step in."""
    net = seeded(lambda: snntorch_net("Leaky"))
    net.last = nn.Sequential(net.last, Small())
    for images in (X, X[:2], X[:3]):
        found = survey(net, net, images)
        assert not found.own
        assert [spike.calls for spike in found.spikes] == [3 * T - 1]


class Small(nn.Module):
    def forward(self, v: Tensor) -> Tensor:
        return slopes.atan()(v)


def test_a_function_that_never_fires_is_named() -> None:
    net = seeded(lambda: snntorch_net("Leaky", threshold=1e6))
    found = survey(net, net, X)
    assert not found.spikes
    (kept,) = found.own
    assert kept == f"snntorch.surrogate.ATan ({2 * T - 1} calls, constant on clean images)"


class Readout(nn.Module):
    """Ten outputs that go through a function in each step."""

    def __init__(self, function: type[torch.autograd.Function], leak: float, steps: int) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(192, 10), function
        self.leak, self.steps = leak, steps

    def forward(self, x: Tensor) -> Tensor:
        u = current = self.layer(x.flatten(1) - 0.5)
        out = self.function.apply(u)
        for _ in range(self.steps - 1):
            u = self.leak * u + (1 - self.leak) * current.roll(1, 1)
            out = out + self.function.apply(u)
        return out


def test_calls_with_few_values_are_looked_at_together() -> None:
    """Three images of ten outputs are too few values in each call."""
    net = seeded(lambda: Readout(Steep, 0.7, T))
    found = survey(net, net, X[:3])
    assert not found.own
    assert [spike.calls for spike in found.spikes] == [T]
    few, all_of_them = (gradient(net, x=x)[:3].flatten(1) for x in (X[:3], X))
    assert (nn.functional.cosine_similarity(few, all_of_them) > 0.95).all()


def test_a_step_with_too_few_values_in_all_calls_is_named() -> None:
    net = seeded(lambda: Readout(Steep, 1.0, T))  # the same values in each step
    found = survey(net, net, X[:3])
    assert not found.spikes
    assert found.own == [f"{Steep.__module__}.Steep ({T} calls, too few values to say)"]


def only_forward(forward: Callable[[Tensor], Tensor]) -> type[torch.autograd.Function]:
    """A custom function without a backward pass."""
    return type(
        "Own", (torch.autograd.Function,), {"forward": staticmethod(lambda ctx, v: forward(v))}
    )


SMOOTH = {
    "bent": only_forward(torch.tanh),
    "clipped": only_forward(lambda v: v.clamp(-0.05, 0.05)),
    "rectified": only_forward(torch.relu),
    "size": only_forward(lambda v: v.norm(dim=1, keepdim=True)),
}


@pytest.mark.parametrize("function", SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("leak", [0.7, 1.0])
@pytest.mark.parametrize("images", [1, 2, 3, 16])
def test_a_smooth_function_with_few_values_is_none_of_steps(
    function: type[torch.autograd.Function], leak: float, images: int
) -> None:
    for steps in (1, T, 40):
        net = seeded(lambda steps=steps: Readout(function, leak, steps))
        found = survey(net, net, X[:images])
        assert not found.own
        assert not found.replaced


def test_a_count_may_be_cast_and_a_sign_rectified_in_place() -> None:
    class Net(Timed):
        def spike(self, v: Tensor) -> Tensor:
            few = (v > 1).sum(1).to(torch.int32) < 3
            sign = torch.sign(v - 1)
            nn.functional.relu(sign, inplace=True)
            return sign * few[:, None]

    net = Net().requires_grad_(False)
    assert not survey(net, net, X).refused
    gradient(net)  # which compares the logits
