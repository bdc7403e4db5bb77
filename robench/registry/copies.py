"""Copies of networks."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from torch import Tensor, nn


def copied(network: nn.Module) -> nn.Module:
    """A copy of a network, whose membranes may still belong to the graph of its last call."""
    membranes = (value for value in _tensors(network) if not value.is_leaf)
    return deepcopy(network, {id(value): value.detach().clone() for value in membranes})


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """The tensors of a network, also those in dicts, lists and tuples of its parts."""
    todo: list[object] = [vars(part) for part in network.modules()]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, list | tuple):
            todo += value
