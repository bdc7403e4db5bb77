from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from robench.architectures import VGG
from robench.cli import doctor
from robench.engine.view import ModelView, QueryCounter
from robench.errors import UsageError
from robench.registry import Model
from robench.runtime.device import find_device, placed
from robench.spiking import kernels
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished
from tests.support.needs import needs_device_in_python, needs_no_cuda
from tests.support.networks import configuration

Cli = Callable[..., Finished]


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize(
    ("gpus", "text", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_the_device_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, gpus: int, text: str, device: str
) -> None:
    machine(monkeypatch, gpus)
    assert find_device(text) == device


@pytest.mark.parametrize(
    ("gpus", "text", "says"),
    [
        (0, "cuda", "none here; use device cpu"),
        (0, "cuda:0", "none here"),
        (2, "cuda:2", "only 2 here; use a smaller number"),
        (2, "gpu", "auto, cpu, cuda"),
        (2, "cuda:-1", "auto, cpu, cuda"),
    ],
)
def test_a_device_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, gpus: int, text: str, says: str
) -> None:
    machine(monkeypatch, gpus)
    with pytest.raises(UsageError, match=says):
        find_device(text)


def test_cuda_without_a_gpu_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, 0)
    done = cli("run", "--models", "digits/vgg16-ann", "--device", "cuda", "--output", tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert "device cuda: torch" in line


@pytest.mark.usefixtures("small_models")
def test_device_and_batch_size_are_on_record(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--models", "smallmodels:small", "--attacks", "fgsm", "--limit", "10")
    command += ("--eps", "8/255", "--device", "cpu", "--output", tmp_path)
    found = []
    for options in ((), ("--batch-size", "7"), ("--batch-size", "auto")):
        assert cli(*command, *options, "--force").code == 0
        (path,) = tmp_path.rglob("*.json")
        found.append(json.loads(path.read_text("utf-8")))
    assert [cell["run"]["device"] for cell in found] == ["cpu"] * 3
    assert [cell["run"]["batch_size"] for cell in found] == [64, 7, 64]
    assert found[0]["outcome"] == found[1]["outcome"] == found[2]["outcome"]


class Elsewhere(nn.Module):
    """Lives on the device ``meta`` and answers with numbers, which meta tensors do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(1, device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        assert x.device.type == "meta"
        return torch.eye(3)[: len(x)]


class ElsewhereVGG(VGG):
    """A network of robench on the same device, which only says where its images are."""

    def __init__(self) -> None:
        super().__init__(configuration("vgg16", "ann"), plan=(4,))
        self.to("meta")

    def prepare(self, x: Tensor) -> None:
        self.prepared_on = x.device.type


def test_the_view_carries_images_to_the_device_and_results_back() -> None:
    model = Model(Elsewhere(), "digits/elsewhere", 3, sha256="0")
    assert model.device.type == "meta"
    x, y, rows = torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 0]), torch.arange(3)
    own = Model(ElsewhereVGG(), "digits/own", 3, sha256="0")
    own.prepare(x)
    assert own.module.prepared_on == "meta"
    view = ModelView(model, y, rows, QueryCounter.empty(3))
    assert torch.equal(view.logits(x), torch.eye(3))
    assert [wrong.tolist() for _, wrong in view.seen] == [[False, False, True]]
    assert view.seen[0][0].data_ptr() == x.data_ptr()  # on their own device


class Moved(nn.Linear):
    """Records the devices that it is moved to, and does not move."""

    places: ClassVar[list[str]] = []

    def to(self, device: torch.device | str) -> Moved:
        self.places.append(str(device))
        return self


def test_a_model_goes_to_the_device_for_a_cell_and_comes_back() -> None:
    model = Model(Moved(2, 2), "digits/moved", 2)
    precise = torch.backends.cudnn.allow_tf32

    def fail() -> None:
        with placed(model, "cuda:0"):
            assert model.module.places == ["cuda:0"]
            assert not torch.backends.cudnn.allow_tf32
            raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        fail()
    assert model.module.places == ["cuda:0", "cpu"]
    assert torch.backends.cudnn.allow_tf32 == precise
    with placed(model, "cpu"):
        assert len(model.module.places) == 2


def test_a_model_that_is_on_the_gpu_already_computes_in_float32_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Model, "device", torch.device("cuda:0"))
    cudnn, moves = torch.backends.cudnn, len(Moved.places)
    assert cudnn.allow_tf32
    with placed(Model(Moved(2, 2), "digits/moved", 2), "cuda:0"):
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
    assert cudnn.allow_tf32
    assert len(Moved.places) == moves


@needs_device_in_python
def test_whole_cells_on_a_device_that_refuses_tensors_of_the_cpu() -> None:
    script = ROOT / "tests/support/second_device.py"
    command = [sys.executable, str(script), "digits/vgg16-hybrid", "digits/flex-stbp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0::2] == lines[1::2]


@needs_no_cuda
def test_without_a_gpu_there_are_no_kernels_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.on_gpu() is None
    assert not kernels.available("cuda:0")
    assert not any("CUDA kernels" in finding.text for finding in doctor._devices())
    machine(monkeypatch, 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    found = [finding.text for finding in doctor._devices() if "CUDA kernels" in finding.text]
    assert found == ["CUDA kernels  none: Triton cannot build them; plain PyTorch is used"]
    monkeypatch.setattr(kernels, "on_gpu", lambda: kernels)
    assert any(finding.text == "CUDA kernels  compiled" for finding in doctor._devices())
