"""The neurons of snnTorch and SpikingJelly are found, with the time steps of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from snntorch import surrogate as slopes
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based import surrogate as sj_slopes
from torch import Tensor, nn

from robench.spiking.discovery import survey
from tests.support.spiking_styles import T, Timed, X, gradient

NEURONS: dict[str, Callable[[], nn.Module]] = {
    "Leaky": lambda: snntorch.Leaky(beta=0.7, spike_grad=slopes.fast_sigmoid(100)),
    "Synaptic": lambda: snntorch.Synaptic(alpha=0.5, beta=0.7),
    "RLeaky": lambda: snntorch.RLeaky(beta=0.7, linear_features=192),
    "Lapicque": lambda: snntorch.Lapicque(beta=0.7),
    "Alpha": lambda: snntorch.Alpha(alpha=0.9, beta=0.7),
}


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("training", [False, True])
def test_neurons_of_snntorch(name: str, training: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.neuron = NEURONS[name]()

        def forward(self, x: Tensor) -> Tensor:
            for key in list(vars(self.neuron)) + list(self.neuron._buffers):
                if key in ("mem", "syn", "spk", "syn_exc", "syn_inh"):
                    setattr(self.neuron, key, torch.zeros(0))
            state: Any = ()
            out = torch.zeros(len(x), 192)
            for _ in range(T):
                spikes, *state = self.neuron(x.flatten(1) * 3, *state)
                out = out + spikes
            return out

    net = Net().train(training).requires_grad_(False)
    found = survey(net, net, X)
    assert not found.refused
    (function,) = found.functions.values()
    assert function.name.startswith("snntorch.surrogate.")
    assert function.kind == "spike"
    assert gradient(net).any()


@pytest.mark.parametrize("step", ["s", "m"])
@pytest.mark.parametrize(
    "make",
    [
        lambda mode: neuron.LIFNode(step_mode=mode, v_reset=0.0),
        lambda mode: neuron.LIFNode(step_mode=mode, v_reset=None, detach_reset=True),
        lambda mode: neuron.IFNode(step_mode=mode, surrogate_function=sj_slopes.Sigmoid(40.0)),
        lambda mode: neuron.ParametricLIFNode(step_mode=mode),
        lambda mode: neuron.KLIFNode(step_mode=mode),
    ],
)
def test_neurons_of_spikingjelly(step: str, make: Callable[[str], nn.Module]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron = make(step)

        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self)
            current = (x.flatten(1) * 2).expand(T, len(x), 192)
            if step == "m":
                return self.neuron(current).sum(0)
            return torch.stack([self.neuron(part) for part in current]).sum(0)

    net = Net().eval().requires_grad_(False)
    found = survey(net, net, X)
    assert not found.refused
    assert [spike.calls for spike in found.spikes] == [T]
    assert gradient(net).any()


def test_a_package_whose_name_begins_like_that_of_torch_is_code_of_the_network() -> None:
    file = str(Path(torch.__file__).parent.with_name("torchspikes") / "net.py")
    space: dict[str, Any] = {}
    exec(compile("def spike(self, v): return (v > 1).float()", file, "exec"), space)
    net = type("Net", (Timed,), space)().requires_grad_(False)
    (place,) = survey(net, net, X).operations
    assert (place.file, place.line) == (file, 1)
