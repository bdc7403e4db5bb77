"""Temporary substitution of the surrogate and the gradient path of all neurons of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from robench.spiking.gradient_paths import GradientPath, PathModule
from robench.spiking.neuron import LIF
from robench.spiking.surrogate import Surrogate


def spiking_layers(module: nn.Module) -> list[LIF]:
    """The spiking layers of a network, in the order in which they are registered."""
    return [layer for layer in module.modules() if isinstance(layer, LIF)]


@contextmanager
def override(
    module: nn.Module,
    *,
    surrogate: Surrogate | None = None,
    path: GradientPath | None = None,
) -> Iterator[None]:
    """Inside, backward passes use other derivatives; the forward pass does not change.

    The settings of each layer are restored on exit, also after an exception. Overrides nest.

    Args:
        module: a network; layers of robench's neurons are found at every depth.
        surrogate: the derivative of every spike; None keeps that of each neuron.
        path: the gradient path of every layer; None keeps that of each layer.
    """
    saved = [
        (layer, layer.gradient_path, layer.surrogate if isinstance(layer, LIF) else None)
        for layer in module.modules()
        if isinstance(layer, PathModule)
    ]
    try:
        for layer, _, _ in saved:
            if path is not None:
                layer.gradient_path = path
            if surrogate is not None and isinstance(layer, LIF):
                layer.surrogate = surrogate
        yield
    finally:
        for layer, old_path, old_surrogate in saved:
            layer.gradient_path = old_path
            if isinstance(layer, LIF):
                layer.surrogate = old_surrogate
