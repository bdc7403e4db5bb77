import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from robench.architectures import (
    VGG,
    ClipFloorShift,
    FlexConfig,
    ModelConfig,
    PlasticFlexLayer,
    build,
)
from robench.spiking import LIF, PATHS, LIFParameters, direct, override, spiking_layers

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
    """Set every parameter and statistic that starts at 0 or 1 to something telling."""
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


def network(architecture="flex-vgg16", mode="stbp", *, seed=0, plan=PLAN, twin=False, **flex):
    torch.manual_seed(seed)
    model = VGG(configuration(architecture, mode, **flex), twin=twin, plan=plan)
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


@for_every_network
def test_vgg16_has_thirteen_convolutions_and_one_linear_head(architecture, mode):
    model = build(configuration(architecture, mode, width=0.02)).eval()
    kinds = [type(layer) for layer in model.modules()]
    assert kinds.count(nn.Conv2d) == 13
    assert kinds.count(nn.Linear) == 1
    assert len(flex_layers(model)) == (13 if architecture == "flex-vgg16" else 0)
    assert len(spiking_layers(model)) == (0 if mode == "ann" else 13)
    assert model(images(2, size=32).float()).shape == (2, 3)


def test_vgg16_at_full_width_has_the_known_number_of_parameters():
    with torch.device("meta"):
        model = build(configuration("vgg16", "ann"))
    convolutions = 14_710_464  # VGG16's thirteen, 3 input channels, no biases
    norms, head = 2 * 4224, 3 * 512 + 3
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + head


def test_every_convolution_of_flex_is_inside_a_plastic_layer():
    model = network()
    inside = {id(layer.conv) for layer in flex_layers(model)}
    convolutions = {id(layer) for layer in model.modules() if isinstance(layer, nn.Conv2d)}
    assert convolutions == inside
    assert len(inside) == 3


# Rules out lazy parameters: a head made in the first forward pass, after the optimiser (B2).
@for_every_network
@pytest.mark.parametrize("twin", [False, True])
def test_no_parameter_appears_in_a_forward_pass(architecture, mode, twin):
    model = network(architecture, mode, twin=twin)
    before = {name: (id(p), p.shape) for name, p in model.named_parameters()}
    names = list(model.state_dict())
    model(images())
    model.train()(images())
    assert {name: (id(p), p.shape) for name, p in model.named_parameters()} == before
    assert list(model.state_dict()) == names


# Rules out the mask threshold that no optimiser sees (B3).
@pytest.mark.parametrize("mode", MODES)
def test_theta_gets_a_gradient_in_every_flex_layer(mode):
    model = network(mode=mode, twin=True) if mode == "hybrid" else network(mode=mode)
    model.train()
    F.cross_entropy(model(images()), torch.tensor([0, 1, 2, 0, 1])).backward()
    parameters = {id(p) for p in model.parameters()}
    for layer in flex_layers(model):
        assert id(layer.theta) in parameters
        assert layer.theta.grad.any()
        assert layer.gain.grad.any()


# Rules out thresholds of one input's shape in every layer (B4): θ has a number for each channel.
def test_theta_has_the_shape_of_its_own_layer():
    shapes = [tuple(layer.theta.shape) for layer in flex_layers(network())]
    assert shapes == [(1, 6, 1, 1), (1, 8, 1, 1), (1, 10, 1, 1)]


# Rules out masks re-drawn in each forward pass (B3) and noise added in evaluation (B6).
@for_every_network
def test_a_forward_pass_repeats_bit_for_bit(architecture, mode):
    model, x = network(architecture, mode), images()
    logits = model(x)
    torch.manual_seed(123)
    model(images(seed=7))
    assert torch.equal(model(x), logits)
    assert len(logits.unique(dim=0)) == len(x)


def test_redrawn_thresholds_do_not_repeat():
    model, x = network(threshold="redrawn"), images()
    assert not torch.equal(model(x), model(x))


# Rules out masks, or scalings of the input, that depend on the rest of the batch (B3, B5).
@for_every_network
def test_logits_do_not_depend_on_who_else_is_in_the_batch(architecture, mode):
    model, x = network(architecture, mode), images(6)
    logits = model(x)
    alone = torch.cat([model(one) for one in x.split(1)])
    torch.testing.assert_close(alone, logits, **CLOSE)
    order = torch.tensor([3, 0, 5, 2, 4, 1])
    torch.testing.assert_close(model(x[order]), logits[order], **CLOSE)
    torch.testing.assert_close(model(torch.cat([x, 5 * images(3, 9)]))[:6], logits, **CLOSE)


@for_every_network
def test_evaluation_changes_no_buffer(architecture, mode):
    model = network(architecture, mode)
    before = snapshot(model)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    x = images().requires_grad_()
    model(x).sum().backward()
    model.sequence_logits(x)
    assert same(snapshot(model), before)
    assert same(dict(model.named_buffers()), buffers)


# Rules out weights that a strict load refuses or that a file lacks (B1, B2) and masks that are
# not saved, so that the reloaded network is another one (B9).
@for_every_network
def test_a_reloaded_network_is_the_same_network(architecture, mode):
    model, other = network(architecture, mode), network(architecture, mode, seed=1)
    x = images()
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(snapshot(model), strict=True)
    assert torch.equal(other(x), model(x))


# Rules out weights of another shape that are passed over in silence (B1, B7).
def test_weights_of_another_shape_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        network().load_state_dict(network(plan=(6, 0, 8, 0, 12, 0)).state_dict())


