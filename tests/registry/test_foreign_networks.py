"""Networks that were not written for robench: what they may do, and what is left alone in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robench import Cell, Model, ResultStore, Settings, evaluate_cell, find_attack
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from tests.support.commands import Cli, refused

N = 12


class Plain(nn.Module):
    """Normalises, pools and reads out, without steps in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 0.5) / 0.25
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1))


class InPlace(Plain):
    """The same network with steps in place."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(0.25)
        x.unsqueeze_(1)
        return self.head(nn.functional.avg_pool2d(x.squeeze_(1), 4).flatten(1))


class Named(Plain):
    """A network whose attributes have the names that robench's own networks use."""

    timesteps = property(lambda self: 5)  # it cannot be set
    spikes = draws = noise = rows = "mine"

    def prepare(self, x: Tensor) -> None:
        raise AssertionError("prepare is the user's own")


def rows_of(module: nn.Module, attack: str, folder: Path, **facts: object):
    images = DIGITS.load("test").first(N)
    before = images.images.copy()
    model = Model(module, "digits/foreign", 10, **facts)
    settings = Settings(parse_grid(["4/255", "16/255"]))
    store = ResultStore(folder)
    result = evaluate_cell(Cell(model, find_attack(attack), DIGITS, images, settings), store)
    assert result.outcome is not None
    assert (images.images == before).all()
    return result.outcome, store.rows(result)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "noise", "apgd-ce", "square[queries=20]"])
def test_steps_in_place_change_no_number(attack: str, tmp_path: Path) -> None:
    plain, expected = rows_of(Plain(), attack, tmp_path / "plain")
    inside, found = rows_of(InPlace(), attack, tmp_path / "in place")
    assert found.equals(expected)
    assert inside.checks == plain.checks


def test_attributes_with_names_of_robench_are_left_alone(tmp_path: Path) -> None:
    _, expected = rows_of(Plain(), "pgd", tmp_path / "plain")
    _, found = rows_of(Named(), "pgd", tmp_path / "named", mode="stbp", timesteps=5)
    assert found.equals(expected)


TIMED = """
import torch
from robench import Model


class Net(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]


def net():
    return Model(Net(), "digits/timed", 10, mode="stbp", timesteps=6)
"""


def test_the_time_steps_of_a_foreign_network_cannot_be_changed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timednet.py").write_text(TIMED, "utf-8")
    monkeypatch.chdir(tmp_path)
    run = ("run", "--models", "timednet:net", "--attacks", "fgsm", "--limit", "4", "--dry-run")
    refused(cli(*run, "--timesteps", "1"), "timesteps 1", "digits/timed", "its own T of 6")
    for own in (("--timesteps", "6"), ()):
        assert cli(*run, *own).code == 0
