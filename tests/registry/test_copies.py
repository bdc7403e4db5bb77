"""Copies of models, whose networks keep tensors of their last call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robench.registry import Model


class Keeping(nn.Module):
    """Keeps a tensor of its graph."""

    kept: Any = None

    def __init__(self, place: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.place = place
        self.read = nn.Linear(3072, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.read(x.flatten(1))
        self.kept = self.place(out)
        return out


def in_dict(out: Tensor) -> object:
    return {"v": out}


def in_list(out: Tensor) -> object:
    return [out, None]


def in_tuples_of_a_dict(out: Tensor) -> object:
    return {"state": ((out, 1), [out])}


def in_itself(out: Tensor) -> object:
    kept: list[object] = [out]
    kept.append(kept)
    return kept


def as_it_is(out: Tensor) -> object:
    return out


@pytest.mark.parametrize(
    "place", [as_it_is, in_dict, in_list, in_tuples_of_a_dict, in_itself], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("double", [False, True])
def test_a_network_is_copied_after_a_call_with_gradients(
    place: Callable[[Tensor], object], *, double: bool
) -> None:
    network = Keeping(place)
    model = Model(network, "digits/keeping")
    x = torch.rand(2, 3, 32, 32)
    logits = model.logits(x)
    kept = network.kept
    other = model.in_double() if double else model.copied()
    with torch.no_grad():
        other.module.read.weight.zero_()  # type: ignore[union-attr, operator]
    assert network.kept is kept
    assert logits.requires_grad
    assert torch.equal(model.logits(x), logits)
    assert model.module is network
    assert next(other.module.parameters()).dtype == (torch.float64 if double else torch.float32)
