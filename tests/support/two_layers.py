"""A network of two layers, small enough to differentiate by hand, with its ANN counterpart."""

import math

import torch
from torch import nn

from robench.engine.query_counter import QueryCounter
from robench.engine.view import ModelView
from robench.registry import Model
from robench.spiking import LIF, Surrogate, direct

T = 3
ATAN = Surrogate("atan", 2.0)


class Two(nn.Module):
    """Two layers of neurons between matrices, with the mean activity as read-out."""

    def __init__(self, parameters, surrogate=ATAN, *, graded=False):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        for name, shape in (("first", (12, 8)), ("second", (8, 7)), ("head", (7, 4))):
            weight = torch.randn(shape, generator=generator, dtype=torch.float64)
            self.register_buffer(name, weight * 1.5 / math.sqrt(shape[0]) + 0.15)
        self.neurons = nn.ModuleList(LIF(parameters, surrogate, graded=graded) for _ in range(2))
        self.double()

    def forward(self, x):
        x = direct(x.flatten(1), T)
        hidden = self.neurons[0](x @ self.first)
        return self.neurons[1](hidden @ self.second).mean(0) @ self.head


class Counterpart(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        net = self.net
        return (x.flatten(1) @ net.first).relu().mm(net.second).relu() @ net.head


def model_of(net, mode="stbp", **more):
    return Model(net, "digits/two", 4, timesteps=T, mode=mode, **more)


X = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 3, 0])


def view_of(model):
    return ModelView(model, Y, torch.arange(len(X)), QueryCounter.empty(len(X)))
