"""A user's network in an evaluation: what it returns, and that nothing in it changes."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robench.errors import EvaluationError, UsageError
from robench.isolation import isolated

_OF_SHAPES = re.compile(r"shape|size|dimension|channel|unpack|expected input|out of range|index")
"""Words of errors of a network that does not fit its images."""
_OF_TYPES = re.compile(r"dtype|scalar type|Input type")
"""Words of errors of a network of another number type."""


@contextmanager
def borrowed(module: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode and freeze its parameters; at the end it is as before.

    The mode of each part, ``requires_grad``, hooks, parameters, their gradients, buffers and all
    other attributes are put back, also those that the network itself changes, such as counters,
    hidden states and its number type.
    What its attributes refer to is restored as far as it is a tensor, a list, a dict, a set or a
    deque.

    Raises:
        UsageError: it was made in inference mode, so that it takes no gradient.
    """
    if any(parameter.is_inference() for parameter in module.parameters()):
        raise UsageError(
            "the weights of the network were made under torch.inference_mode, so it has no "
            "gradient; make or load it outside, also under torch.no_grad"
        )
    before = _Snapshot()
    for part in module.modules():
        before.add(part)
    for tensor in (*module.parameters(), *module.buffers()):  # of TorchScript no attribute
        before.add(tensor)
    try:
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        yield
    finally:
        before.restore()


def require_logits(out: Any, images: int, classes: int) -> Tensor:
    """The output of a network, if it is logits.

    Args:
        out: what the network returned.
        images: how many it got.
        classes: of the model.

    Raises:
        EvaluationError: it is something else.
    """
    wanted = (images, classes)
    if isinstance(out, Tensor) and out.shape == wanted and out.is_floating_point():
        return out
    what, hint = type(out).__name__, ""
    if isinstance(out, tuple) or (isinstance(out, Tensor) and out.dim() == 3):
        hint = "; robench.wrap(net, …) reads logits out of spikes over time, or of a tuple"
    if isinstance(out, Tensor):
        what = str(tuple(out.shape)) if out.is_floating_point() else str(out.dtype)
    raise EvaluationError(
        f"the model returned {what} for {images} images; "
        f"with its {classes} classes, logits of shape {wanted} are expected{hint}"
    )


def count_logits(network: nn.Module, x: Tensor, dataset: str) -> int:
    """The number of logits K of a network for an image ``(1, C, H, W)`` of a data set.

    Raises:
        UsageError: its output is not ``(1, K)``. Exceptions of the network are not caught, and say
            what it was called with.
    """
    state = next(chain(network.parameters(), network.buffers()), x)
    with isolated(), borrowed(network), torch.no_grad(), noted(x, dataset):
        logits: object = network(x.to(state.device))
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"the network has to return logits (N, K) for images (N, C, H, W): it returned {what} "
            f"for {tuple(x.shape)}"
        )
    return logits.shape[1]


@contextmanager
def noted(x: Tensor, dataset: str) -> Iterator[None]:
    """Add a note with the input, of a data set, to what a network raises about shapes or types."""
    try:
        yield
    except Exception as error:
        if _OF_TYPES.search(str(error)):
            error.add_note(
                "images are float32: let forward convert them to the type of the weights"
            )
        elif _OF_SHAPES.search(str(error)):
            error.add_note(f"it was called with {dataset}, {tuple(x.shape)}")
        raise


class _Snapshot:
    """Objects with their contents."""

    def __init__(self) -> None:
        self.modes: list[tuple[nn.Module, bool]] = []
        self.tensors: list[tuple[Tensor, Tensor, bool]] = []
        self.containers: list[tuple[Any, Any]] = []
        self.known: set[int] = set()

    def add(self, value: object) -> None:
        """Keep a module, a tensor or a container, and what it contains."""
        if isinstance(value, tuple):
            for item in value:
                self.add(item)
        elif id(value) in self.known:
            return
        elif isinstance(value, nn.Module):
            self.known.add(id(value))
            if hasattr(value, "training"):  # a frozen TorchScript module has no mode
                self.modes.append((value, value.training))
            self.add(vars(value))
        elif isinstance(value, Tensor):
            self.known.add(id(value))
            if value.layout == torch.strided and not is_lazy(value):
                self.tensors.append((value, value.detach().clone(), value.requires_grad))
                if value.is_leaf:
                    self.add(value.grad)
        elif isinstance(value, dict | list | set | deque):
            self.known.add(id(value))
            self.containers.append((value, value.copy()))
            for item in value.values() if isinstance(value, dict) else value:
                self.add(item)

    def restore(self) -> None:
        for container, contents in self.containers:
            container.clear()
            (container.update if isinstance(container, dict | set) else container.extend)(contents)
        with torch.no_grad():
            for tensor, value, needed_grad in self.tensors:
                if _kind(tensor) != _kind(value):
                    tensor.data = value
                elif not same_bits(tensor, value):  # a copy would break a graph of the user's
                    tensor.copy_(value)
                if tensor.is_leaf and tensor.requires_grad != needed_grad:
                    tensor.requires_grad_(needed_grad)
        for module, training in self.modes:
            module.training = training


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal in every element: a NaN is equal to itself."""
    if a.shape != b.shape:
        return False
    if a.is_meta:  # without values
        return True
    if a.is_floating_point() or a.is_complex():
        return bool(((a == b) | ((a != a) & (b != b))).all())
    return torch.equal(a, b)
