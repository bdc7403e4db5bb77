"""``robench analyze landscape``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robench.analysis.landscape import Landscape
from robench.results import AnalysisStore
from tests.support.commands import Cli, Finished, refused

NETS = """
import torch
from torch import nn
import snntorch

from robench.datasets import DIGITS


class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(192, 100), nn.Linear(100, 10)
        self.leaky = snntorch.Leaky(beta=0.7)

    def spikes(self, x):
        current, v, out = self.first(nn.functional.avg_pool2d(x, 4).flatten(1)) * 4, 0, 0
        for _ in range(4):
            s, v = self.leaky(current, torch.zeros_like(current) if isinstance(v, int) else v)
            out = out + s
        return out

    def forward(self, x):
        return self.second(self.spikes(x))


def timed():
    net, data = Timed(), DIGITS.load("train")
    with torch.no_grad():
        features, wanted = net.spikes(data.tensor()), nn.functional.one_hot(data.targets())
        fitted = torch.linalg.lstsq(features, 5.0 * wanted, driver="gelsd").solution
        net.second.weight.copy_(fitted.T)
        net.second.bias.zero_()
    return net


def uncallable():
    net = Timed()
    net.forward = None
    return net


def bare():
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.ZeroPad1d((0, -38)))
"""
FEW = ("--limit", "8", "--points", "3", "--pairs", "1", "--input-points", "3", "--device", "cpu")


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_nets_of_landscape.py").write_text(NETS, "utf-8")
    monkeypatch.delitem(sys.modules, "own_nets_of_landscape", raising=False)
    monkeypatch.chdir(tmp_path)
    return "own_nets_of_landscape.py"


@pytest.fixture
def run(cli: Cli, tmp_path: Path, nets: str) -> Cli:
    def call(*arguments: object) -> Finished:
        places = ("--results", tmp_path / "r", "--output", tmp_path / "f")
        return cli("analyze", "landscape", *FEW, *places, "--examples", tmp_path / "e", *arguments)

    return call


FIGURES = ("digits-landscape", "digits-sharpness", "digits-input-landscape")


def test_it_stores_prints_and_draws_checkpoints_beside_a_users_network(
    run: Cli, nets: str, tmp_path: Path
) -> None:
    models = ("--models", f"digits/vgg16-ann,{nets}:timed", "--dataset", "digits")
    attack = ("--attack", "fgsm", "--eps", "64/255", "--limit", "24")
    done = run(*models, *attack)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    for model in ("digits/vgg16-ann", "digits/timed"):
        weights, inputs = [line for line in lines if line.startswith(model) and "loss" in line]
        assert "S(0.1) " in weights
        assert "S(0.25) " in weights
        assert "S(0.5) " in weights
        assert "+own gradient " in inputs
        assert "+attack " in inputs
        assert "zero gradient 0.0%" in inputs
    for name in FIGURES:
        with Image.open(tmp_path / "f" / f"{name}.png") as picture:
            assert np.ptp(np.asarray(picture.convert("L"))) > 100
    store = AnalysisStore(tmp_path / "r")
    assert [len(store.analyses(kind)[0]) for kind in ("landscape", "input-landscape")] == [2, 2]  # type: ignore[arg-type]
    for found in store.analyses("input-landscape")[0]:
        settings = found.identity.settings
        assert (settings["attack"], settings["epsilon"]) == ("fgsm", "64/255")

    pictures = {name: (tmp_path / "f" / f"{name}.png").read_bytes() for name in FIGURES}
    again = run(*models, *attack)
    assert again.code == 0, again.err
    assert again.out.count("  kept") == 6
    assert {name: (tmp_path / "f" / f"{name}.png").read_bytes() for name in FIGURES} == pictures

    for path in sorted((tmp_path / "e").rglob("*"), reverse=True):  # the examples are not needed
        path.rmdir() if path.is_dir() else path.unlink()
    for form in ("svg", "pdf"):
        drawn = run(*models, *attack, "--no-run", "--format", form)
        assert drawn.code == 0, drawn.err
        assert all((tmp_path / "f" / f"{name}.{form}").stat().st_size for name in FIGURES)
    assert not list((tmp_path / "e").rglob("*.json"))


def test_no_run_without_anything_stored_says_so(run: Cli, tmp_path: Path) -> None:
    done = run("--models", "digits/vgg16-ann", "--no-run")
    assert done.code == 2
    assert "leave out --no-run" in done.err
    assert not (tmp_path / "r").exists()
    assert not (tmp_path / "f").exists()


def test_other_settings_are_another_analysis(run: Cli, tmp_path: Path) -> None:
    for seed in (0, 1):
        done = run("--models", "digits/vgg16-ann", "--no-input", "--seed", seed)
        assert done.code == 0, done.err
        assert "  kept  " not in done.out
    assert len(AnalysisStore(tmp_path / "r").analyses("landscape")[0]) == 2
    assert not (tmp_path / "e").exists()
    assert not (tmp_path / "f" / "digits-input-landscape.png").exists()


def test_a_model_that_fails_is_reported_and_the_others_are_kept(
    run: Cli, nets: str, tmp_path: Path
) -> None:
    models = f"{nets}:uncallable,{nets}:bare,digits/vgg16-ann"
    done = run("--models", models, "--dataset", "digits", "--no-input")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "no weights to move" in done.err
    (found,) = AnalysisStore(tmp_path / "r").analyses("landscape")[0]
    assert found.identity.model == "digits/vgg16-ann"
    assert (tmp_path / "f" / "digits-landscape.png").is_file()


def test_a_killed_run_keeps_the_models_that_are_finished(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, seen = Landscape.measure, []

    def killed(self: Landscape, cell: object) -> object:
        seen.append(cell)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return measure(self, cell)  # type: ignore[arg-type]

    monkeypatch.setattr(Landscape, "measure", killed)
    done = run("--models", "digits/vgg16-ann,digits/flex-ann", "--no-input")
    assert done.code == 130
    assert "finished models are kept" in done.err
    assert len(AnalysisStore(tmp_path / "r").analyses("landscape")[0]) == 1
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("--points", "4"), "odd number"),
        (("--input-points", "2"), "odd number from 3"),
        (("--pairs", "0"), "at least 1"),
        (("--seed", "-1"), "from 0"),
        (("--eps", "0"), "one ε above 0"),
        (("--eps", "1/255,2/255"), "one ε above 0"),
        (("--attack", "pgd-l2"), "measured in l2"),
        (("--attack", "pgdd"), "unknown attack"),
        (("--limit", "100000"), "test images"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_anything_is_computed(
    run: Cli, tmp_path: Path, given: tuple[str, str], text: str
) -> None:
    refused(run("--models", "digits/vgg16-ann", *given), text)
    assert not list(tmp_path.rglob("*.json"))


def test_each_data_set_has_its_headline_epsilon(run: Cli, tmp_path: Path) -> None:
    done = run("--models", "digits/vgg16-ann,digits-frames/vgg16-stbp", "--attack", "fgsm",
               "--limit", "24")  # fmt: skip
    assert done.code == 0, done.err
    found = AnalysisStore(tmp_path / "r").analyses("input-landscape")[0]
    epsilons = {of.identity.dataset: of.identity.settings["epsilon"] for of in found}
    assert epsilons == {"digits": "16/255", "digits-frames": "48/255"}
    assert (tmp_path / "f" / "digits-frames-landscape.png").is_file()
