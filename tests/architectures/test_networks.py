import pytest
import torch
from pydantic import ValidationError
from torch import nn

from robench.architectures import VGG, ModelConfig
from robench.spiking import spiking_layers
from tests.support.networks import (
    ARCHITECTURES,
    CLOSE,
    configuration,
    flex_layers,
    for_every_network,
    images,
    network,
    same,
    snapshot,
)


@for_every_network
def test_vgg16_has_thirteen_convolutions_and_one_linear_head(architecture, mode):
    model = VGG(configuration(architecture, mode, width=0.02)).eval()
    kinds = [type(layer) for layer in model.modules()]
    assert kinds.count(nn.Conv2d) == 13
    assert kinds.count(nn.Linear) == 1
    assert len(flex_layers(model)) == (13 if architecture == "flex-vgg16" else 0)
    assert len(spiking_layers(model)) == (0 if mode == "ann" else 13)
    assert model(images(2, size=32).float()).shape == (2, 3)


def test_vgg16_at_full_width_has_the_known_number_of_parameters():
    with torch.device("meta"):
        model = VGG(configuration("vgg16", "ann"))
    convolutions = 14_710_464  # VGG16's thirteen, 3 input channels, no biases
    norms, head = 2 * 4224, 3 * 512 + 3
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + head


# Rules out lazy parameters: a head made in the first forward pass, after the optimiser.
@for_every_network
@pytest.mark.parametrize("counterpart", [False, True])
def test_no_parameter_appears_in_a_forward_pass(architecture, mode, counterpart):
    model = network(architecture, mode, counterpart=counterpart)
    before = {name: (id(p), p.shape) for name, p in model.named_parameters()}
    names = list(model.state_dict())
    model(images())
    model.train()(images())
    assert {name: (id(p), p.shape) for name, p in model.named_parameters()} == before
    assert list(model.state_dict()) == names


# Rules out masks re-drawn in each forward pass and noise added in evaluation.
@for_every_network
def test_a_forward_pass_repeats_bit_for_bit(architecture, mode):
    model, x = network(architecture, mode), images()
    logits = model(x)
    torch.manual_seed(123)
    model(images(seed=7))
    assert torch.equal(model(x), logits)
    assert len(logits.unique(dim=0)) == len(x)


# Rules out masks, or scalings of the input, that depend on the rest of the batch.
@for_every_network
def test_logits_do_not_depend_on_the_batch(architecture, mode):
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


# Rules out weights that a strict load refuses or that a file lacks and masks that are
# not saved, so that the reloaded network is another one.
@for_every_network
def test_a_reloaded_network_is_the_same_network(architecture, mode):
    model, other = network(architecture, mode), network(architecture, mode, seed=1)
    x = images()
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(snapshot(model), strict=True)
    assert torch.equal(other(x), model(x))


# Rules out weights of another shape that are ignored silently.
def test_weights_of_another_shape_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        network().load_state_dict(network(plan=(6, 0, 8, 0, 12, 0)).state_dict())


# Rules out spikes that no analysis can reach: each layer's output is there to be hooked.
def test_each_spiking_layer_shows_its_spikes_to_a_hook():
    model, seen = network(), []
    for layer in spiking_layers(model):
        layer.register_forward_hook(lambda _, __, spikes: seen.append(spikes))
    model(images())
    assert [tuple(s.shape[:3]) for s in seen] == [(4, 5, 6), (4, 5, 8), (4, 5, 10)]
    assert all(set(s.unique().tolist()) == {0.0, 1.0} for s in seen)


# Rules out attacks outside the input domain: images in [0, 1], normalised inside the model.
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
def test_an_invalid_table_is_refused(change):
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
    model = VGG(ModelConfig.model_validate(table | {"width": 0.02})).eval()
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 3)


@for_every_network
def test_a_card_has_only_what_its_architecture_and_mode_use(architecture, mode):
    table = configuration(architecture, mode).model_dump()
    assert ("neuron" in table) == (mode == "stbp")
    assert ("levels" in table) == (mode == "hybrid")
    assert ("flex" in table) == (architecture == "flex-vgg16")
    assert ModelConfig.model_validate(table).model_dump() == table
