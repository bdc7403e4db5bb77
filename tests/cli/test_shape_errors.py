"""A network that does not fit the images: the shape and the user's own line are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import robench
from robench.errors import UsageError
from tests.support.commands import Cli

FILE = """
import json

import torch
from torch import nn


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, x):
        x = x * 1
        return self.body(x)  # line 15


class Channels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))  # line 24


class Unpacking(nn.Module):
    def forward(self, x):
        n, c, h = x.shape  # line 29
        return x


class Reading(nn.Module):
    def forward(self, x):
        return json.loads("{")  # line 35


def plain():
    return nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 10))


def make():
    return torch.rand(4, 1, 9, 9), torch.arange(4)
"""
LINES = {
    "Deep": ("mat1 and mat2", "misfits.py:15 in forward", True),
    "Channels": ("weight of size", "misfits.py:24 in forward", True),
    "Unpacking": ("too many values to unpack", "misfits.py:29 in forward", True),
    "Reading": ("JSONDecodeError", "misfits.py:35 in forward", False),
    "plain": ("mat1 and mat2", "in layer 2, Linear(in_features=784", True),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "misfits.py").write_text(FILE, "utf-8")
    monkeypatch.delitem(sys.modules, "misfits", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "expected"), LINES.items())
def test_a_failed_cell_names_the_shape_and_the_line(
    cli: Cli, name: str, expected: tuple[str, str, bool]
) -> None:
    what, place, of_shapes = expected
    done = cli(
        "run", "--models", f"./misfits.py:{name}", "--dataset", "digits", "--attacks", "fgsm"
    )
    assert done.code == 1
    (line,) = (line for line in done.out.splitlines() if "failed:" in line)
    assert what in line
    assert place in line
    assert ("; it was called with digits, (2, 3, 32, 32)" in line) == of_shapes
    assert "model.py" not in line


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Deep", "misfits.py:15 in forward"),
        ("Unpacking", None),
        ("plain", "in layer 2, Linear(in_features=784"),
    ],
)
def test_on_an_own_data_set_the_run_is_refused(cli: Cli, name: str, place: str | None) -> None:
    run = ("run", "--models", f"misfits.py:{name}", "--attacks", "fgsm")
    done = cli(*run, "--dataset", "misfits.py:make")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "; it was called with misfits, (1, 1, 9, 9)" in done.err
    assert (place or "misfits.py:29 in forward") in done.err


def test_check_names_them_too(cli: Cli) -> None:
    done = cli("check", "misfits.py:Deep", "--dataset", "digits")
    assert done.code == 1
    assert "misfits.py:15 in forward); it was called with digits, (2, 3, 32, 32)" in done.err


def test_in_python_the_exception_has_a_note() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(RuntimeError) as error:
        robench.evaluate(net, "fgsm", dataset="digits", progress=False)
    assert error.value.__notes__ == ["it was called with digits, (2, 3, 32, 32)"]
    with pytest.raises(RuntimeError) as error:
        robench.evaluate(net, "fgsm", images=torch.rand(2, 1, 9, 9), labels=[0, 1], progress=False)
    assert error.value.__notes__ == ["it was called with tensors, (1, 1, 9, 9)"]


def test_an_output_that_is_no_logits_is_said_with_its_shape() -> None:
    with pytest.raises(UsageError, match=r"it returned \(1, 1, 9, 9\) for \(1, 1, 9, 9\)"):
        robench.evaluate(nn.ReLU(), "fgsm", images=torch.rand(2, 1, 9, 9), labels=[0, 1])
