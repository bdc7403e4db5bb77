"""Memory: how many rows of a call fit into it, and what to do where it runs out."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robench.errors import EvaluationError
from robench.registry import Model

T = TypeVar("T")
MOST_ROWS = {"cpu": 64, "cuda": 256}
"""More do not make a call faster: a CPU's threads share 64, and 256 fill a GPU."""
BACKWARD = 3
"""Memory of a gradient pass in units of the layers' outputs: each output, its gradient, and what a
layer keeps from one to the other."""
MEASURED_ROWS = 8
SHARE = 0.5
"""Of all memory: the rest is for the engine, and for whoever else computes here."""
CACHED_BYTES = 128 * 2**20
"""Outputs of all layers of a part; a layer has a small share of it at a time."""
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_SHORT = ("not enough memory", "can't allocate memory", "could not create a primitive")
"""Parts of the messages of torch's allocator, and of oneDNN, which says no more."""


def choose_rows(model: Model, x: Tensor) -> int:
    """How many rows a call should have: what fits into half of the memory.

    The choice depends on the model and the machine alone, not on what else runs there.

    Args:
        model: where it will compute.
        x: images that are typical of its calls, ``(N, C, H, W)``.

    Returns:
        At least 1, at most 64 on the CPU and 256 on a GPU.

    Raises:
        EvaluationError: there is not enough memory for a single row.
    """
    device = model.device
    x = x[:MEASURED_ROWS].to(device)
    needed = _on_cuda(model, x) if device.type == "cuda" else BACKWARD * output_bytes(model, x[:1])
    fitting = int(SHARE * capacity(device)) // max(1, needed)
    return max(1, min(fitting, MOST_ROWS.get(device.type, MOST_ROWS["cpu"])))


def cached_rows(model: Model, x: Tensor) -> int:
    """How many rows a thread should compute at a time so that a layer's values stay in its caches.

    VGG16 of width 1/4 at T = 10 takes 16: as fast as 32, in half of the memory.

    Args:
        model: where it will compute.
        x: images that are typical of its calls, ``(N, C, H, W)``.

    Returns:
        A power of two from 8 to 32.
    """
    fitting = CACHED_BYTES // output_bytes(model, x[:1].to(model.device))
    return next((rows for rows in (32, 16) if rows <= fitting), 8)


def output_bytes(model: Model, x: Tensor) -> int:
    """Bytes of the outputs of all layers of a network, and of its input ``(N, C, H, W)``.

    The growth of a process is too noisy to measure one row by. A layer that hands on the output of
    its last child, as it is or in another shape, adds nothing.

    Raises:
        EvaluationError: there is not enough memory for them.
    """
    total, last = x.numel() * x.element_size(), x

    def add(_: nn.Module, __: Any, out: object) -> None:
        nonlocal total, last
        parts = out if isinstance(out, tuple | list) else (out,)
        for part in parts:
            if isinstance(part, Tensor) and _memory_of(part) != _memory_of(last):
                total += part.numel() * part.element_size()
                last = part  # held, so that nothing else can come to lie there

    handles = [layer.register_forward_hook(add) for layer in model.module.modules()]
    try:
        with torch.no_grad():
            with_fewer(lambda _: model.logits(x), 1)
    finally:
        for handle in handles:
            handle.remove()
    return total


def _memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _on_cuda(model: Model, x: Tensor) -> int:
    """Bytes of one row of a gradient pass on images ``(N, C, H, W)``, measured."""
    device = model.device

    def measure(rows: int) -> int:
        part = x[:rows].detach().requires_grad_()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with torch.enable_grad():
            logits = model.logits(part)
            if logits.requires_grad:
                torch.autograd.grad(logits.sum(), part, allow_unused=True)
        return (torch.cuda.max_memory_allocated(device) - before) // rows

    return with_fewer(measure, len(x))


def capacity(device: torch.device) -> int:
    """Memory that this process may come to have on a device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    own = [limit] if limit != resource.RLIM_INFINITY else []
    return int(min(installed, *own, *map(_limit_in, _CONTAINER_LIMITS)))


def _limit_in(path: Path) -> float:
    """The bytes that a container's file allows; infinite where there is no limit, or no file."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):  # "max"
        return float("inf")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SHORT)


def with_fewer(function: Callable[[int], T], rows: int) -> T:
    """What ``function`` returns for so many rows, or for ever fewer where memory runs out.

    Raises:
        EvaluationError: memory runs out at one row. Any other error passes through.
    """
    while True:
        try:
            return function(rows)
        except Exception as error:
            require_smaller(error, rows)
        rows = rows // 2


def require_smaller(error: Exception, rows: int) -> None:
    """Return where fewer rows may help against an error.

    Raises:
        EvaluationError: there was one row. An error of another kind is raised again.
    """
    if not is_out_of_memory(error):
        raise error
    if rows <= 1:
        raise EvaluationError(
            "memory ran out at a single row: the model needs more than there is on this device"
        ) from error
