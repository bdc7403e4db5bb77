"""Models that are named by a function, in a module or in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from robench.registry import select_models
from tests.support.commands import Cli, refused

MAKER = """
import torch
from robench import Model


def make():
    from neighbour import scale

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    return Model(Scaled(net, scale()), "digits/made", 10)


class Scaled(torch.nn.Module):
    def __init__(self, net, scale):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x):
        return self.net(x) * self.scale
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = tmp_path / "code"
    code.mkdir()
    (code / "maker.py").write_text(MAKER, "utf-8")
    (code / "neighbour.py").write_text("def scale():\n    return 2.0\n", "utf-8")
    for name in ("maker", "neighbour"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return code


def test_a_function_imports_its_neighbours_when_it_is_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = list(sys.path)
    (entry,) = select_models(["maker:make"])
    assert entry.load().id == "digits/made"
    assert sys.path == before


def test_a_function_of_a_file_is_the_same_model(
    folder: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("run", "--attacks", "fgsm", "--limit", "4", "--output", tmp_path, "--dry-run", "--json")
    hashes = set()
    names = [
        (folder, "maker:make"),
        (folder, "./maker.py:make"),
        (tmp_path, "code/maker.py:make"),
        (tmp_path, f"{folder}/maker.py:make"),
    ]
    for place, name in names:
        monkeypatch.chdir(place)
        done = cli(*run, "--models", name)
        assert done.code == 0, done.err
        hashes.add(json.loads(done.out)["cells"][0]["hash"])
    assert len(hashes) == 1


def test_a_file_that_is_not_there_or_has_the_name_of_a_module(
    folder: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ("run", "--attacks", "fgsm", "--output", tmp_path, "--models")
    refused(
        cli(*run, "code/absent.py:make"), "code/absent.py:make", "there is no file code/absent.py"
    )
    refused(cli(*run, "code/maker.py:other"), "code/maker.py:other", "no attribute 'other'")
    (folder / "json.py").write_text(MAKER, "utf-8")
    refused(cli(*run, "code/json.py:dumps"), "another module is called json")
