"""Small networks of both architectures, with parameters that all have an effect."""

import pytest
import torch
from torch import nn

from robench.architectures import VGG, FlexConfig, ModelConfig, PlasticFlexLayer

PLAN = (6, 0, 8, 0, 10, 0)
CLOSE = {"atol": 1e-9, "rtol": 1e-9}
ARCHITECTURES = ("vgg16", "flex-vgg16")
MODES = ("ann", "hybrid", "stbp")
every_network = [
    pytest.mark.parametrize("mode", MODES),
    pytest.mark.parametrize("architecture", ARCHITECTURES),
]


def for_every_network(function):
    for mark in every_network:
        function = mark(function)
    return function


def configuration(architecture="flex-vgg16", mode="stbp", *, width=1.0, timesteps=4, **flex):
    return ModelConfig(
        architecture=architecture,
        mode=mode,
        dataset="test",
        classes=3,
        width=width,
        timesteps=None if mode == "ann" else timesteps,
        flex=FlexConfig(**({"plasticity": 0.3} | flex)),
    )


def randomise(module, seed=0):
    """Draw every parameter and statistic that starts at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like):
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.copy_(0.2 * draw(layer.running_mean))
                layer.running_var.copy_((0.3 * draw(layer.running_var)).exp())
                if layer.affine:
                    layer.weight.copy_((0.3 * draw(layer.weight)).exp())
                    layer.bias.copy_(0.3 + 0.2 * draw(layer.bias))
            if isinstance(layer, PlasticFlexLayer):
                layer.theta.copy_(0.3 * draw(layer.theta))
                layer.gain.copy_((0.3 * draw(layer.gain)).exp())
                layer.eta.copy_(0.5 * draw(layer.eta))
    return module


def network(
    architecture="flex-vgg16", mode="stbp", *, seed=0, plan=PLAN, counterpart=False, **flex
):
    torch.manual_seed(seed)
    model = VGG(configuration(architecture, mode, **flex), counterpart=counterpart, plan=plan)
    return randomise(model.double(), seed).eval()


def images(n=5, seed=1, size=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, size, size, generator=generator, dtype=torch.float64)


def flex_layers(model):
    return [layer for layer in model.modules() if isinstance(layer, PlasticFlexLayer)]


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
