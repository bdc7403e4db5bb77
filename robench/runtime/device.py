"""The device of a network. The engine's own tensors are always on the CPU."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from robench.errors import UsageError
from robench.registry import Model
from robench.registry.borrowing import borrowed


def find_device(text: str) -> str:
    """The device of a text: ``cpu`` or ``cuda:i``.

    Args:
        text: ``cpu``, ``cuda`` for the first GPU, ``cuda:i``, or ``auto`` for CUDA if torch finds
            it and else the CPU.

    Raises:
        UsageError: the text is none of these, or the device does not exist.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise UsageError(f"device {text!r}: choose from auto, cpu, cuda and cuda:0, cuda:1, …")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "cpu" or (text == "auto" and not count):
        return "cpu"
    index = int(text.partition(":")[2] or 0)
    if index >= count:
        found = f"only {count}" if count else "none"
        raise UsageError(
            f"device {text}: torch {torch.__version__} finds {found} here; "
            f"use {'a smaller number' if count else 'device cpu'}, or see: robench doctor"
        )
    return f"cuda:{index}"


@contextmanager
def repeatable() -> Iterator[None]:
    """Compute convolutions on CUDA in float32 and by deterministic algorithms.

    cuDNN's default is TF32, with 10 bits of a product; float32 has 23.
    """
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


def hardware(device: str) -> str:
    """The name of a device, as in a card."""
    if device == "cpu":
        return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
    return torch.cuda.get_device_name(device)


@contextmanager
def placed(model: Model, device: str) -> Iterator[None]:
    """Let a model compute on a device; afterwards it is where and as it was before."""
    with ExitStack() as stack:
        if not model.checkpoint:
            stack.enter_context(borrowed(model.module))
        before = model.device
        if torch.device(device) != before:
            stack.callback(model.module.to, before)
            model.module.to(device)
        if torch.device(device).type != "cpu":
            stack.enter_context(repeatable())
        yield
