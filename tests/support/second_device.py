"""A device that computes on the CPU and refuses tensors of the CPU, as a GPU does.

Usage: ``python second_device.py MODEL …`` evaluates a cell of each model on the CPU and on that
device, and prints the accuracies at every ε: one line for the CPU, one for the device.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from robench import Cell, Model, ResultStore, Settings, evaluate_cell, find_attack, select_models
from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.results import Thoroughness

DEVICE = "second:0"
CROSSES = ("_copy", "copy_", "index")
"""Operations that take tensors of two devices."""


class There(torch.Tensor):
    """A tensor of the device, with its values in a tensor of the CPU."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> There:
        make = torch.Tensor._make_wrapper_subclass
        tensor = make(cls, here.shape, strides=here.stride(), dtype=here.dtype, device=DEVICE)
        tensor.here = here
        return tensor

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        crosses = any(name in str(operation) for name in CROSSES)
        for tensor in tensors:
            if not (crosses or isinstance(tensor, There) or tensor.dim() == 0):
                raise RuntimeError(f"{operation}: tensors of two devices")
        to = kwargs.get("device")
        if to is not None:
            kwargs["device"] = "cpu"
        args, kwargs = tree_map_only(There, lambda x: x.here, (args, kwargs))
        out = operation(*args, **kwargs)
        if to is not None and torch.device(to).type == "cpu":
            return out
        given = {id(x.here): x for x in tensors if isinstance(x, There)}  # changed in place
        return tree_map_only(
            torch.Tensor, lambda x: given[id(x)] if id(x) in given else There(x), out
        )


def register() -> torch.library.Library:
    """Register the device with torch, for the lifetime of the returned library."""
    _setup_privateuseone_for_python_backend("second")
    library = torch.library.Library("aten", "IMPL")

    def empty(size: Any, *, dtype: Any = None, memory_format: Any = None, **_: object) -> There:
        order = memory_format or torch.contiguous_format
        return There(torch.empty(size, dtype=dtype, memory_format=order))

    def empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: object) -> There:
        return There(torch.empty_strided(size, stride, dtype=dtype))

    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("empty_strided", empty_strided, "PrivateUse1")
    return library


def move(model: Model) -> Model:
    """Move a model there; Module.to cannot replace a parameter by one of another class."""
    for layer in model.module.modules():
        for name, parameter in layer._parameters.items():
            if parameter is not None:
                there = torch.nn.Parameter(There(parameter.detach()), requires_grad=False)
                layer._parameters[name] = there
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = There(buffer)
    return model


def accuracies(model: Model, *, checked: bool) -> list[float]:
    """Robust accuracy at every ε under an attack that uses all of the view."""
    dataset = find_dataset("digits")
    grid = parse_grid(["24/255"])
    checks: Thoroughness = "cheap" if checked else "off"
    settings = Settings(grid, batch_size=16, device=str(model.device), checks=checks)
    images = dataset.load("test").first(3)
    cell = Cell(model, find_attack("spgd[steps=2,pgd_steps=1]"), dataset, images, settings)
    with TemporaryDirectory() as folder:
        outcome = evaluate_cell(cell, ResultStore(Path(folder))).outcome
    assert outcome is not None
    return [point.accuracy for point in outcome.curve]


if __name__ == "__main__":
    kept = register()
    for number, entry in enumerate(select_models(sys.argv[1:])):
        model, first = entry.load(), number == 0  # the checks, which take long, of one model
        print(*accuracies(model, checked=first))
        print(*accuracies(move(model), checked=first))
        assert str(model.device) == DEVICE
