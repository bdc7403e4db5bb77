"""Where a network computes. The engine's own tensors stay on the CPU, whatever the device."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from robench.errors import UsageError
from robench.registry import Model


def find_device(text: str) -> str:
    """The device that a user means: ``cpu``, or ``cuda:i``.

    Args:
        text: ``cpu``, ``cuda`` for the first of them, ``cuda:i``, or ``auto`` for CUDA where torch
            finds it.

    Raises:
        UsageError: it is none of these, or not here.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise UsageError(f"--device {text!r}: choose from auto, cpu, cuda and cuda:0, cuda:1, …")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "cpu" or (text == "auto" and not count):
        return "cpu"
    index = int(text.partition(":")[2] or 0)
    if index >= count:
        found = f"only {count}" if count else "none"
        raise UsageError(
            f"--device {text}: torch {torch.__version__} finds {found} here; "
            f"use {'a smaller number' if count else '--device cpu'}, or see: robench doctor"
        )
    return f"cuda:{index}"


@contextmanager
def repeatable() -> Iterator[None]:
    """Inside, convolutions on CUDA are computed in float32, and equal calls take equal ways.

    cuDNN's default is TF32, with 10 bits of a product where the CPU has 23.
    """
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


def hardware(device: str) -> str:
    """The name of a device, as a card tells it."""
    if device == "cpu":
        return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
    return torch.cuda.get_device_name(device)


@contextmanager
def placed(model: Model, device: str) -> Iterator[None]:
    """Inside, a model's module lives on a device; then it goes back to where it was."""
    before = model.device
    if torch.device(device) == before:
        yield
        return
    try:
        model.module.to(device)
        with repeatable():
            yield
    finally:
        model.module.to(before)
