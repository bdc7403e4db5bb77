"""The same weights with the neurons of other libraries have the gradients of robench's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import robench
from robench.datasets import DIGITS
from robench.engine.gradient import differentiated
from robench.spiking import Estimator
from robench.spiking.discovery import survey
from tests.support.rebuilt import (
    ByHand,
    OfSnnTorch,
    OfSpikingJelly,
    OfSpikingJellyAtOnce,
    checkpoint,
)
from tests.support.spiking_styles import T, X, gradient, steep

IMAGES = DIGITS.load("test").first(8)


def gradient_of(net: nn.Module, estimator: str) -> tuple[Tensor, Tensor]:
    """The logits and the gradient with an estimator."""
    model = robench.Model(net, "digits/any", mode="stbp", timesteps=10)
    x, y = IMAGES.tensor(), IMAGES.targets()
    model.survey(x)
    chosen, leaf = Estimator.parse(estimator), x.clone().requires_grad_()
    with differentiated(model, chosen.surrogate, chosen.path) as (network, _):
        logits = network(leaf)
        loss = nn.functional.cross_entropy(logits, y, reduction="sum")
        (found,) = torch.autograd.grad(loss, leaf)
    return logits.detach(), found


@pytest.mark.parametrize(
    ("make", "reset", "estimators"),
    [
        (OfSnnTorch, "subtract", ("atan(2)", "triangle(0.5)")),
        (ByHand, "subtract", ("atan(2)", "triangle(0.5)")),
        (OfSpikingJelly, "zero", ("atan(2)", "triangle(0.5)")),
        (OfSpikingJellyAtOnce, "zero", ("atan(2)", "triangle(0.5)/hart", "bptr", "rga")),
    ],
)
def test_the_gradient_is_that_of_the_checkpoint(
    make: Callable[[], nn.Module], reset: str, estimators: tuple[str, ...]
) -> None:
    """Also where a library resets with a gradient, as SpikingJelly does by default."""
    own, other = checkpoint(reset=reset), make()
    for estimator in estimators:
        logits, wanted = gradient_of(own, estimator)
        found_logits, found = gradient_of(other, estimator)
        torch.testing.assert_close(found_logits, logits)
        assert wanted.flatten(1).any(1).all()
        torch.testing.assert_close(found, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)


class Layer(nn.Module):
    """LIF neurons over all steps, written by hand, between two layers of weights."""

    def __init__(self, *, mixing: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(192, 40, generator=generator) * 0.15)
        self.neurons = Neurons(mixing=mixing)

    def forward(self, x: Tensor) -> Tensor:
        current = (x.flatten(1) - 0.5) @ self.first
        return self.neurons(current.expand(T, *current.shape)).mean(0)[:, :10]


class Neurons(nn.Module):
    """A threshold of 0.8, a leak of 0.7, spikes of 0.8, a soft reset."""

    def __init__(self, *, mixing: bool) -> None:
        super().__init__()
        self.mixing = mixing

    def forward(self, x: Tensor) -> Tensor:
        x = x + x.roll(1, 2) if self.mixing else x * 2
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = 0.7 * v + current
            out.append(steep(v - 0.8) * 0.8)
            v = v - out[-1]
        return torch.stack(out)


def test_a_layer_over_time_is_found_with_its_neuron() -> None:
    net = Layer().requires_grad_(False)
    (layer,) = survey(net, net, X).layers
    assert layer.name == "neurons"
    assert layer.height == pytest.approx(0.8)
    assert layer.neuron is not None
    found = layer.neuron.gain, layer.neuron.beta, layer.neuron.threshold
    assert found == pytest.approx((2.0, 0.7, 0.8), rel=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: neuron.LIFNode(tau=4.0, step_mode="m"),
        lambda: neuron.IFNode(v_reset=None, v_threshold=0.5, step_mode="m"),
        lambda: neuron.ParametricLIFNode(step_mode="m"),
    ],
)
def test_neurons_of_spikingjelly_are_fitted(make: Callable[[], neuron.BaseNode]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neurons = make()

        def forward(self, x: Tensor) -> Tensor:
            self.neurons.reset()
            return self.neurons((x.flatten(1) * 2).expand(T, len(x), 192)).mean(0)[:, :10]

    net = Net()
    (layer,) = survey(net, net, X).layers
    leaks = {"LIFNode": (0.25, 0.75), "IFNode": (1.0, 1.0), "ParametricLIFNode": (0.5, 0.5)}
    assert layer.neuron is not None
    gain, beta = leaks[type(make()).__name__]
    assert layer.neuron.gain == pytest.approx(gain, rel=1e-3)
    assert layer.neuron.beta == pytest.approx(beta, abs=1e-3)
    assert layer.neuron.threshold == pytest.approx(float(make().v_threshold), rel=1e-3)


def test_what_mixes_neurons_or_sees_one_step_is_no_layer_over_time() -> None:
    for net in (Layer(mixing=True), OfSpikingJelly()):
        images = IMAGES.tensor() if isinstance(net, OfSpikingJelly) else X
        found = survey(net, net, images)
        assert found.spikes
        assert not found.layers


def test_a_reset_carries_no_gradient_and_recurrent_weights_do() -> None:
    """The gradient is that of a detached reset; a spike that comes back through weights counts."""

    class Net(nn.Module):
        def __init__(self, *, detached: bool, recurrent: bool) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(2)
            self.first = torch.randn(192, 40, generator=generator) * 0.15
            self.back = torch.randn(40, 40, generator=generator) * 0.3 * recurrent
            self.detached = detached

        def forward(self, x: Tensor) -> Tensor:
            v, out = torch.zeros(len(x), 40), torch.zeros(len(x), 40)
            spikes = v
            for _ in range(T):
                reset = spikes.detach() if self.detached else spikes
                v = 0.7 * v * (1 - reset) + (x.flatten(1) - 0.5) @ self.first - 0.1 * reset
                v = v + spikes @ self.back
                spikes = steep(v - 1)
                out = out + spikes
            return out[:, :10]

    for recurrent in (False, True):
        attached, detached = (Net(detached=d, recurrent=recurrent) for d in (False, True))
        torch.testing.assert_close(gradient(attached), gradient(detached))
    assert not torch.allclose(gradient(attached), gradient(Net(detached=True, recurrent=False)))


class Pair(NamedTuple):
    spikes: Tensor
    membranes: Tensor


OUTPUTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "spikes and input": lambda s, x: s + x,
    "gated input": lambda s, x: s * x,
    "a trace": lambda s, x: s.cumsum(0) * 0.5,
    "an offset": lambda s, x: 0.5 * s + 0.3,
    "membranes first": lambda s, x: (x * 0.5, s),
}


class Returning(Layer):
    """Its neurons return something made of their spikes and input."""

    def __init__(self, result: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        inner, self.neurons = self.neurons, nn.Module()
        self.neurons.inner = inner.forward  # type: ignore[assignment]
        self.neurons.forward = lambda x: result(inner.forward(x), x)  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        current = (x.flatten(1) - 0.5) @ self.first
        out = self.neurons(current.expand(T, *current.shape))
        out = out if isinstance(out, Tensor) else next(p for p in out if not (p < 0).any())
        return out.mean(0)[:, :10]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_layer_over_time_gives_its_spikes_and_nothing_else(name: str) -> None:
    net = Returning(OUTPUTS[name]).requires_grad_(False)
    found = survey(net, net, X)
    assert found.spikes
    assert not found.layers


def test_a_layer_may_return_a_named_tuple() -> None:
    net = Returning(lambda s, x: Pair(s, x)).requires_grad_(False)
    assert [layer.name for layer in survey(net, net, X).layers] == ["neurons"]
    for estimator in ("bptr", "triangle(1)/hart", "rga"):
        model = robench.Model(net, "digits/any", mode="stbp")
        model.survey(X)
        chosen, leaf = Estimator.parse(estimator), X.clone().requires_grad_()
        with differentiated(model, chosen.surrogate, chosen.path) as (network, _):
            (found,) = torch.autograd.grad(network(leaf).sum(), leaf)
        assert found.any()


@pytest.mark.parametrize("seed", range(4))
def test_a_neuron_without_reset_has_its_threshold(seed: int) -> None:
    class Accumulate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return steep(x.cumsum(0) - 1)

    net = Layer().requires_grad_(False)
    net.neurons = Accumulate()  # type: ignore[assignment]
    net.first.copy_(torch.randn(192, 40, generator=torch.Generator().manual_seed(seed)) * 0.15)
    (layer,) = survey(net, net, X).layers
    assert layer.neuron is not None
    assert layer.neuron.threshold == pytest.approx(1, rel=1e-3)
    assert gradient(net).flatten(1).any(1).all()


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_single_image_and_a_network_that_is_compiled_in_place() -> None:
    net = Layer().requires_grad_(False)
    assert survey(net, net, X[:1]).refused == ""
    net.compile(backend="eager")
    assert "compiled network" in str(survey(net, net, X))


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_function_is_on_record() -> None:
    spike = torch.compile(lambda v: (v > 1).float(), backend="eager")

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return spike(4 * x.flatten(1)[:, :10]) + x.flatten(1)[:, :10]

    assert "compiled function" in str(survey(Net(), Net(), X))


def test_a_part_that_takes_a_number_is_no_neuron() -> None:
    class Scale(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return steep(x.expand(40) - 0.1)

    class Net(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.scale = Scale()

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.scale(x.mean())[:10]

    net = Net().requires_grad_(False)
    found = survey(net, net, X)
    assert not found.refused
    assert found.spikes
    assert not found.layers