# Rules out spikes that no analysis can reach (B8): each layer's output is there to be hooked.
def test_each_spiking_layer_shows_its_spikes_to_a_hook():
    model, seen = network(), []
    for layer in spiking_layers(model):
        layer.register_forward_hook(lambda _, __, spikes: seen.append(spikes))
    model(images())
    assert [tuple(s.shape[:3]) for s in seen] == [(4, 5, 6), (4, 5, 8), (4, 5, 10)]
    assert all(set(s.unique().tolist()) == {0.0, 1.0} for s in seen)


# Rules out attacks outside the input domain (B5): images in [0, 1], normalised inside the model.
@for_every_network
def test_normalisation_is_inside_the_network(architecture, mode):
    model, x = network(architecture, mode), images()
    logits = model(x)
    model.mean.zero_()
    model.std.fill_(1)
    torch.testing.assert_close(model((x - 0.5) / 0.25), logits, **CLOSE)


@for_every_network
def test_forward_is_the_mean_of_the_logits_over_time(architecture, mode):
    model, x = network(architecture, mode), images()
    sequence = model.sequence_logits(x)
    assert sequence.shape == (1 if mode == "ann" else 4, 5, 3)
    torch.testing.assert_close(sequence.mean(0), model(x), **CLOSE)


@pytest.mark.parametrize("mode", ["hybrid", "stbp"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_time_can_be_changed_and_more_of_it_keeps_the_past(architecture, mode):
    model, x = network(architecture, mode), images()
    logits, start = model(x), model.sequence_logits(x)
    for timesteps in (1, 2, 9):
        model.timesteps = timesteps
        sequence = model.sequence_logits(x)
        assert sequence.shape == (timesteps, 5, 3)
        shared = min(timesteps, len(start))
        torch.testing.assert_close(sequence[:shared], start[:shared], **CLOSE)
    model.timesteps = 4
    assert torch.equal(model(x), logits)


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
        model = network(mode=mode, plasticity=plasticity, twin=mode == "hybrid").train()
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


@pytest.mark.parametrize("levels", [1, 4, 8])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 4.0])
def test_an_if_neuron_fires_the_quantised_relu(threshold, levels):
    x = torch.linspace(-1.5, 2.5, 1003, dtype=torch.float64) * threshold
    quantised = ClipFloorShift(levels, threshold).double()
    neuron = LIF(LIFParameters(beta=1.0, threshold=threshold, initial=0.5), None, graded=True)
    fired = neuron(direct(x, levels)).mean(0)
    torch.testing.assert_close(fired, quantised(x).detach(), **CLOSE)
    assert len(quantised(x).unique()) == levels + 1


def test_the_quantised_relu_is_its_formula_with_a_straight_through_floor():
    quantised = ClipFloorShift(4, 2.0).double()
    x = torch.tensor([-1.0, 0.2, 0.3, 1.1, 1.9, 5.0], dtype=torch.float64, requires_grad=True)
    y = quantised(x)
    assert y.tolist() == [0.0, 0.0, 0.5, 1.0, 2.0, 2.0]
    grad, threshold_grad = torch.autograd.grad(y.sum(), [x, quantised.threshold])
    assert grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    assert threshold_grad.isfinite()


def test_a_hybrid_layer_of_a_network_is_that_of_its_twin():
    config = configuration("vgg16", "hybrid", timesteps=8)
    deployed = VGG(config, plan=(6, 8)).double().eval()
    twin = VGG(config, plan=(6, 8), twin=True).double().eval()
    twin.load_state_dict(deployed.state_dict())
    x = images()
    normalised = direct((x - twin.mean) / twin.std, 8)
    first, first_twin = deployed.features[:2], twin.features[:2]
    torch.testing.assert_close(first(normalised).mean(0), first_twin(normalised[:1])[0], **CLOSE)


@for_every_network
def test_the_twin_takes_the_same_weights_and_no_time(architecture, mode):
    config = configuration(architecture, mode)
    twin = VGG(config, plan=PLAN, twin=True)
    assert twin.timesteps == 1
    assert not spiking_layers(twin)
    if mode != "stbp":  # an STBP neuron's threshold is saved, and a ReLU has none
        VGG(config, plan=PLAN).load_state_dict(twin.state_dict(), strict=True)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "ann"},
        {"timesteps": None},
        {"timesteps": 0},
        {"mean": [0.5]},
        {"std": [0.0, 1.0, 1.0]},
        {"width": 0.0},
        {"classes": 1},
        {"architecture": "vgg11"},
        {"flex": {"sigmoid": "sharp"}},
        {"flex": {"plasticity": -0.1}},
        {"neuron": {"beta": 1.5}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_table_that_makes_no_network_is_refused(change):
    table = configuration().model_dump() | change
    with pytest.raises(ValidationError):
        ModelConfig.model_validate(table)


def test_a_table_reads_back_as_written():
    config = configuration()
    assert ModelConfig.model_validate(config.model_dump()) == config


@for_every_network
def test_smaller_images_lie_in_the_middle_of_black(architecture, mode):
    model = network(architecture, mode)
    small = images(size=6)
    framed = torch.zeros(len(small), 3, 8, 8, dtype=small.dtype)
    framed[:, :, 1:7, 1:7] = small
    torch.testing.assert_close(model(small), model(framed), rtol=0, atol=0)
    odd = model.normalise(small[:, :, :5, :3])
    assert odd.shape == framed.shape
    black = -model.mean / model.std
    torch.testing.assert_close(odd[:, :, 1:6, 2:5], (small[:, :, :5, :3] - 0.5) / 0.25)
    assert (odd[:, :, 0] == black[:, 0]).all()


def test_images_of_one_channel():
    table = configuration("vgg16", "ann").model_dump() | {"mean": [0.1], "std": [0.3]}
    model = build(ModelConfig.model_validate(table | {"width": 0.02})).eval()
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 3)
