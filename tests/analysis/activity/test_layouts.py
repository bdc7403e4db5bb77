"""Activations and operations belong to their images, wherever the network has its time axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench import Model
from robench.analysis.activity.layout import Layout, layouts
from robench.analysis.activity.measure import Totals, count

N, T, F = 10, 3, 7


def images() -> Tensor:
    x = torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    x[0] = x[3] = 0
    return x


class Base(nn.Module):
    """Two products with spikes between them; a subclass says where time is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c = nn.Linear(16, F, bias=False), nn.Linear(F, 10)

    def steps(self, x: Tensor, axis: int) -> Tensor:
        return torch.stack([x.flatten(1) * (k + 1) / T for k in range(T)], axis)

    def spikes(self, h: Tensor) -> Tensor:
        return (self.a(h) > 0.1).float()


class TimeFirst(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.spikes(self.steps(x, 0))).mean(0)


class BatchFirst(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.spikes(self.steps(x, 1))).mean(1)


class TimeInBatch(Base):
    def forward(self, x: Tensor) -> Tensor:
        rows = self.steps(x, 0).flatten(0, 1)
        return self.c(self.spikes(rows)).view(T, len(x), 10).mean(0)


class BatchInTime(Base):
    def forward(self, x: Tensor) -> Tensor:
        rows = self.steps(x, 1).flatten(0, 1)
        return self.c(self.spikes(rows)).view(len(x), T, 10).mean(1)


class Einsum(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.einsum("tnf,of->tno", self.steps(x, 0), self.a.weight)
        return torch.einsum("tnf,of->tno", (h > 0.1).float(), self.c.weight).mean(0)


class OneByOne(Base):
    def forward(self, x: Tensor) -> Tensor:
        rows = [self.c(self.spikes(self.steps(one[None], 0)[:, 0])).mean(0) for one in x]
        return torch.stack(rows)


class Transposed(Base):
    def forward(self, x: Tensor) -> Tensor:
        steps = [(self.a.weight @ h.t() > 0.1).float() for h in self.steps(x, 0)]
        return sum((self.c.weight @ s).t() for s in steps) / T


def counted(net: nn.Module, x: Tensor, timesteps: int | None = None) -> Totals:
    model = Model(net.eval(), "digits/net", classes=10, version="1", timesteps=timesteps)
    model.survey(x)
    return count(model, x, np.arange(len(x)))


@pytest.mark.parametrize(
    "make",
    [TimeFirst, BatchFirst, TimeInBatch, BatchInTime, Einsum, OneByOne, Transposed],
)
@pytest.mark.parametrize("number", [T, N])
def test_each_image_has_its_own_counts(make: Callable[[], Base], number: int) -> None:
    net, x = make(), images()[:number]
    h = net.steps(x, 0)
    spikes = net.spikes(h)
    found = counted(net, x).by_image()
    assert found["macs"].tolist() == ((h != 0).sum((0, 2)) * F).tolist()
    assert found["spikes"].tolist() == spikes.sum((0, 2)).tolist()
    assert found["acs"].tolist() == (spikes.sum((0, 2)) * 10).tolist()
    assert set(found["dense"]) == {T * (16 * F + 10 * F)}


@pytest.mark.parametrize(
    ("make", "timesteps"),
    [(TimeFirst, None), (BatchFirst, T), (TimeInBatch, None), (BatchInTime, None)],
)
def test_neurons_and_steps_are_found(make: Callable[[], Base], timesteps: int | None) -> None:
    net, x = make(), images()
    (layer,) = counted(net, x, timesteps).summary()["activations"]
    fired = net.spikes(net.steps(x, 0)).any(0).any(0)
    assert (layer["neurons"], layer["steps"]) == (F, T)
    assert layer["silent"] == pytest.approx(1 - fired.double().mean().item())


class Helper(nn.Module):
    """Two layers of one size that spike through one function."""

    def __init__(self, spike: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 10)
        self.spike = spike

    def forward(self, x: Tensor, seen: list[Any] | None = None) -> Tensor:
        u = v = out = torch.zeros(())
        for _ in range(T):
            u = 0.9 * u + self.a(x.flatten(1))
            y = self.spike(u - 0.3)
            u = u - 0.3 * y.detach()
            v = 0.9 * v + self.b(y)
            z = self.spike(v - 0.3)
            v = v - 0.3 * z.detach()
            out = out + self.c(z)
            if seen is not None:
                seen.append((y, z))
        return out


class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        return (v > 0).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


@pytest.mark.parametrize("spike", [Step.apply, lambda v: (v > 0).float()])
def test_layers_of_one_size_that_share_a_function_are_distinguished(
    spike: Callable[[Tensor], Tensor],
) -> None:
    net, x = Helper(spike), torch.rand(N, 1, 4, 4)
    seen: list[tuple[Tensor, Tensor]] = []
    net(x, seen)
    layers = counted(net, x).summary()["activations"]
    assert [(layer["neurons"], layer["steps"]) for layer in layers] == [(8, T), (8, T)]
    for layer, steps in zip(layers, zip(*seen, strict=True), strict=True):
        fired = torch.stack(steps)
        assert layer["active"] == fired.sum().item() / N
        assert layer["silent"] == 1 - fired.any(0).any(0).double().mean().item()


def test_rows_that_depend_on_other_images_have_no_layout() -> None:
    x = torch.arange(6.0).view(3, 2)
    first, second, three = x[[0, 1]], x[[0, 2]], x
    assert layouts([first], [second], [three]) == [Layout(0)]
    mixed = [rows - rows.mean(0) for rows in (first, second, three)]
    assert layouts(*([rows] for rows in mixed)) is None
    assert layouts([first], [second], [three, three]) is None
    assert layouts([x], [x], [x]) == [Layout(None)]
