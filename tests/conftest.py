from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import Builder, fall

from robench.cli import main
from robench.datasets import files
from robench.engine.sweep import ChunkSweep
from robench.registry import Model, ModelCard
from robench.registry.cards import CARD, WEIGHTS, file_sha256

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


def refused(done: Finished, *texts: object) -> None:
    """Exit code 2 and one line on stderr with these texts."""
    assert done.code == 2
    assert len(done.err.splitlines()) == 1, done.err
    assert "Traceback" not in done.err + done.out
    for text in texts:
        assert str(text) in done.err


def interrupt_chunk(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let a run be interrupted as it begins its chunk of that number, counted from 0."""
    sweep, calls = ChunkSweep.run, iter(range(99))

    def interrupted(self: ChunkSweep, *arguments: Any) -> Any:
        if next(calls) == number:
            raise KeyboardInterrupt
        return sweep(self, *arguments)

    patch.setattr(ChunkSweep, "run", interrupted)


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Run ``robench`` with some arguments in this process."""

    def call(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["robench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Finished(int(stop.value.code or 0), captured.out, captured.err)

    return call


def sign(folder: Path) -> None:
    """Write the digest of a checkpoint's weights into its card."""
    card, weights = folder / CARD, folder / WEIGHTS
    before = ModelCard.read(card).weights.sha256
    card.write_text(card.read_text("utf-8").replace(before, file_sha256(weights)), "utf-8")


SMALL_MODELS = '''
import sys

import torch
from torch import nn

from robench import Model
from robench.datasets import DIGITS


def small():
    """Nearest class mean: no training, right on most digits, and broken in one step or more."""
    data = DIGITS.load("train")
    pixels = data.tensor()[:, 0, ::4, ::4].flatten(1)
    means = torch.stack([pixels[data.targets() == k].mean(0) for k in range(10)])
    linear = nn.Linear(64, 10)
    with torch.no_grad():
        linear.weight.copy_(means)
        linear.bias.copy_(-means.square().sum(1) / 2)
    net = nn.Sequential(First(), nn.Flatten(), linear)
    return Model(net, "digits/small", 10)


class First(nn.Module):
    def forward(self, x):
        return x[:, 0, ::4, ::4]


class Broken(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] * float("nan")


class Leaving(nn.Module):
    def forward(self, x):
        sys.exit(0)


def leaving():
    return Model(Leaving(), "digits/leaving", 10)


def nan():
    return Model(Broken(), "digits/nan", 10)


def number():
    return 7
'''


@pytest.fixture
def small_models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with the module ``smallmodels``, see ``SMALL_MODELS``."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "smallmodels.py").write_text(SMALL_MODELS, "utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "smallmodels", raising=False)


class LinearModel:
    """A binary linear model whose minimal L∞ distance is known in closed form."""

    def __init__(self, shape: tuple[int, int, int], samples: int, *, box: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        size = shape[0] * shape[1] * shape[2]
        linear = torch.nn.Linear(size, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(2, size, generator=generator))
            linear.bias.zero_()
            centre = (linear.weight[1] - linear.weight[0]).sum() / 2
            linear.bias.copy_(torch.stack([centre / 2, -centre / 2]))  # both classes occur
        self.model = Model(torch.nn.Sequential(torch.nn.Flatten(), linear), "digits/linear", 2)
        low, high = (0.0, 1.0) if box else (0.45, 0.55)
        self.x = torch.rand(samples, *shape, generator=generator) * (high - low) + low
        logits = self.model.logits(self.x)
        self.y = logits.argmax(1)
        weight = (linear.weight[1] - linear.weight[0]).detach().double()
        self.direction = torch.where(self.y == 0, 1.0, -1.0)[:, None].double() * weight
        self.margin = (logits[:, 0] - logits[:, 1]).abs().double()

    def robust(self, epsilon: float) -> int:
        """How many samples no perturbation of this size breaks, with the box in force."""
        flat = self.x.flatten(1).double()
        best = (flat + epsilon * self.direction.sign()).clamp(0, 1)
        gain = ((best - flat) * self.direction).sum(1)
        return int((gain <= self.margin).sum())

    def distance(self, row: int) -> float:
        """The smallest L∞ distance that breaks a sample, with the box in force, by bisection."""
        flat, way = self.x[row].flatten().double(), self.direction[row]
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            gain = (((flat + middle * way.sign()).clamp(0, 1) - flat) * way).sum()
            low, high = (middle, high) if gain <= self.margin[row] else (low, middle)
        return high


@pytest.fixture(params=[False, True], ids=["box idle", "box active"])
def linear(request: pytest.FixtureRequest) -> LinearModel:
    return LinearModel((3, 4, 4), 60, box=request.param)


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "results")


@pytest.fixture
def six(builder: Builder) -> Builder:
    """The six kinds of model and a control, each under three attacks and the baseline."""
    scales = {"fgsm": 1.0, "pgd": 0.75, "spgd": 0.65, "noise": 3.0}
    models = [
        ("vgg16-ann", "ann", 22), ("vgg16-hybrid", "hybrid", 38), ("vgg16-stbp", "stbp", 31),
        ("flex-ann", "ann", 27), ("flex-hybrid", "hybrid", 45), ("flex-stbp", "stbp", 50),
    ]  # fmt: skip
    for number, (name, mode, scale) in enumerate(models):
        for attack, factor in scales.items():
            without_gradient = mode == "hybrid" and attack in ("fgsm", "pgd")
            builder.add(
                f"digits/{name}",
                attack,
                fall(scale * (5 if without_gradient else factor), number),
                mode=mode,
                verdict="invalid" if without_gradient else "valid",
                reasons=("gradient-unavailable",) if without_gradient else (),
            )
    for attack in scales:
        builder.add(
            "digits/control-zero-gradient", attack, fall(900 if attack != "spgd" else 5),
            verdict="valid" if attack == "spgd" else "invalid",
            reasons=() if attack == "spgd" else ("gradient-zero",), control=True,
        )  # fmt: skip
    return builder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no other place where data lie."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(files, "user_cache_path", lambda name: cache)
    monkeypatch.setenv(files.VARIABLE, "")
    return cache
