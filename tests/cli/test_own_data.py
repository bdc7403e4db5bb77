"""A data set of a file on the command line: run, resumed, in processes, in tables and figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import robench
from robench.datasets import OWN
from tests.support.commands import Cli, refused

FILE = """
import torch
from torch import nn

import robench


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(48, 7)

    def forward(self, x):
        return self.head(nn.functional.avg_pool2d(x, 2).flatten(1))


def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 7))


net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(12, 7))


def explicit():
    return robench.Model(SmallNet(), "digits/explicit", 7)


def make(split):
    return torch.rand(6, 3, 8, 8), torch.arange(6)
"""
SMALL = ("--attacks", "fgsm", "--eps", "32/255", "--output", "out")
DATA = ("--dataset", "own_things.py:make")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_things.py").write_text(FILE, "utf-8")
    monkeypatch.delitem(sys.modules, "own_things", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stored() -> dict[str, dict[str, object]]:
    cells = (json.loads(path.read_text("utf-8")) for path in Path("out").rglob("*.json"))
    return {cell["model"]: cell for cell in cells}


def test_networks_of_a_file_are_run_on_its_data_set_and_continue(cli: Cli) -> None:
    names = ",".join(f"own_things.py:{name}" for name in ("SmallNet", "flat", "net", "explicit"))
    done = cli("run", "--models", names, *DATA, *SMALL)
    assert done.code == 0, done.err
    cells = stored()
    assert set(cells) == {f"own-things/{name}" for name in ("small-net", "flat", "net", "explicit")}
    assert {cell["outcome"]["identity"]["samples"] for cell in cells.values()} == {6}
    again = cli("run", "--models", names, *DATA, *SMALL)
    assert "4 cells, 4 of them done already" in again.out
    assert again.out.count("kept") == 4
    assert stored() == cells
    OWN.clear()  # as in another process
    table = cli("leaderboard", "--results", "out", "--output", "out/table.md")
    assert table.code == 0, table.err
    text = Path("out/table.md").read_text("utf-8")
    assert "own-things/small-net" in text
    assert "images of your own" in text


def test_workers_find_the_same_untrained_network_and_random_images(cli: Cli) -> None:
    names = "own_things.py:SmallNet,own_things.py:net"
    done = cli("run", "--models", names, *DATA, *SMALL, "--jobs", "2")
    assert done.code == 0, done.out + done.err
    again = cli("run", "--models", names, *DATA, *SMALL)
    assert "2 cells, 2 of them done already" in again.out


def test_a_registered_model_is_run_on_images_of_ones_own(cli: Cli, folder: Path) -> None:
    (folder / "own_digits.py").write_text(
        "import robench\n\ndef make(): return [v[:8] for v in robench.load_images('digits')]\n",
        "utf-8",
    )
    data = ("--dataset", "own_digits.py:make")
    done = cli("run", "--models", "digits/vgg16-ann", *data, *SMALL, "--keep-examples")
    assert done.code == 0, done.err
    (cell,) = stored().values()
    assert cell["model"] == "own-digits/vgg16-ann"
    expected = robench.evaluate("digits/vgg16-ann", "fgsm", limit=8, eps="32/255", progress=False)
    assert expected.cells[0].outcome is not None
    points = [point["accuracy"] for point in cell["outcome"]["curve"]]
    assert points == [point.accuracy for point in expected.cells[0].outcome.curve]
    OWN.clear()
    gallery = ("analyze", "gallery", "--attack", "fgsm", "--results", "out", "--output", "out")
    done = cli(*gallery, *data)
    assert done.code == 0, done.err
    assert "own-digits" in done.out
    OWN.clear()
    refused(cli(*gallery), "unknown data set 'own-digits'", "your own as file.py:make")
    refused(cli("run", "--models", "all", *data), "nothing of data set own-digits matches all")


def test_check_and_analyses_take_it(cli: Cli) -> None:
    done = cli("check", "own_things.py:SmallNet", *DATA)
    assert done.code == 0, done.err
    assert "own-things/small-net" in done.out
    models = ("--models", "own_things.py:SmallNet", *DATA)
    figures = ("--output", "figures")
    done = cli("analyze", "sparsity", *models, *figures, "--results", "out")
    assert done.code == 0, done.err
    assert Path("figures/own-things-sparsity.png").is_file()
    done = cli("run", *models, *SMALL)
    assert done.code == 0, done.err
    done = cli("analyze", "passes", *DATA, *figures, "--results", "out")
    assert done.code == 0, done.err
    assert "own-things" in done.out
    done = cli("run", *models, *SMALL, "--limit", "9")
    refused(done, "own-things has 6 test images")


def test_python_takes_it_by_the_same_name(cli: Cli) -> None:
    found = robench.evaluate(
        "own_things.py:SmallNet", "fgsm", dataset="own_things.py:make", eps="32/255",
        store="out", progress=False,
    )  # fmt: skip
    done = cli("run", "--models", "own_things.py:SmallNet", *DATA, *SMALL)
    assert "1 cell, 1 of them done already" in done.out
    assert found.cells[0].model == "own-things/small-net"
    checks = robench.check("own_things.py:flat", dataset="own_things.py:make")
    assert "own-things/flat" in str(checks)
