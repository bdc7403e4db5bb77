import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robench.architectures import FlexConfig, PlasticFlexLayer
from robench.spiking import PATHS, direct, override
from tests.support.networks import CLOSE, MODES, flex_layers, images, network, randomise


def test_every_convolution_of_flex_is_inside_a_plastic_layer():
    model = network()
    inside = {id(layer.conv) for layer in flex_layers(model)}
    convolutions = {id(layer) for layer in model.modules() if isinstance(layer, nn.Conv2d)}
    assert convolutions == inside
    assert len(inside) == 3


# The mask thresholds must be parameters of the optimiser.
@pytest.mark.parametrize("mode", MODES)
def test_theta_gets_a_gradient_in_every_flex_layer(mode):
    model = network(mode=mode, counterpart=True) if mode == "hybrid" else network(mode=mode)
    model.train()
    F.cross_entropy(model(images()), torch.tensor([0, 1, 2, 0, 1])).backward()
    parameters = {id(p) for p in model.parameters()}
    for layer in flex_layers(model):
        assert id(layer.theta) in parameters
        assert layer.theta.grad.any()
        assert layer.gain.grad.any()


# θ has one number for each channel, whatever the shape of the input.
def test_theta_has_the_shape_of_its_own_layer():
    shapes = [tuple(layer.theta.shape) for layer in flex_layers(network())]
    assert shapes == [(1, 6, 1, 1), (1, 8, 1, 1), (1, 10, 1, 1)]


def test_redrawn_thresholds_do_not_repeat():
    model, x = network(threshold="redrawn"), images()
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize(("sigmoid", "share"), [("half", 0.5), ("zero", 0.0)])
def test_a_constant_mask_routes_nothing(sigmoid, share):
    for layer in flex_layers(network(sigmoid=sigmoid)):
        x = torch.rand(1, 2, layer.conv.in_channels, 6, 6, dtype=torch.float64)
        selective, invariant = layer.norm(layer.conv(x[0])), layer._pool(x[0])
        assert torch.allclose(layer(x)[0], share * selective + (1 - share) * invariant, **CLOSE)


def test_a_frozen_mask_is_not_trained():
    model = network(threshold="frozen").train()
    before = [(layer.theta.clone(), layer.gain.clone()) for layer in flex_layers(model)]
    F.cross_entropy(model(images()), torch.tensor([0, 1, 2, 0, 1])).backward()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    optimiser.step()
    for layer, (theta, gain) in zip(flex_layers(model), before, strict=True):
        assert layer.conv.weight.grad.any()
        assert torch.equal(layer.theta, theta)
        assert torch.equal(layer.gain, gain)


def hard(z):
    return min(max(z / 6 + 0.5, 0.0), 1.0)


def soft(z):
    return 1 / (1 + 2.718281828459045**-z)


def layer_by_the_formula(layer, x):
    """u and η(T+1) of the formula, one sample, step and channel at a time, as in evaluation."""
    steps, samples, in_channels = x.shape[:3]
    sigma = hard if layer.config.sigmoid == "hard" else soft
    out = torch.zeros(steps, samples, layer.theta.shape[1], *x.shape[3:], dtype=x.dtype)
    last = torch.zeros(samples, layer.theta.shape[1], dtype=x.dtype)
    for n in range(samples):
        for c in range(layer.theta.shape[1]):
            eta = float(layer.eta[c])
            for t in range(steps):
                padded = F.pad(x[t, n], (1, 1, 1, 1))
                blocked = F.pad(x[t, n], (1, 1, 1, 1), value=-torch.inf)
                r_sel = r_inv = 0.0
                for i in range(x.shape[3]):
                    for j in range(x.shape[4]):
                        window = padded[:, i : i + 3, j : j + 3]
                        selective = float((window * layer.conv.weight[c]).sum())
                        norm, pool_norm = layer.norm, layer.pool_norm
                        selective -= float(norm.running_mean[c])
                        selective /= float(norm.running_var[c] + norm.eps) ** 0.5
                        selective = selective * float(norm.weight[c]) + float(norm.bias[c])
                        invariant = float(blocked[c % in_channels, i : i + 3, j : j + 3].max())
                        z = invariant - float(pool_norm.running_mean[c])
                        z /= float(pool_norm.running_var[c] + pool_norm.eps) ** 0.5
                        z = float(layer.gain[0, c]) * (z - float(layer.theta[0, c]))
                        m = sigma(z + eta)
                        out[t, n, c, i, j] = m * selective + (1 - m) * invariant
                        r_sel += abs(selective)
                        r_inv += abs(invariant)
                area = x.shape[3] * x.shape[4]
                eta += layer.config.plasticity * (r_sel - r_inv) / area
                eta = min(max(eta, -3.0), 3.0)
            last[n, c] = eta
    return out, last


def flex_layer(in_channels, out_channels, **config):
    torch.manual_seed(3)
    layer = PlasticFlexLayer(in_channels, out_channels, FlexConfig(**config))
    return randomise(layer.double(), 3).eval()


