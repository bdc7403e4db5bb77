"""The trained digits networks, folded and by kernels, against their plain PyTorch code."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from robench.architectures import PlasticFlexLayer
from robench.architectures.vgg import ConvNorm
from robench.datasets import find_dataset
from robench.registry import select_models
from robench.spiking import PATHS, Surrogate, kernels, override
from tests.support.needs import needs_kernels
from tests.support.networks import CLOSE, flex_layers, for_every_network, images, network, snapshot

SPIKING = ("vgg16-stbp", "vgg16-hybrid", "flex-stbp", "flex-hybrid")
NAMES = ("vgg16-ann", "flex-ann", *SPIKING)
SURROGATES = tuple(map(Surrogate.parse, ("atan(2)", "triangle(0.5)", "exponential(1)")))


@pytest.fixture(scope="module")
def digits():
    data = find_dataset("digits").load("test")
    return data.tensor(), data.targets()


@pytest.fixture(scope="module")
def few(digits):
    """Some images with noise: on flat areas the last bit would decide which of equal values a
    pooling chooses, and with it the gradient of a ReLU network.
    """
    x, y = digits[0][:6].double(), digits[1][:6]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return (x + 0.05 * (noise - 0.5)).clamp(0.001, 0.999), y


def load(name):
    (entry,) = select_models([f"digits/{name}"])
    return entry.load()


def convolutions(module):
    return [x for x in module.modules() if isinstance(x, ConvNorm | PlasticFlexLayer)]


def logits_and_gradient(module, x, y):
    x = x.clone().requires_grad_()
    logits = module(x)
    loss = nn.functional.cross_entropy(logits, y, reduction="sum")
    return logits.detach(), torch.autograd.grad(loss, x)[0]


def plainly(function, *arguments):
    with kernels.reference():
        return function(*arguments)


@pytest.fixture
def used(monkeypatch):
    """The kernels that were called."""
    names, call = set(), kernels.call

    def recorded(name, *arguments):
        names.add(name)
        call(name, *arguments)

    monkeypatch.setattr(kernels, "call", recorded)
    return names


def estimators(name):
    """Surrogates, gradient paths and T: all pairs at the card's T, some at other T."""
    if name not in SPIKING:
        return [(None, None, 1)]
    paths = list(PATHS.values())
    own = [(surrogate, path, 4) for surrogate in SURROGATES for path in paths]
    other = [(SURROGATES[(k + t) % 3], paths[k], t) for k in range(4) for t in (1, 10)]
    return own + other


@needs_kernels
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_are_those_of_the_plain_network(name, few, used):
    module = load(name).module.double()
    x, y = few
    module.prepare(x)
    chosen = [layer.sparse for layer in convolutions(module)]
    gradients = []
    for surrogate, path, timesteps in estimators(name):
        module.timesteps = timesteps
        with override(module, surrogate=surrogate, path=path):
            expected, gradient = plainly(logits_and_gradient, module, x, y)
            tolerance = 1e-8 * max(1, float(gradient.abs().max()))
            for sparse in ("as prepared", "everywhere"):
                for layer, own in zip(convolutions(module), chosen, strict=True):
                    layer.sparse = own or sparse == "everywhere"
                logits, ours = logits_and_gradient(module, x, y)
                torch.testing.assert_close(logits, expected, atol=1e-8, rtol=0)
                torch.testing.assert_close(ours, gradient, atol=tolerance, rtol=0)
        gradients.append(gradient)
    assert sum(float(gradient.abs().max()) > 1e-5 for gradient in gradients) > len(gradients) / 2
    if name in SPIKING:
        assert not torch.equal(gradients[0], gradients[4])  # another surrogate
        assert not torch.equal(gradients[0], gradients[1])  # another path
    expected_kernels = {"sparse_conv", "flex_forward" if name.startswith("flex") else "sparse_conv"}
    assert used >= expected_kernels | ({"lif_backward"} if name in SPIKING else set())


@needs_kernels
@pytest.mark.parametrize("name", NAMES)
def test_float32_predicts_the_same_classes(name, digits):
    model = load(name)
    model.prepare(digits[0][:16])
    with torch.no_grad():
        ours = model.logits(digits[0]).argmax(1)
        expected = plainly(model.logits, digits[0]).argmax(1)
    assert len(ours) == 225
    assert (ours == expected).float().mean() >= 0.99


def assert_as_plain(model, x):
    with torch.no_grad():
        torch.testing.assert_close(model(x), plainly(model, x), **CLOSE)


def frozen(architecture, mode, **options):
    return network(architecture, mode, **options).requires_grad_(False)


def double_in_place(model):
    with torch.no_grad():
        for layer in convolutions(model):
            layer.conv.weight.mul_(2)


