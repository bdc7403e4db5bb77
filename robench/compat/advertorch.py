"""advertorch on a torch that no longer has ``torch.autograd.gradcheck.zero_gradients``."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

from robench.compat import torchvision


def prepare() -> bool:
    """Add the function that advertorch imports from torch, if torch lacks it.

    Returns:
        Whether the function was added.
    """
    torchvision.prepare()  # advertorch imports it
    # `import torch.autograd.gradcheck as module` would bind the function of that name
    module = importlib.import_module("torch.autograd.gradcheck")
    if hasattr(module, "zero_gradients"):
        return False
    module.zero_gradients = _zero_gradients  # type: ignore[attr-defined]
    return True


def load() -> ModuleType:
    """Import advertorch with ``advertorch.attacks``."""
    prepare()
    importlib.import_module("advertorch.attacks")
    return importlib.import_module("advertorch")


def _zero_gradients(x: torch.Tensor) -> None:
    """Set the gradient of a tensor to zero in place, as torch did up to version 1.8."""
    if x.grad is not None:
        x.grad.detach_().zero_()
