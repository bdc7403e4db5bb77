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
from robench.datasets import DIGITS
from tests.support import pages
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli

PAGE = ROOT / "docs" / "data.md"
NETWORK = """
from torch import nn


def load():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
"""


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
    for module in ("my_data", "my_cnn"):
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
    test = DIGITS.load("test").first(20)
    torch.save((test.tensor(), test.targets()), folder / "test.pt")
    text = PAGE.read_text("utf-8")
    ((name, value),) = re.findall(r'^([\w-]+) = "(my_data:\w+)"$', text, re.M)
    points = EntryPoints([EntryPoint(name, value, plugins.DATASETS)])
    monkeypatch.setattr(plugins, "_installed", lambda group, path: points.select(group=group))
    (folder / "my_cnn.py").write_text(NETWORK, "utf-8")
    (command,) = re.findall(r"^    robench run (.*)$", text, re.M)
    done = cli("run", *shlex.split(command.replace("pgd,spgd", "fgsm")))
    assert done.code == 0, done.err
    named = robench.load_results(folder / "out" / "mine").to_frame()
    assert set(named["model"]) == {"my-data/sequential"}
    assert set(named["samples"]) == {20}
