"""A fingerprint is the same before and after a forward pass, whatever neurons keep of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import snntorch
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn.utils import prune

from robench import Cell, Model, ResultStore, Settings, evaluate_cell, find_attack
from robench.architectures import VGG, ModelConfig
from robench.compat.snntorch import reset
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.registry.fingerprint import network_sha256


class HandWritten(nn.Module):
    """A neuron with state, recordings and counts as plain attributes."""

    def __init__(self, beta: float = 0.9) -> None:
        super().__init__()
        self.beta = beta
        self.v: Tensor | None = None
        self.spikes: list[Tensor] = []
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.spikes = []
        for _ in range(3):
            self.charge(x)
            spike = self.fire()
            self.spikes.append(spike)
        self.rate = torch.stack(self.spikes).mean().item()
        return spike

    def charge(self, x: Tensor) -> None:
        if self.v is None or self.v.shape != x.shape:
            self.v = torch.zeros_like(x)
        self.v = self.v * self.beta + x

    def fire(self) -> Tensor:
        assert self.v is not None
        spike = (self.v > 1).to(self.v)
        self.last, self.v = spike, self.v - spike
        return spike


class InPlace(nn.Module):
    """A neuron whose state is a buffer that it changes in place."""

    def __init__(self, rest: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("v", torch.zeros(2, 4), persistent=False)
        self.register_buffer("rest", torch.tensor(rest), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.v.zero_()
        self.v.mul_(0.9).add_(x.detach())
        return self.v - self.rest + x


class Branch(nn.Module):
    """A state that is set in a branch: it is recognised by its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.memory: Tensor | None = None
        self.history: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if len(x):
            self.memory = self.linear(x)
            self.history.append(self.memory)
        assert self.memory is not None
        return self.memory


class Observed(nn.Module):
    """Statistics that training collects are no state; clamping a value keeps it."""

    def __init__(self, scale: float, beta: float = 0.5) -> None:
        super().__init__()
        self.scale = scale
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale = max(self.scale, x.max().item())
        self.beta = min(self.beta, 1.0)
        beta = max(self.beta, 0.0)
        self.beta = beta
        return x / self.scale * beta


def spiking(**options: object) -> neuron.LIFNode:
    return neuron.LIFNode(surrogate_function=surrogate.ATan(), **options)


NETS: dict[str, Callable[[], nn.Module]] = {
    "Leaky": lambda: snntorch.Leaky(0.9, init_hidden=True),
    "Synaptic": lambda: snntorch.Synaptic(alpha=0.9, beta=0.8, init_hidden=True),
    "Alpha": lambda: snntorch.Alpha(alpha=0.9, beta=0.8, init_hidden=True),
    "RLeaky": lambda: snntorch.RLeaky(beta=0.9, linear_features=4, init_hidden=True),
    "SLSTM": lambda: snntorch.SLSTM(4, 4, init_hidden=True),
    "LIFNode": spiking,
    "LIFNode over time": lambda: spiking(step_mode="m", store_v_seq=True),
    "ParametricLIFNode": neuron.ParametricLIFNode,
    "Dropout": lambda: layer.Dropout(0.5),
    "branch": Branch,
    "LSTM": lambda: nn.LSTM(4, 4),
    "weight norm": lambda: nn.utils.weight_norm(nn.Linear(4, 4)),
    "spectral norm": lambda: nn.utils.spectral_norm(nn.Linear(4, 4)),
    "pruning": lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5),
    "parametrised": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
}


def make(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), NETS[kind]()).eval()


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", NETS)
def test_a_forward_pass_changes_nothing(kind: str) -> None:
    net, x = make(kind), torch.rand(2, 4)
    digest = network_sha256(net)
    net(x)
    assert network_sha256(net) == digest
    net.requires_grad_(False)
    if kind != "branch":  # without a graph it could be anything
        with torch.no_grad():
            net(2 * x)
    assert network_sha256(net.train()) == digest
    assert network_sha256(net.eval()) == network_sha256(make(kind)) == digest


OPTIONS = (
    lambda k: HandWritten(k),
    lambda k: InPlace(k),
    lambda k: Observed(k),
    lambda k: Observed(1.0, k),
    lambda k: snntorch.Leaky(k),
    lambda k: snntorch.Leaky(0.9, spike_grad=snntorch.surrogate.atan(k)),
    lambda k: snntorch.Leaky(0.9, reset_mechanism="zero" if k < 0.5 else "subtract"),
    lambda k: neuron.LIFNode(v_threshold=k),
    lambda k: neuron.LIFNode(v_reset=k),
    lambda k: neuron.LIFNode(surrogate_function=surrogate.ATan(k)),
    lambda k: neuron.LIFNode(step_mode="m" if k < 0.5 else "s"),
)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_a_neuron_is_made_with_counts(option: Callable[[float], nn.Module]) -> None:
    assert network_sha256(option(0.25)) == network_sha256(option(0.25))
    assert network_sha256(option(0.25)) != network_sha256(option(0.75))


Hook = Callable[[nn.Module, tuple[Tensor], Tensor], object]


def clip(bound: float) -> Hook:
    return lambda module, given, result: result.clamp(max=bound)


def clip_in_place(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
    result.clamp_(max=1)


def double(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
    result *= 2


def shift(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
    result[:, 0] = 1


def shrink(result: Tensor) -> None:
    result.mul_(0.5)


def by_a_function(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
    shrink(result)


def of_the_module(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
    module.requires_grad_(False)


def test_hooks_that_change_a_result_count() -> None:
    digests = {network_sha256(make("Leaky"))}
    hooks = (clip(1), clip(2), clip_in_place, double, shift, by_a_function, of_the_module)
    for hook in hooks:
        net = make("Leaky")
        net.register_forward_hook(hook)
        digests.add(network_sha256(net))
    assert len(digests) == 1 + len(hooks)


def own() -> nn.Module:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "architecture": "flex-vgg16", "mode": "stbp", "dataset": "digits", "classes": 10,
            "width": 0.05, "timesteps": 2,
        }
    )  # fmt: skip
    return VGG(config)


class Reset(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        reset(self)
        return super().forward(x)


def with_snntorch() -> nn.Module:
    torch.manual_seed(0)
    return Reset(
        nn.Flatten(), nn.Linear(3072, 10), snntorch.Leaky(0.9, init_hidden=True), nn.Linear(10, 10)
    )


@pytest.mark.parametrize("build", [own, with_snntorch])
def test_an_evaluation_changes_nothing(build: Callable[[], nn.Module], tmp_path: Path) -> None:
    net = build()
    model = Model(net, "digits/some", 10)
    settings = Settings(parse_grid(["8/255"]))
    images = DIGITS.load("test").first(4)
    cell = Cell(model, find_attack("spgd[steps=2]"), DIGITS, images, settings)
    assert evaluate_cell(cell, ResultStore(tmp_path)).outcome is not None
    assert network_sha256(net) == model.fingerprint == network_sha256(build().eval())
