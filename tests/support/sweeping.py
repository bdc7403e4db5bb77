"""Sweeps over small models, without cells and store, for the tests of attacks."""

from __future__ import annotations

import torch

from robench.attacks import Attack
from robench.engine.chunk import Chunk
from robench.engine.sweep import ChunkSweep
from robench.epsilon import parse_grid
from robench.registry import Model
from robench.results import ROBUST
from tests.support.linear_model import LinearModel

EPSILON = 8 / 255
GRID = parse_grid(["0.002", "0.005", "0.01", "0.02", "0.03", "0.05", "0.1"])


def sweep(model, attack: Attack, x, y, grid=GRID, **options):
    options = {"seed": 0, "batch_size": 16} | options
    return ChunkSweep(model, attack, Chunk(x, y, range(len(x))), grid, **options)


def robust_at(rows, point: int) -> int:
    """How many samples are robust at a point of the grid."""
    position = rows["minimal_position"].to_numpy()
    return int(((position == ROBUST) | (position > point)).sum())


def three_alike(linear: LinearModel, classes: int) -> Model:
    """The linear model with further classes that never win: the closed form stays."""
    old = linear.model.module[1]
    new = torch.nn.Linear(old.in_features, classes)
    with torch.no_grad():
        new.weight.zero_()
        new.bias.fill_(-1e3)
        new.weight[:2], new.bias[:2] = old.weight, old.bias
    return Model(torch.nn.Sequential(torch.nn.Flatten(), new), "digits/linear", classes)