def move_statistics(model):
    for layer in convolutions(model):
        layer.norm.running_mean.add_(0.5)
        layer.norm.running_var.mul_(3)


def new_parameters(model):
    for layer in convolutions(model):
        layer.conv.weight = nn.Parameter(1.5 * layer.conv.weight, requires_grad=False)


def new_data(model):
    for layer in convolutions(model):
        layer.norm.weight.data = layer.norm.weight.data * 2
        layer.norm.bias.data = layer.norm.bias.data - 0.25


def change_flex(model):
    with torch.no_grad():
        for layer in flex_layers(model):
            layer.gain.mul_(2)
            layer.theta.sub_(0.5)
            layer.eta.add_(1)
            layer.pool_norm.running_var.mul_(2)


def load_another(model):
    model.load_state_dict(
        network(model.config.architecture, model.config.mode, seed=5).state_dict()
    )


def train_for_a_while(model):
    model.train()
    model.requires_grad_(True)
    optimiser = torch.optim.SGD(model.parameters(), 0.5)
    model(images()).square().sum().backward()
    optimiser.step()
    model.eval().requires_grad_(False)


CHANGES = (double_in_place, move_statistics, new_parameters, new_data, load_another)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("architecture", ["vgg16", "flex-vgg16"])
def test_folded_weights_follow_a_change(architecture, change):
    model, x = frozen(architecture, "ann"), images()
    before = model(x)
    change(model)
    assert not torch.allclose(model(x), before)
    assert_as_plain(model, x)


# A new weight often gets the address of a freed one.
def test_a_weight_at_the_address_of_the_last_one_is_folded_again():
    model, x = frozen("vgg16", "ann"), images()
    layer = convolutions(model)[0].conv
    first = layer.weight.clone()
    for factor in range(1, 20):
        values = factor * first
        del layer.weight
        layer.weight = nn.Parameter(values.clone(), requires_grad=False)
        assert_as_plain(model, x)


def test_a_flexible_layer_follows_its_own_parameters():
    model, x = frozen("flex-vgg16", "ann"), images()
    before = model(x)
    change_flex(model)
    assert not torch.allclose(model(x), before)
    assert_as_plain(model, x)


@for_every_network
def test_folded_weights_follow_a_training_between_two_attacks(architecture, mode):
    counterpart = mode == "hybrid"
    model, x = frozen(architecture, mode, counterpart=counterpart), images()
    before = model(x)
    train_for_a_while(model)
    assert not torch.equal(model(x), before)
    assert_as_plain(model, x)


@for_every_network
def test_copies_and_other_types_have_folded_weights_of_their_own(architecture, mode):
    model, x = frozen(architecture, mode), images()
    logits = model(x)
    copy = deepcopy(model)
    double_in_place(copy)
    assert_as_plain(copy, x)
    assert torch.equal(model(x), logits)
    assert model.float()(x.float()).dtype == torch.float32
    assert_as_plain(model.double(), x)


def test_a_parametrised_weight_is_folded_again():
    model, x = frozen("vgg16", "ann"), images()
    layer = convolutions(model)[1].conv
    nn.utils.parametrizations.weight_norm(layer)
    model.requires_grad_(False)
    before = model(x)
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(3)
    assert not torch.allclose(model(x), before)
    assert_as_plain(model, x)


@for_every_network
def test_in_training_a_batch_norm_keeps_the_statistics_of_its_batch(architecture, mode):
    model, x = frozen(architecture, mode).train(), images()
    plain = deepcopy(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plainly(plain, x), **CLOSE)
    torch.testing.assert_close(snapshot(model), snapshot(plain), **CLOSE)


@for_every_network
def test_trainable_parameters_get_their_gradients_in_evaluation(architecture, mode):
    counterpart = mode == "hybrid"
    model, x = network(architecture, mode, counterpart=counterpart), images()
    model(x).square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is not None and g.any() for g in gradients.values())
    frozen_part = deepcopy(model)
    frozen_part.zero_grad()
    convolutions(frozen_part)[0].requires_grad_(False)
    frozen_part(x).square().sum().backward()
    for name, p in frozen_part.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(p.grad, gradients[name], **CLOSE)


@pytest.mark.parametrize("name", ["vgg16-ann", "flex-stbp"])
def test_statistics_that_training_updates_are_folded_again(name, few):
    module, x = load(name).module.double(), few[0]
    before = module(x)
    module.train()
    module(x + 1)
    module.eval()
    assert not torch.equal(module(x), before)
    torch.testing.assert_close(module(x), plainly(module, x), atol=1e-8, rtol=0)


def test_norms_alone_in_training_mode_are_not_folded(few):
    module, x = load("vgg16-ann").module.double(), few[0]
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.train()
    torch.testing.assert_close(module(x), plainly(deepcopy(module), x), atol=1e-8, rtol=0)
