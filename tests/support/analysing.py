"""Cells of models for an analysis, without a command line."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from robench.analysis.attacked import Attacked
from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.evaluation import Cell, Planned, Settings, evaluate_cell
from robench.registry import Model, find_attack
from robench.results import ResultStore


def cell_of(model: Model, images: int, *, attack: str = "noise", eps: str = "16/255") -> Cell:
    """The first test images of a model's data set, with the adversarial examples kept."""
    dataset = find_dataset(model.dataset)
    settings = Settings(grid=parse_grid([eps]), examples=True)
    some = dataset.load("test").first(images)
    return Cell(model, find_attack(attack), dataset, some, settings)


def attacked_at(cell: Cell, folder: Path) -> Attacked:
    """The adversarial examples of a cell, computed."""
    store = ResultStore(folder)
    result = evaluate_cell(cell, store)
    planned = Planned(cell, cell.identity.digest(), result)
    return Attacked({cell.model.id: planned}, store)


def of_network(network: nn.Module) -> Model:
    """A network of a user on digits."""
    return Model(network, "digits/own")
