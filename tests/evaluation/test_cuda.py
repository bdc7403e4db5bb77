"""Networks, cells and trainings on a GPU against the same on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import robench.datasets
from robench import Cell, ResultStore, Settings, evaluate_cell, find_attack, select_models
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.registry import Model
from robench.results import Outcome
from robench.runtime.device import repeatable
from robench.spiking import PATHS, Surrogate, kernels, override
from robench.training import train
from tests.support.needs import needs_cuda
from tests.support.networks import for_every_network, images, network
from tests.support.recipes import adversarial, recipe

pytestmark = needs_cuda
GPU = torch.device("cuda", 0)
TIMED = "timesteps = 4\n"


def gradient(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of their weighted sum, on the CPU."""
    x = x.clone().requires_grad_()
    logits = module(x)
    weight = torch.linspace(-1, 1, logits.shape[1], dtype=x.dtype, device=x.device)
    (found,) = torch.autograd.grad((logits * weight).sum(), x)
    return logits.detach().cpu(), found.cpu()


def test_the_kernels_are_there() -> None:
    assert kernels.on_gpu() is not None
    assert kernels.usable(torch.zeros(1, device=GPU))
    assert not kernels.usable(torch.zeros(1, device=GPU), torch.zeros(1))
    with kernels.reference():
        assert not kernels.usable(torch.zeros(1, device=GPU))


@for_every_network
def test_a_network_and_its_gradients_are_those_of_plain_code_on_the_cpu(
    architecture: str, mode: str
) -> None:
    module = network(architecture, mode).requires_grad_(False)
    x = images(n=16)
    surrogates = [None] if mode == "ann" else [Surrogate("atan", 2.0), Surrogate("exponential", 1)]
    for surrogate in surrogates:
        for path in [None] if mode == "ann" else PATHS.values():
            if path is not None and path.counterpart:
                continue
            with override(module, surrogate=surrogate, path=path):
                with kernels.reference():
                    logits, expected = gradient(module.double().cpu(), x)
                with repeatable():
                    there = module.float().to(GPU)
                    found, ours = gradient(there, x.float().to(GPU))
                    again = gradient(there, x.float().to(GPU))
            torch.testing.assert_close(found.double(), logits, atol=1e-4, rtol=1e-4)
            error = (ours.double() - expected).norm() / expected.norm()
            assert error < 1e-3, (surrogate, path, float(error))
            assert torch.equal(found, again[0])
            assert torch.equal(ours, again[1])


def cell(model: Model, attack: str, device: str, folder: Path) -> Outcome:
    settings = Settings(parse_grid(["4/255", "16/255"]), device=device)
    test = DIGITS.load("test").first(100)
    found = evaluate_cell(
        Cell(model, find_attack(attack), DIGITS, test, settings), ResultStore(folder)
    )
    assert found.outcome is not None, found.error
    assert found.run.kernels
    return found.outcome


@pytest.mark.parametrize("attack", ["fgsm", "spgd", "sapgd", "square", "ddn"])
@pytest.mark.parametrize("name", ["vgg16-ann", "vgg16-stbp", "flex-hybrid", "flex-stbp"])
def test_a_cell_is_that_of_the_cpu(attack: str, name: str, tmp_path: Path) -> None:
    (entry,) = select_models([f"digits/{name}"])
    model = entry.load()
    curves = [
        [point.accuracy for point in cell(model, attack, device, tmp_path / device).curve]
        for device in ("cpu", "cuda:0")
    ]
    assert model.device.type == "cpu"  # moved back
    assert curves[0] == pytest.approx(curves[1], abs=0.05)  # rounding moves a few samples


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(DIGITS, load=lambda split: DIGITS.load(split).first(160))
    monkeypatch.setitem(robench.datasets._BUILT_IN, "digits", few)
    return


@pytest.mark.parametrize(
    ("mode", "model", "training"),
    [
        ("ann", "", 'autocast = "bfloat16"'),
        ("hybrid", TIMED + 'pool = "average"', "reestimate_norm = 2\ncalibration_steps = 3"),
        ("stbp", TIMED, 'loss = "tet"'),
        ("stbp", TIMED, adversarial((2, "8/255"))),
    ],
)
def test_a_training_can_be_interrupted_and_resumed(
    mode: str, model: str, training: str, few_digits: None, tmp_path: Path
) -> None:
    made = recipe(tmp_path, mode, model, training)
    whole = train(made, tmp_path / "digits" / "whole", device="cuda")
    assert torch.cuda.get_device_name(GPU) in whole.about.hardware

    def stop(epochs: float) -> None:
        if epochs > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made, tmp_path / "digits" / "parts", advance=stop, device="cuda")
    parts = train(made, tmp_path / "digits" / "parts", start="resume", device="cuda")
    assert parts.weights.sha256 == whole.weights.sha256
    on_cpu = train(made, tmp_path / "digits" / "cpu")
    assert parts.about.clean_accuracy == pytest.approx(on_cpu.about.clean_accuracy, abs=0.1)
