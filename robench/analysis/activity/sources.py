"""The weights that the activations of a layer come from."""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress
from typing import Any

from torch import Tensor

_PRODUCTS = ("Addmm", "Mm", "Convolution", "Bmm", "Baddbmm", "Mv")
_SAVED = ("_saved_weight", "_saved_mat2", "_saved_self", "_saved_mat1")


def sources(z: Tensor, weights: Container[int]) -> object:
    """The weights that an activation comes from, without the neurons and weights before them.

    The membrane of a neuron comes from the same weights in all steps. Weights that are computed
    are known by their shape, since they may be computed in every step.

    Args:
        z: with its graph.
        weights: where the parameters and buffers of the network are.
    """
    found: set[object] = set()
    seen, todo = set(), [z.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().startswith(_PRODUCTS):
            found.add(_weight(node, weights))
        else:
            todo += [before for before, _ in node.next_functions]
    return frozenset(found) or tuple(z.shape[1:])


def _weight(node: Any, weights: Container[int]) -> object:
    """Where the weight of a product is, or its shape."""
    for name in _SAVED:
        with suppress(RuntimeError, AttributeError):
            saved = getattr(node, name)
            if isinstance(saved, Tensor):
                place = saved.untyped_storage().data_ptr()
                return place if place in weights else (node.name(), tuple(saved.shape[-2:]))
    return node.name()
