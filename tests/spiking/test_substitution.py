import pytest
import torch
from torch import nn

from robench.architectures import VGG, NeuronConfig
from robench.errors import UsageError
from robench.spiking import (
    LIF,
    PATHS,
    STBP,
    LIFParameters,
    PathModule,
    Surrogate,
    find_path,
    override,
    spiking_layers,
)
from tests.support.networks import configuration, images

ATAN = Surrogate("atan", 2.0)
WIDE = Surrogate("exponential", 0.5)
RESET = PATHS["stbp-reset"]


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.branches = nn.ModuleDict({"deep": nn.Sequential(nn.Identity(), inner)})

    def forward(self, x):
        return self.branches["deep"](x)


def network(mode="stbp", architecture="flex-vgg16"):
    torch.manual_seed(0)
    neuron = NeuronConfig(beta=0.9, threshold=0.5)
    config = configuration(architecture, mode).model_copy(update={"neuron": neuron})
    return Wrapped(VGG(config, plan=(6, 0, 8, 0, 8, 0)).double().eval())


def logits_and_gradient(model):
    x = images(3).requires_grad_()
    logits = model(x)
    (grad,) = torch.autograd.grad(logits.square().sum(), x)
    return logits.detach(), grad


def settings(model):
    return [
        (layer.gradient_path, layer.surrogate if isinstance(layer, LIF) else None)
        for layer in model.modules()
        if isinstance(layer, PathModule)
    ]


def test_it_reaches_every_layer_of_a_nested_model():
    model = network()
    assert len(spiking_layers(model)) == 3
    assert len(settings(model)) == 6
    with override(model, surrogate=WIDE, path=RESET):
        assert all(layer.surrogate == WIDE for layer in spiking_layers(model))
        assert all(path is RESET for path, _ in settings(model))


@pytest.mark.parametrize(
    ("change", "kept"),
    [({"surrogate": WIDE}, 0), ({"path": RESET}, 1), ({}, 0), ({}, 1)],
)
def test_other_settings_do_not_change(change, kept):
    model = network()
    before = [setting[kept] for setting in settings(model)]
    with override(model, **change):
        assert [setting[kept] for setting in settings(model)] == before


def test_it_restores_what_each_layer_had():
    model = network()
    first, *others = spiking_layers(model)
    first.surrogate, first.gradient_path = None, PATHS["stbp-detached"]
    before = settings(model)
    with override(model, surrogate=WIDE, path=RESET):
        assert settings(model) != before
    assert settings(model) == before
    assert first.surrogate is None
    assert all(layer.surrogate == ATAN and layer.gradient_path is STBP for layer in others)


def test_it_restores_after_an_exception():
    model = network()
    before = settings(model)
    with pytest.raises(RuntimeError, match="inside"), override(model, surrogate=WIDE, path=RESET):
        raise RuntimeError("inside")
    assert settings(model) == before


def test_it_nests():
    model = network()
    before = settings(model)
    with override(model, surrogate=WIDE):
        outer = settings(model)
        with override(model, surrogate=ATAN, path=RESET):
            assert all(layer.surrogate == ATAN for layer in spiking_layers(model))
        assert settings(model) == outer
    assert settings(model) == before


def test_it_does_not_change_other_models():
    model, other = network(), network()
    before = settings(other)
    with override(model, surrogate=WIDE, path=RESET):
        assert settings(other) == before
    assert PathModule.gradient_path is STBP


@pytest.mark.parametrize(
    "change",
    [{"surrogate": WIDE}, {"path": RESET}, {"path": PATHS["eta-detached"]}],
    ids=["surrogate", "through the reset", "without eta"],
)
def test_the_gradient_changes_and_the_logits_do_not(change):
    model = network()
    logits, grad = logits_and_gradient(model)
    with override(model, **change):
        changed_logits, changed_grad = logits_and_gradient(model)
    assert torch.equal(changed_logits, logits)
    assert not torch.allclose(changed_grad, grad)
    again_logits, again_grad = logits_and_gradient(model)
    assert torch.equal(again_logits, logits)
    assert torch.equal(again_grad, grad)


@pytest.mark.parametrize("name", PATHS)
def test_no_path_changes_the_logits(name):
    model = network()
    logits, _ = logits_and_gradient(model)
    with override(model, path=find_path(name)):
        assert torch.equal(logits_and_gradient(model)[0], logits)


def test_the_detached_path_is_that_of_a_neuron_trained_detached():
    model = network()
    _, grad = logits_and_gradient(model)
    with override(model, path=PATHS["stbp-detached"]):
        assert torch.equal(logits_and_gradient(model)[1], grad)


@pytest.mark.parametrize("surrogate", [ATAN, Surrogate("straight_through", 1.0)], ids=str)
def test_a_hybrid_network_gets_a_gradient_only_under_an_override(surrogate):
    model = network("hybrid", "vgg16")
    logits, grad = logits_and_gradient(model)
    assert not grad.any()
    with override(model, surrogate=surrogate):
        changed_logits, changed_grad = logits_and_gradient(model)
    assert torch.equal(changed_logits, logits)
    assert changed_grad.flatten(1).any(1).all()
    assert not logits_and_gradient(model)[1].any()


def test_a_single_neuron_counts_as_a_model():
    layer = LIF(LIFParameters(), None)
    with override(layer, surrogate=ATAN):
        assert layer.surrogate == ATAN
    assert layer.surrogate is None


def test_an_unknown_path_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean eta-detached"):
        find_path("eta-detach")
