"""What makes a model invalid is said before its sweep, and stops it if that is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.commands import Cli

MODELS = """
import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3072, 10)

    def forward(self, x):
        return self.head(x.flatten(1))


class Random(Linear):
    def forward(self, x):
        return super().forward(x) + torch.randn(len(x), 10)


class Detached(Linear):
    def forward(self, x):
        return super().forward(x.detach())


class Constant(Linear):
    def forward(self, x):
        return super().forward(0 * x)


def constant(): return Constant()
def random(): return Random()
def detached(): return Detached()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    (tmp_path / "nets.py").write_text(MODELS, "utf-8")
    return tmp_path


def arguments(folder: Path, name: str, attack: str) -> list[str]:
    model = f"{folder / 'nets.py'}:{name}"
    where = ["--dataset", "digits", "--output", str(folder / "out")]
    return [
        "run",
        "--models",
        model,
        "--attacks",
        attack,
        "--limit",
        "32",
        "--eps",
        "8/255",
        *where,
    ]


@pytest.mark.parametrize(
    ("name", "attack", "reason"),
    [
        ("random", "fgsm", "not-deterministic"),
        ("random", "noise", "not-deterministic"),
        ("detached", "fgsm", "gradient-unavailable"),
        ("constant", "noise", "one-class"),
    ],
)
def test_an_invalid_model_is_said_before_its_sweep(
    cli: Cli, folder: Path, name: str, attack: str, reason: str
) -> None:
    found = cli(*arguments(folder, name, attack))
    assert found.code == 0
    lines = found.out.splitlines()
    (said,) = (line for line in lines if "before any attack" in line)
    (result,) = (line for line in lines if " at 8/255 " in line)
    first, last = lines.index(said), lines.index(result)
    assert first < last
    assert any(f" {reason}: " in line for line in lines[first:last])
    assert "invalid" in said


@pytest.mark.parametrize(("name", "attack"), [("random", "fgsm"), ("detached", "pgd")])
def test_fail_fast_computes_no_cell_of_an_invalid_model(
    cli: Cli, folder: Path, name: str, attack: str
) -> None:
    found = cli(*arguments(folder, name, attack), "--fail-fast")
    assert found.code == 1
    assert " at 8/255 " not in found.out
    assert "before any attack; leave out --fail-fast" in found.out


def test_an_attack_without_a_gradient_needs_none(cli: Cli, folder: Path) -> None:
    found = cli(*arguments(folder, "detached", "noise"), "--fail-fast")
    assert "gradient-unavailable" not in found.out


def test_check_takes_the_data_set_of_a_function(cli: Cli, folder: Path) -> None:
    found = cli("check", f"{folder / 'nets.py'}:detached", "--dataset", "digits", "--limit", "16")
    assert found.err == ""
    assert found.out.startswith("digits/detached: ")
    wrong = cli("check", "digits/vgg16-ann", "--eps", "8/255")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "give it with --attack" in wrong.err
