"""The checks of a model of digits, on 64 images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import robench
from robench.checks import OF_MODELS, Examined, measured
from robench.datasets import DIGITS
from robench.results import Check
from robench.runtime.device import placed
from robench.runtime.first_call import first_call
from robench.spiking import bound

IMAGES = DIGITS.load("test").first(64)


def checks_of(net: nn.Module, rows: int = 64, **facts: Any) -> dict[str, Check]:
    """The records of the checks of a model, by name."""
    model = robench.Model(net, dataset="digits", **facts)
    x, y = IMAGES.tensor(), IMAGES.targets()
    with placed(model, "cpu"):
        first_call(model, x[:2], lambda count: bound(None))
        model.survey(x[:16])
        return {check.name: check for check in measured(OF_MODELS, Examined(model, x, y, rows))}


def reasons(net: nn.Module, **facts: Any) -> set[str]:
    return {check.reason for check in checks_of(net, **facts).values()} - {""}


def seeded(net: Callable[[], nn.Module]) -> nn.Module:
    """A network whose untrained weights are the same each time."""
    torch.manual_seed(0)
    return net().eval()
