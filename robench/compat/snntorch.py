"""The state of snnTorch's neurons in a single model.

``snntorch.utils.reset`` looks at direct children only, then resets every neuron of the process.
``SpikingNeuron.instances`` keeps every neuron alive. The functions here apply to the neurons of one
model, at every depth, and to no others.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from torch import nn


def load() -> ModuleType:
    """Import snnTorch, which needs no preparation."""
    return importlib.import_module("snntorch")


def reset(module: nn.Module) -> None:
    """Reset the state of a model's neurons, at every depth.

    The next call starts from rest, outside the graph of the last call.
    """
    for neuron in _neurons(module):
        if hasattr(neuron, "reset_mem"):  # parallel neurons have no state between calls
            neuron.reset_mem()


def forget(module: nn.Module) -> None:
    """Remove a model's neurons from snnTorch's global list, so that the model can be freed."""
    own = {id(neuron) for neuron in _neurons(module)}
    instances = _spiking_neuron().instances
    instances[:] = [neuron for neuron in instances if id(neuron) not in own]


def _neurons(module: nn.Module) -> Iterator[Any]:
    kind = _spiking_neuron()
    return (child for child in module.modules() if isinstance(child, kind))


def _spiking_neuron() -> Any:
    return load().SpikingNeuron
