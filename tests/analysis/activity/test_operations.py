"""Synaptic operations against a count by hand and against NeuroBench."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from snntorch import utils
from torch import Tensor, nn

from robench import Model
from robench.analysis.activity.forward import MASK
from robench.analysis.activity.measure import count
from robench.analysis.activity.operations import memory_of
from robench.architectures import FlexConfig, PlasticFlexLayer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import SNNTorchModel, TorchModel

N, T = 12, 5


def counted(net: nn.Module, x: Tensor) -> dict[str, Any]:
    model = Model(net.eval(), "digits/net", classes=10, version="1")
    model.survey(x)
    return count(model, x, np.arange(len(x))).summary()


def operations(found: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    rows = found["operations"]
    return {row["layer"]: (row["macs"], row["acs"], row["dense"]) for row in rows}


class ThreeLayers(nn.Module):
    """A convolution, a layer of spikes and a product, small enough to count."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 2, bias=True)
        self.spikes = nn.Linear(4, 3, bias=False)
        self.out = nn.Linear(3, 10)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]))
            self.conv.bias.zero_()
            self.spikes.weight.copy_(torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]))

    def forward(self, x: Tensor) -> Tensor:
        fired = (self.conv(x).flatten(1) > 1.5).float()
        return self.out(self.spikes(fired).relu())


def test_three_layers_agree_with_a_count_by_hand() -> None:
    image = torch.tensor([[1.0, 0, 0.5], [0, 1, 0], [0, 0, 1]])[None, None]
    # the diagonal of the kernel meets (1, 1), (0, 0), (0, 0) and (1, 1): outputs 2, 0, 0, 2
    found = operations(counted(ThreeLayers(), torch.cat([image] * 16)))
    # the image has 4 values that are not zero: the corners at the diagonal's ends are in one
    # position of the kernel, the middle is in four, of which two have a weight; 0.5 is in one
    # position, under a weight of 0
    assert found["conv"] == (1 + 2 + 1, 0, 4 * 4)
    assert found["spikes"] == (0, 2, 12)  # of two spikes each has one weight
    # both outputs are 1, which are spikes by their values
    assert found["out"] == (0, 2 * 10, 3 * 10)


class Plain(nn.Module):
    """A spiking network as NeuroBench takes it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c1 = nn.Conv2d(1, 6, 3, padding=1, stride=2)
        self.l1 = snntorch.Leaky(0.8, threshold=0.3, init_hidden=True)
        self.c2 = nn.Conv2d(6, 8, 3, groups=2, bias=False)
        self.l2 = snntorch.Leaky(0.8, threshold=0.2, init_hidden=True)
        self.f = nn.Linear(32, 10)
        self.l3 = snntorch.Leaky(0.8, threshold=0.1, init_hidden=True, output=True)
        with torch.no_grad():
            self.c2.weight[:, :, 0, 0] = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.l2(self.c2(self.l1(self.c1(x))))
        return self.l3(self.f(x.flatten(1)))


class OverTime(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        utils.reset(self.net)
        return sum(self.net(x)[0] for _ in range(T)) / T


def neurobench(model: Any, x: Tensor, one: Tensor) -> tuple[dict[str, float], float]:
    synops, sparsity = SynapticOperations(), ActivationSparsity()
    model.register_hooks()
    with torch.no_grad():
        out = model(x)
    found = synops(model, out, (one, None)), sparsity(model, out, (one, None))
    model.cleanup_hooks()
    return found


def agree(found: dict[str, Any], theirs: tuple[dict[str, float], float]) -> None:
    total = found["total"]
    assert total["macs"]["value"] == theirs[0]["Effective_MACs"]
    assert total["acs"]["value"] == pytest.approx(theirs[0]["Effective_ACs"], rel=1e-12)
    assert total["dense"]["value"] == theirs[0]["Dense"]
    assert total["sparsity"] == pytest.approx(theirs[1], abs=1e-12)


def test_a_spiking_network_agrees_with_neurobench() -> None:
    net, x = Plain(), torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    frames = x[:, None].expand(N, T, 1, 8, 8)
    theirs = neurobench(SNNTorchModel(net), frames, x)
    assert theirs[0]["Effective_ACs"] > 100
    agree(counted(OverTime(net), x), theirs)


def test_an_ann_agrees_with_neurobench() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, dilation=2, padding=2), nn.ReLU(), nn.Conv2d(5, 6, (3, 1), stride=2),
        nn.ReLU(), nn.Flatten(), nn.Linear(6 * 3 * 4, 20), nn.ReLU(), nn.Linear(20, 10),
    )  # fmt: skip
    x = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x[x < 0.3] = 0
    theirs = neurobench(TorchModel(net), x, x)
    assert theirs[0]["Effective_ACs"] == 0 < theirs[1]
    agree(counted(net, x), theirs)


class Functional(nn.Module):
    """Products without modules."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10, 64))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        return torch.einsum("nk,ok->no", rows, self.weight) + (self.weight @ rows.t()).t()


