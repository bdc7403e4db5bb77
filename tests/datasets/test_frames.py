"""Inputs with a time axis: the data set of frames, and networks that take them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from robench.architectures import VGG, ModelConfig
from robench.architectures.vgg import ConvNorm
from robench.checks.rows import CARD_ACCURACY
from robench.datasets import DIGITS, DIGITS_FRAMES
from robench.datasets.digits_frames import FRAMES, spikes
from robench.engine.view import ModelView, QueryCounter
from robench.errors import EvaluationError
from robench.registry import Model, select_models
from robench.spiking import PATHS, Surrogate, kernels, override
from robench.training.recipe import Recipe
from tests.support.commands import Finished
from tests.support.needs import needs_kernels
from tests.support.networks import CLOSE, configuration, flex_layers, images, network

Cli = Callable[..., Finished]
NAME = "digits-frames/vgg16-stbp"


def framed(architecture: str, timesteps: int = 4) -> VGG:
    """The network of :mod:`tests.support.networks` for frames."""
    still = network(architecture, timesteps=timesteps)
    config = configuration(architecture, timesteps=timesteps)
    table = config.model_dump() | {"input_kind": "frames"}
    model = VGG(ModelConfig.model_validate(table), plan=(6, 0, 8, 0, 10, 0)).double().eval()
    model.load_state_dict(still.state_dict())
    return model.requires_grad_(False)


def logits_and_gradient(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    logits = module(x)
    loss = nn.functional.cross_entropy(logits, y, reduction="sum")
    return logits.detach(), torch.autograd.grad(loss, x)[0]


def test_frames_are_the_digits_as_spikes_and_reproducible() -> None:
    frames, still = DIGITS_FRAMES.load("test"), DIGITS.load("test")
    assert frames.images.shape == (len(still), *DIGITS_FRAMES.shape)
    assert DIGITS_FRAMES.frames == FRAMES
    assert DIGITS.frames is None
    assert np.array_equal(frames.labels, still.labels)
    assert set(np.unique(frames.tensor()).tolist()) == {0.0, 1.0}
    assert frames.sha256 == "14e585eb9a810890ad80be9e3467dbc92f25d9af570b4da044e1c0d83deff2b7"


def test_a_pixel_spikes_with_its_value_as_probability_and_per_sample_numbers() -> None:
    frames, still = DIGITS_FRAMES.load("test"), DIGITS.load("test")
    alone = spikes(still.images[7], "test", 7)
    assert np.array_equal(alone, frames.images[7])
    assert not np.array_equal(alone, spikes(still.images[7], "train", 7))
    assert not frames.images[:, :, still.images[0] == 0][0].any()
    steady = np.broadcast_to(still.images[:, None] == 255, frames.images.shape)
    assert frames.images[steady].all()
    for value in (32, 96, 160, 224):
        drawn = frames.images[np.broadcast_to(still.images[:, None] == value, frames.images.shape)]
        error = 5 * np.sqrt(0.25 / len(drawn))
        assert abs(drawn.mean() / 255 - value / 255) < error


def test_only_stbp_models_take_frames() -> None:
    assert configuration().model_dump()["input_kind"] == "images"
    table = configuration().model_dump() | {"input_kind": "frames"}
    assert ModelConfig.model_validate(table).model_dump()["input_kind"] == "frames"
    with pytest.raises(ValidationError, match="input_kind frames belongs to stbp models"):
        ModelConfig.model_validate(
            configuration(mode="hybrid").model_dump() | {"input_kind": "frames"}
        )


def test_frames_have_no_schedule_of_time_steps() -> None:
    recipe = {
        "model": configuration().model_dump() | {"input_kind": "frames"},
        "training": {"epochs": 1, "timesteps_schedule": [{"epochs": 1, "timesteps": 2}]},
        "about": {"description": "a net"},
    }
    with pytest.raises(ValidationError, match="belongs to models that take images"):
        Recipe.model_validate(recipe)


@pytest.mark.parametrize("architecture", ["vgg16", "flex-vgg16"])
def test_equal_frames_are_an_image(architecture: str) -> None:
    x = images(3)
    still = network(architecture).requires_grad_(False)(x)
    model = framed(architecture)
    torch.testing.assert_close(model(x[:, None].repeat(1, 4, 1, 1, 1)), still, **CLOSE)
    other = torch.stack([x, 1 - x, x.flip(-1), x], 1)
    assert not torch.allclose(model(other), model(other.flip(1)))  # frame t is the input of step t


@pytest.mark.parametrize("shape", [(2, 3, 3, 8, 8), (2, 3, 8, 8)])
def test_another_number_of_frames_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvaluationError, match=r"takes frames \(N, 4, C, H, W\), not"):
        framed("vgg16")(torch.rand(shape, dtype=torch.float64))


@pytest.fixture(scope="module")
def model() -> Model:
    (entry,) = select_models([NAME])
    return entry.load()


def test_card_accuracy_is_that_of_a_fresh_evaluation(model: Model) -> None:
    x, y = some(DIGITS_FRAMES.protocol.slice)
    with torch.no_grad():
        guess = torch.cat([model.logits(part) for part in x.split(75)]).argmax(1)
    assert model.clean_accuracy is not None
    assert abs(float((guess == y).double().mean()) - model.clean_accuracy) <= CARD_ACCURACY
    assert model.clean_accuracy >= 0.95


@pytest.mark.parametrize("path", ["cba", "rga"])
def test_a_gradient_without_spikes_reaches_every_frame(model: Model, path: str) -> None:
    x, y = some(2)
    view = ModelView(model, y, torch.arange(2), QueryCounter.empty(2))
    gradient = view.gradient(x, y, path=PATHS[path])
    assert gradient.shape == x.shape
    assert (gradient.abs().flatten(2).amax(2) > 0).all()


@needs_kernels
def test_folded_layers_and_kernels_agree_with_the_plain_network(model: Model) -> None:
    module = network_of(model).double()
    x, y = some(3)
    x = (x.double() * 0.9 + 0.05 * torch.rand(x.shape, dtype=torch.float64)).clamp(0, 1)
    module.prepare(x)
    layers = [layer for layer in module.modules() if isinstance(layer, ConvNorm)]
    chosen = [layer.sparse for layer in layers]
    assert any(chosen)
    for surrogate, path in (("atan(2)", "stbp"), ("triangle(0.5)", "hart"), ("atan(2)", "bptr")):
        with override(module, surrogate=Surrogate.parse(surrogate), path=PATHS[path]):
            with kernels.reference():
                expected, plain = logits_and_gradient(module, x, y)
            assert float(plain.abs().max()) > 0
            for everywhere in (False, True):
                for layer, own in zip(layers, chosen, strict=True):
                    layer.sparse = own or everywhere
                logits, gradient = logits_and_gradient(module, x, y)
                torch.testing.assert_close(logits, expected, atol=1e-8, rtol=0)
                torch.testing.assert_close(gradient, plain, atol=1e-8, rtol=0)


@needs_kernels
def test_a_flexible_network_of_frames_agrees_with_the_plain_one() -> None:
    module, y = framed("flex-vgg16"), torch.tensor([0, 1, 2])
    assert flex_layers(module)
    x = torch.rand(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with kernels.reference():
        expected, plain = logits_and_gradient(module, x, y)
    logits, gradient = logits_and_gradient(module, x, y)
    torch.testing.assert_close(logits, expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(gradient, plain, atol=1e-8, rtol=0)


def network_of(model: Model) -> VGG:
    assert isinstance(model.module, VGG)
    copy = VGG(model.module.config)
    copy.load_state_dict(model.module.state_dict())
    return copy.eval().requires_grad_(False)


def some(n: int) -> tuple[Tensor, Tensor]:
    part = DIGITS_FRAMES.load("test").first(n)
    return part.tensor(), part.targets()
