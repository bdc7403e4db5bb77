"""The page about data of one's own does what it shows."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import robench
from robench import plugins
from robench.compat import torchvision
from tests.support import pages
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli

PAGE = ROOT / "docs" / "data.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the photos that the page reads."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            pixels = random.integers(256, size=(40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("my_data", "my_nets", "bars"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    torchvision.prepare()
    return tmp_path


def test_the_blocks_run_and_print_what_they_show(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    with torch.random.fork_rng():
        shown = pages.run(PAGE)
    assert len(shown) == 2
    for text, printed in shown:
        assert printed == text
    text = PAGE.read_text("utf-8")
    ((name, value),) = re.findall(r'^([\w-]+) = "(bars:\w+)"$', text, re.M)
    points = EntryPoints([EntryPoint(name, value, plugins.DATASETS)])
    monkeypatch.setattr(plugins, "_installed", lambda group, path: points.select(group=group))
    commands = re.findall(r"^    robench (.*)$", text, re.M)
    assert [command.split()[0] for command in commands] == ["check", "run", "leaderboard", "run"]
    for command in commands:
        done = cli(*shlex.split(command.replace("pgd,spgd", "fgsm")))
        assert done.code == 0, done.err
    for store, model in (("mine", "my-data/my-net"), ("bars", "bars/my-net")):
        named = robench.load_results(folder / "out" / store).to_frame()
        assert set(named["model"]) == {model}
        assert set(named["samples"]) == {20}
    assert "my-data/my-net" in (folder / "out" / "mine" / "leaderboard.md").read_text("utf-8")
    same = robench.evaluate("my_nets.py:trained", "fgsm", dataset="my_data.py:make", progress=False)
    assert same.cells[0].hash in {cell.hash for cell in robench.load_results("out/mine").cells}
