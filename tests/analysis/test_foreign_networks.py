"""Estimators and transfer on networks of other libraries and of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from robench.attacks import Transfer
from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.evaluation import Cell, Settings, evaluate_cell
from robench.evaluation.source_models import fingerprint
from robench.registry import Model, find_attack
from robench.results import CellResult, ResultStore
from tests.support.commands import Cli, refused

NETS = """
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn

from robench import Model

calls = []


class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(48, 40), nn.Linear(40, 10)
        with torch.no_grad():
            self.first.weight.mul_(4)

    def forward(self, x):
        current, v, out = self.first(nn.functional.avg_pool2d(x, 8).flatten(1)), 0, 0
        for _ in range(4):
            s, v = self.fire(current, v)
            out = out + self.second(s)
        return out


class ByHand(Timed):
    def fire(self, current, v):
        v = 0.7 * v + current
        s = (v > 1).to(v.dtype)
        return s, v - s


class SnnTorch(Timed):
    def __init__(self):
        super().__init__()
        self.leaky = snntorch.Leaky(beta=0.7)

    def fire(self, current, v):
        return self.leaky(current, torch.zeros_like(current) if isinstance(v, int) else v)


class OneStep(Timed):
    def __init__(self):
        super().__init__()
        self.leaky = neuron.LIFNode(step_mode="s")

    def forward(self, x):
        functional.reset_net(self)
        return super().forward(x)

    def fire(self, current, v):
        return self.leaky(current), v


class AllSteps(OneStep):
    def __init__(self):
        super().__init__()
        self.leaky = neuron.LIFNode(step_mode="m")

    def forward(self, x):
        functional.reset_net(self)
        current = self.first(nn.functional.avg_pool2d(x, 8).flatten(1))
        return self.second(self.leaky(current.expand(4, *current.shape))).sum(0)


def by_hand():
    calls.append("by hand")
    return ByHand()


def snn_torch():
    return SnnTorch()


def one_step():
    return OneStep()


def all_steps():
    return AllSteps()


def plain():
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))


class Hidden(ByHand):
    def fire(self, current, v):
        v = 0.7 * v + current
        s = ((v > 1).float() - torch.sigmoid(v - 1)).detach() + torch.sigmoid(v - 1)
        return s, v - s


def hidden():
    return Hidden()


def rounded():
    class Rounded(nn.Module):
        def forward(self, x):
            return nn.functional.avg_pool2d(x, 8).mul(4).round().flatten(1)[:, :10]

    return Rounded()
