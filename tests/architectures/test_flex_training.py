"""The flexible layer in training: by kernels and by plain code, and how its adaptation moves."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from robench.architectures.config import FlexConfig
from robench.architectures.flex import PlasticFlexLayer
from robench.spiking import direct
from robench.spiking.kernels import reference
from tests.support.needs import needs_kernels

CASES = {
    "one step": (3, 4, 1, False, 0.1),
    "several steps": (4, 4, 3, False, 0.1),
    "constant input, repeated channels": (3, 7, 4, True, 0.1),
    "no plasticity": (8, 16, 2, False, 0.0),
}


def layer_of(inputs: int, outputs: int, rate: float) -> PlasticFlexLayer:
    torch.manual_seed(0)
    layer = PlasticFlexLayer(inputs, outputs, FlexConfig(plasticity=rate)).double().train()
    with torch.no_grad():
        layer.theta.normal_()
        layer.gain.uniform_(0.5, 2)
        layer.eta.normal_(0, 0.3)
    return layer


def trained(layer: PlasticFlexLayer, x: Tensor, timesteps: int) -> dict[str, Tensor]:
    """What a pass in training gives, and what it leaves behind."""
    leaf = x.clone().requires_grad_()
    u = layer(direct(leaf[0], timesteps) if len(x) == 1 else leaf)
    (u * torch.linspace(-1, 1, u.numel(), dtype=u.dtype).view(u.shape)).sum().backward()
    found = {"u": u.detach(), "at the input": leaf.grad}
    found |= {name: p.grad for name, p in layer.named_parameters()}
    return found | {name: b.clone().double() for name, b in layer.named_buffers()}


@needs_kernels
@pytest.mark.parametrize("case", CASES)
def test_kernels_train_as_plain_code_does(case: str) -> None:
    inputs, outputs, timesteps, constant, rate = CASES[case]
    layer = layer_of(inputs, outputs, rate)
    plain = copy.deepcopy(layer)
    x = torch.randn(1 if constant else timesteps, 5, inputs, 8, 8, dtype=torch.float64)
    found = trained(layer, x, timesteps)
    with reference():
        expected = trained(plain, x, timesteps)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.allclose(found[name], values, rtol=1e-9, atol=1e-10), name


def test_the_first_step_of_training_uses_the_adaptation_before_its_update() -> None:
    layer = layer_of(4, 4, 0.5)
    plain = copy.deepcopy(layer)
    x = torch.rand(1, 5, 4, 8, 8, dtype=torch.float64)
    with reference():
        trained_u = layer(x).detach()
    assert not torch.equal(layer.eta, plain.eta)
    plain.eval().requires_grad_(False)  # with the statistics of the batch, as in training
    for norm, values in ((plain.norm, plain.conv(x[0])), (plain.pool_norm, plain._pool(x[0]))):
        norm.running_mean.copy_(values.mean((0, 2, 3)))
        norm.running_var.copy_(values.var((0, 2, 3), correction=0))
    with reference():
        assert torch.allclose(plain(x), trained_u)