def test_products_without_modules_are_counted() -> None:
    x = torch.rand(N, 1, 8, 8) + 0.5
    x[:, :, :2] = 0
    found = counted(Functional(), x)
    assert found["total"]["macs"]["value"] == 2 * 48 * 10
    assert found["total"]["dense"]["value"] == 2 * 64 * 10


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0] + 0.1
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def test_attention_is_counted() -> None:
    found = counted(Attending(), torch.rand(N, 1, 8, 8) + 0.1)
    projections, products = 4 * 8 * 8 * 8, 2 * 8 * 8 * 8
    assert found["total"]["dense"]["value"] == projections + products + 8 * 10
    assert found["not_counted"] == []


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x[:, 0])[0][:, -1])


def test_recurrent_layers_are_counted() -> None:
    found = counted(Recurrent(), torch.rand(N, 1, 8, 8) + 0.1)
    assert found["total"]["dense"]["value"] == 8 * 4 * 6 * (8 + 6) + 60
    assert found["not_counted"] == []


@pytest.mark.parametrize("size", [1.0, 0.37])
def test_spikes_of_any_size_are_accumulated(size: float) -> None:
    class Graded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(size * (x > 0.5).flatten(1).float())

    x = torch.rand(N, 1, 8, 8)
    total = counted(Graded(), x)["total"]
    assert total["macs"]["value"] == 0
    assert total["acs"]["value"] == pytest.approx(10 * float((x > 0.5).sum()) / N)


class Routed(nn.Module):
    """A FLEX layer whose outputs go into a convolution without an activation."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.steps = steps
        self.flex = PlasticFlexLayer(1, 4, FlexConfig(sigmoid="soft", plasticity=0.1))
        self.conv = nn.Conv2d(4, 2, 3, bias=False)
        self.head = nn.Linear(72, 10)

    def forward(self, x: Tensor) -> Tensor:
        frames = (x > torch.linspace(0.2, 0.8, self.steps)[:, None, None, None, None]).float()
        mixed = self.flex(frames)
        return (
            self.head(self.conv(mixed.flatten(0, 1)).flatten(1)).view(self.steps, len(x), 10).sum(0)
        )


def test_flex_pays_for_its_real_values_and_for_the_mask() -> None:
    found = operations(counted(Routed(3), torch.rand(N, 1, 8, 8)))
    assert found["flex.mask"] == (MASK * 3 * 4 * 64, 0, MASK * 3 * 4 * 64)
    macs, acs, _ = found["flex.conv"]
    assert macs == 0 < acs  # it gets spikes
    macs, acs, dense = found["conv"]
    assert acs == 0 < macs <= dense  # it gets mixtures


class Shared(nn.Module):
    """One image in every step: the convolution is called once."""

    def __init__(self, once: bool) -> None:
        super().__init__()
        self.once, self.conv, self.head = once, nn.Conv2d(1, 2, 3), nn.Linear(72, 10)

    def forward(self, x: Tensor) -> Tensor:
        steps = [self.conv(x)] * T if self.once else [self.conv(x) for _ in range(T)]
        return self.head(torch.stack(steps).mean(0).flatten(1))


def test_what_is_computed_is_counted() -> None:
    x = torch.rand(N, 1, 8, 8) + 0.1
    once, again = (operations(counted(Shared(how), x))["conv"] for how in (True, False))
    assert once[0] == 2 * 9 * 36
    assert again == tuple(T * value for value in once)


def test_no_activation_gets_the_memory_of_a_state_that_is_replaced() -> None:
    net = nn.Module()
    for size in range(1, 50):
        net.register_buffer("state", torch.rand(8 * size))
        known = memory_of(net)
        net.state = torch.rand(1)
        later = [torch.rand(8 * size) for _ in range(20)]
        assert not any(part.untyped_storage().data_ptr() in known for part in later)