def sequence(timesteps, samples, channels, size, *, constant=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(timesteps, samples, channels, size, size, generator=generator).double()
    return direct(x[0], timesteps) if constant else x


@pytest.mark.parametrize("constant", [False, True], ids=["varying", "constant"])
@pytest.mark.parametrize("plasticity", [0.0, 0.4, 50.0])
@pytest.mark.parametrize("sigmoid", ["hard", "soft"])
@pytest.mark.parametrize("channels", [(2, 5), (3, 3), (4, 2)], ids=str)
@torch.no_grad()
def test_flex_layer_is_its_formula(channels, sigmoid, plasticity, constant):
    layer = flex_layer(*channels, sigmoid=sigmoid, plasticity=plasticity)
    x = sequence(3, 2, channels[0], 3, constant=constant)
    expected, _ = layer_by_the_formula(layer, x)
    torch.testing.assert_close(layer(x), expected, **CLOSE)


def test_a_constant_input_gives_the_gradient_of_its_copy():
    layer = flex_layer(2, 5, plasticity=0.4)
    x = sequence(3, 2, 2, 4)[0].requires_grad_()
    grads = []
    for repeated in (direct(x, 3), direct(x, 3).clone()):
        grads.append(torch.autograd.grad(layer(repeated).square().sum(), [x, layer.theta]))
    for once, each in zip(*grads, strict=True):
        torch.testing.assert_close(once, each, **CLOSE)


@pytest.mark.parametrize("constant", [False, True], ids=["varying", "constant"])
def test_detaching_eta_changes_the_gradient_and_not_the_output(constant):
    layer = flex_layer(2, 5, plasticity=0.4)
    results = {}
    for name in ("stbp", "eta-detached"):
        x = sequence(3, 2, 2, 4, constant=constant).requires_grad_()
        with override(layer, path=PATHS[name]):
            u = layer(x)
        results[name] = (u.detach(), *torch.autograd.grad(u.square().sum(), [x, layer.theta]))
    (u, grad, theta), (detached_u, detached_grad, detached_theta) = results.values()
    assert torch.equal(detached_u, u)
    assert not torch.allclose(detached_grad, grad)
    torch.testing.assert_close(detached_theta, theta, **CLOSE)  # η does not depend on θ


def test_without_plasticity_nothing_flows_through_eta():
    model, grads = network(plasticity=0.0), []
    for name in ("stbp", "eta-detached"):
        x = images().requires_grad_()
        with override(model, path=PATHS[name]):
            grads.append(torch.autograd.grad(model(x).square().sum(), x)[0])
    assert torch.equal(*grads)


def displacement(layer, x):
    """Mean over the batch of η(T+1) − η(1), by the formula, with batch statistics."""
    with torch.no_grad():
        flat = x.flatten(0, 1)
        selective = F.batch_norm(
            layer.conv(flat), None, None, layer.norm.weight, layer.norm.bias, training=True
        )
        invariant = F.max_pool2d(flat, 3, 1, 1)[:, layer.source]
        drift = selective.abs().mean((2, 3)) - invariant.abs().mean((2, 3))
        eta = layer.eta.expand(x.shape[1], -1)
        for step in drift.unflatten(0, x.shape[:2]):
            eta = (eta + layer.config.plasticity * step).clamp(-3, 3)
        return (eta - layer.eta).mean(0)


@pytest.mark.parametrize(("timesteps", "plasticity"), [(1, 0.3), (4, 0.05), (4, 100.0)])
def test_training_moves_eta_to_its_fixed_point_inside_the_clip(timesteps, plasticity):
    layer = flex_layer(2, 5, plasticity=plasticity, kappa=0.5).train()
    x = sequence(timesteps, 4, 2, 5)
    start = layer.eta.clone()
    for _ in range(25):
        layer(x)
        assert layer.eta.abs().max() <= 3
    assert not torch.allclose(layer.eta, start)
    assert layer.eta.any()
    torch.testing.assert_close(layer.eta, displacement(layer, x), atol=1e-6, rtol=0)


def test_one_step_of_training_moves_eta_by_kappa():
    layer = flex_layer(2, 5, plasticity=0.3, kappa=0.2).train()
    x, start = sequence(3, 4, 2, 5), layer.eta.clone()
    expected = 0.8 * start + 0.2 * displacement(layer, x)
    layer(x)
    torch.testing.assert_close(layer.eta, expected, **CLOSE)
    assert not layer.eta.requires_grad


@pytest.mark.parametrize("mode", MODES)
def test_training_a_network_moves_eta_in_every_layer_and_without_plasticity_in_none(mode):
    for plasticity in (0.3, 0.0):
        model = network(mode=mode, plasticity=plasticity, counterpart=mode == "hybrid").train()
        before = [layer.eta.clone() for layer in flex_layers(model)]
        model(images())
        moved = [
            not torch.equal(layer.eta, eta)
            for layer, eta in zip(flex_layers(model), before, strict=True)
        ]
        assert moved == [plasticity > 0] * 3


def test_a_large_mask_means_the_convolution():
    layer, x = flex_layer(2, 5), sequence(3, 2, 2, 4)
    flat = x.flatten(0, 1)
    layer.gain.data.zero_()
    layer.eta.fill_(3)
    torch.testing.assert_close(layer(x).flatten(0, 1), layer.norm(layer.conv(flat)), **CLOSE)
    layer.eta.fill_(-3)
    pooled = F.max_pool2d(flat, 3, 1, 1)[:, [0, 1, 0, 1, 0]]
    torch.testing.assert_close(layer(x).flatten(0, 1), pooled, **CLOSE)