"""
ESTIMATORS = ("--estimators", "atan(2),rga,assg(0.425),cba", "--limit", "4", "--steps", "2")
FEW = ("--dataset", "digits", "--eps", "8/255,16/255")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nets")
    (path / "own_nets_of_analysis.py").write_text(NETS, "utf-8")
    return path


@pytest.fixture
def nets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return "own_nets_of_analysis.py"


@pytest.mark.parametrize("name", ["by_hand", "snn_torch", "one_step", "all_steps"])
def test_estimators_of_a_spiking_network_of_any_style_are_ranked(
    cli: Cli, nets: str, tmp_path: Path, name: str
) -> None:
    command = ("analyze", "estimators", "--models", f"{nets}:{name}", *ESTIMATORS, *FEW)
    done = cli(*command, "--results", tmp_path / "cells")
    assert done.code == 0, done.err
    found = set(pd.read_csv(tmp_path / "cells" / "estimators.csv")["estimator"])
    over_time = {"rga"} if name == "all_steps" else set()
    assert found == {"atan(2)", "assg(0.425)", *over_time}
    (line,) = done.err.splitlines()
    assert f"it cannot take {'cba' if over_time else 'rga, cba'}: " in line
    again = cli(*command, "--results", tmp_path / "cells")
    assert again.out.count("  kept\n") == 2 * len(found)


def test_a_model_is_made_once_for_all_epsilons(cli: Cli, nets: str, tmp_path: Path) -> None:
    import own_nets_of_analysis as module  # type: ignore[import-not-found]

    module.calls.clear()
    command = ("analyze", "estimators", "--models", f"{nets}:by_hand", *ESTIMATORS, *FEW)
    assert cli(*command, "--results", tmp_path / "cells").code == 0
    assert module.calls == ["by hand"]


@pytest.mark.parametrize(
    ("name", "estimators", "text"),
    [
        ("plain", "atan(2)", "without spikes"),
        ("rounded", "atan(2)", "without spikes"),
        ("hidden", "atan(2)", "not replaced: gt in own_nets_of_analysis.py"),
        ("snn_torch", "rga,cba", "it cannot take rga, cba"),
    ],
)
def test_a_network_with_nothing_to_rank_is_refused(
    cli: Cli, nets: str, tmp_path: Path, name: str, estimators: str, text: str
) -> None:
    command = ("analyze", "estimators", "--models", f"{nets}:{name}", *FEW, "--limit", "4")
    refused(cli(*command, "--estimators", estimators, "--results", tmp_path), text)


def test_a_network_of_the_command_line_is_a_source(cli: Cli, nets: str, tmp_path: Path) -> None:
    models = f"digits/flex-ann,{nets}:by_hand"
    given = ("--models", models, "--limit", "4", "--eps", "16/255", "--output", tmp_path / "out")
    attacks = "transfer[source=by-hand,steps=2],transfer[source=[vgg16-a*],steps=2]"
    done = cli("run", *given, "--dataset", "digits", "--attacks", attacks, "--json")
    assert done.code == 0, done.err
    cells = [cell["outcome"]["identity"] for cell in json.loads(done.out)]
    sources = {(cell["model"], *cell["sources"]) for cell in cells}
    assert sources == {
        (model, source)
        for model in ("digits/flex-ann", "digits/by-hand")
        for source in ("digits/by-hand", "digits/vgg16-ann")
    }


def test_the_matrix_has_networks_of_the_command_line(cli: Cli, nets: str, tmp_path: Path) -> None:
    models = f"{nets}:by_hand,{nets}:plain"
    places = ("--results", tmp_path / "results", "--output", tmp_path / "figures")
    command = ("analyze", "transfer", "--models", models, "--dataset", "digits", "--limit", "4")
    done = cli(*command, *places)
    assert done.code == 0, done.err
    assert len(list((tmp_path / "results").rglob("*.json"))) == 4
    assert (tmp_path / "figures" / "digits-transfer.png").is_file()


def test_what_is_not_replaced_is_no_finder(cli: Cli, nets: str, tmp_path: Path) -> None:
    command = ("run", "--models", f"{nets}:hidden", "--attacks", "spgd,surrogate-ensemble", *FEW)
    done = cli(*command, "--limit", "60", "--output", tmp_path)
    assert done.code == 0, done.err
    for path in tmp_path.rglob("*.parquet"):
        found = set(pd.read_parquet(path)["found_by"].dropna())
        assert found
        assert found <= {"pgd", "own gradient"}
        text = path.with_suffix(".json").read_text("utf-8")
        assert "not replaced: gt in own_nets_of_analysis.py" in text


def crafted(source: Model, attack: str, folder: Path) -> CellResult:
    """A transfer from a spiking network to the same weights."""
    dataset = find_dataset("digits")
    images = dataset.load("test").first(40)
    target = Model(source.network, "digits/target")
    settings = Settings(grid=parse_grid(["0.3"]))
    cell = Cell(target, find_attack(attack), dataset, images, settings, (source,))
    return evaluate_cell(cell, ResultStore(folder))


@pytest.mark.parametrize("name", ["by_hand", "snn_torch", "one_step", "all_steps"])
def test_a_spiking_source_is_differentiated_with_the_surrogates(
    nets: str, tmp_path: Path, name: str
) -> None:
    import own_nets_of_analysis as module

    source = Model(getattr(module, name)(), "digits/source")
    found = crafted(source, "transfer[steps=4,surrogates=[atan(2)]]", tmp_path)
    assert source.spiking
    other = crafted(source, "transfer[steps=4,surrogates=[rectangle(0.001)]]", tmp_path)
    one, two = (r.outcome for r in (found, other))
    assert one is not None
    assert two is not None
    assert one.clean_accuracy > 0
    assert one.curve[-1].robust < two.curve[-1].robust  # hardly a spike has that gradient
    assert one.source_passes
    assert torch.is_grad_enabled()
    assert Transfer().surrogates[0] == "atan(2)"


def test_the_fingerprint_of_a_source_covers_how_its_spikes_are_found(
    nets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import own_nets_of_analysis as module

    source = Model(module.by_hand(), "digits/source")
    before = fingerprint(source)
    monkeypatch.setattr("robench.evaluation.source_models.DISCOVERY", -1)
    assert fingerprint(source) != before
