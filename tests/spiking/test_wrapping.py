"""Networks in the style of each library, wrapped in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import norse.torch as norse
import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import robench
from robench.datasets import DIGITS_FRAMES
from robench.errors import EvaluationError, UsageError
from robench.spiking import latency

X = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SMALL: dict[str, Any] = {"dataset": "digits", "limit": 4, "eps": ["8/255"]}


class OfSnnTorch(nn.Module):
    """As in the tutorials of snnTorch: it loops over time and returns spikes and membranes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1 = nn.Linear(192, 30), snntorch.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(30, 10), snntorch.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        x = nn.functional.avg_pool2d(x, 4).flatten(1)
        spikes, membranes = [], []
        for _ in range(6):
            spk1, mem1 = self.lif1(self.fc1(x) * 3, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1) * 3, mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


def of_spikingjelly() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.AvgPool2d(4), layer.Flatten(), layer.Linear(192, 30), neuron.LIFNode(),
        layer.Linear(30, 10), neuron.IFNode(),
    )  # fmt: skip
    functional.set_step_mode(net, "m")
    return louder(net, 8)


def of_norse() -> nn.Module:
    torch.manual_seed(0)
    net = norse.SequentialState(
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 30), norse.LIFCell(), nn.Linear(30, 10),
        norse.LICell(),
    )  # fmt: skip
    return louder(net, 200)


def louder(net: nn.Module, factor: float) -> nn.Module:
    """Weights with which untrained neurons spike."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Linear):
                part.weight.mul_(factor)
    return net


def test_a_network_that_returns_spikes_and_membranes_over_time() -> None:
    net = OfSnnTorch().eval()
    spikes, membranes = net(X)
    assert torch.equal(robench.wrap(net)(X), spikes.sum(0))
    assert torch.equal(robench.wrap(net, output=1, readout="last")(X), membranes[-1])
    assert torch.equal(robench.wrap(net, output=1, readout="max")(X), membranes.amax(0))
    assert torch.equal(robench.wrap(net, readout="mean")(X), spikes.mean(0))


def test_a_network_over_sequences() -> None:
    net = of_spikingjelly().eval()
    wrapped = robench.wrap(net, timesteps=4, encoding="direct", readout="mean")
    functional.reset_net(net)
    expected = net(X.expand(4, *X.shape)).mean(0)
    for _ in range(2):  # it is reset before each call
        assert torch.equal(wrapped(X), expected)


def test_a_network_that_is_called_step_by_step() -> None:
    net = of_norse().eval()
    wrapped = robench.wrap(net, timesteps=4, encoding="direct", stepwise=True, readout="last")
    state, out = None, X
    for _ in range(4):
        out, state = net(X, state)
    assert torch.equal(wrapped(X), out)


def test_a_network_of_frames() -> None:
    frames = torch.rand(5, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    net = of_spikingjelly().eval()
    expected = net(frames.movedim(1, 0)).sum(0)
    assert torch.equal(robench.wrap(net, encoding="frames")(frames), expected)
    cell, state, out = of_norse().eval(), None, frames
    for t in range(4):
        out, state = cell(frames[:, t], state)
    stepwise = robench.wrap(cell, encoding="frames", stepwise=True, readout="last")
    assert torch.equal(stepwise(frames), out)


def test_frames_of_a_data_set_and_of_tensors_give_the_same() -> None:
    net = robench.wrap(of_spikingjelly(), encoding="frames")
    test = DIGITS_FRAMES.load("test").first(4)
    given = robench.evaluate(net, "fgsm", images=test.tensor(), labels=test.targets(), eps="1/255")
    model = robench.Model(net, dataset="digits-frames", input_kind="frames")
    named = robench.evaluate(model, "fgsm", limit=4, eps="1/255")
    assert given.to_frame()["accuracy"].equals(named.to_frame()["accuracy"])


@pytest.mark.parametrize(
    ("make", "name"),
    [(OfSnnTorch, "digits/of-snn-torch"), (of_spikingjelly, "digits/sequential")],
)
def test_the_model_has_the_name_of_the_wrapped_class(
    make: Callable[[], nn.Module], name: str
) -> None:
    assert robench.Model(robench.wrap(make()), dataset="digits").id == name
    assert robench.Model(robench.wrap(make()), "digits/other").id == "digits/other"


def test_latency_spikes_once_and_early_for_bright_pixels() -> None:
    x = torch.tensor([[0.0, 0.1, 0.3, 0.6, 0.9, 1.0]])
    spikes = latency(x, 4)
    assert spikes.sum(0).tolist() == [[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    assert spikes.argmax(0).tolist() == [[0, 3, 2, 1, 0, 0]]


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (OfSnnTorch, {}),
        (of_spikingjelly, {"timesteps": 4, "encoding": "direct"}),
        (of_spikingjelly, {"timesteps": 4, "encoding": "latency"}),
        (of_norse, {"timesteps": 4, "encoding": "direct", "stepwise": True}),
    ],
)
def test_wrapped_networks_are_attacked_through_their_spikes(make: Any, options: Any) -> None:
    model = robench.Model(robench.wrap(make(), **options), dataset="digits", mode="stbp")
    found = robench.evaluate(model, "fgsm,spgd[pgd_steps=2,steps=2]", **(SMALL | {"dataset": None}))
    for cell in found.cells:
        assert cell.outcome is not None
        assert "spikes of" in cell.outcome.spikes
        assert "not-deterministic" not in cell.outcome.reasons
        assert "spikes-not-replaced" not in cell.outcome.reasons


def test_rate_coding_is_stochastic() -> None:
    net = robench.wrap(of_spikingjelly(), timesteps=4, encoding="rate")
    model = robench.Model(net, dataset="digits", mode="stbp", stochastic=True)
    found = robench.evaluate(model, "fgsm", **(SMALL | {"dataset": None}))
    assert found.cells[0].outcome is not None
    assert "draws-not-bound" not in found.cells[0].outcome.reasons


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"readout": "median"}, "readout"),
        ({"encoding": "phase", "timesteps": 3}, "encoding"),
        ({"timesteps": 3}, "belong together"),
        ({"timesteps": 3, "encoding": "frames"}, "belong together"),
        ({"stepwise": True}, "step by step"),
        ({"timesteps": 0, "encoding": "latency"}, "timesteps=0: give an integer from 1"),
        ({"timesteps": -1, "encoding": "direct"}, "timesteps=-1"),
        ({"timesteps": 2.5, "encoding": "direct"}, "timesteps=2.5"),
    ],
)
def test_wrong_options_are_one_line(options: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        robench.wrap(nn.Flatten(), **options)


def test_another_shape_is_one_line() -> None:
    with pytest.raises(EvaluationError, match=r"\(T, N, K\)"):
        robench.wrap(nn.Flatten())(X)


def test_an_output_that_is_not_there_is_one_line() -> None:
    with pytest.raises(EvaluationError, match=r"output=2 of robench\.wrap: the network returns 2"):
        robench.wrap(OfSnnTorch(), output=2)(X)
