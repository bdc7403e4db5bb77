"""Batch size: the number of rows that fit into memory, and retries with fewer rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robench.errors import EvaluationError
from robench.registry import Model
from robench.runtime import memory
from robench.runtime.each_operation import EachOperation

T = TypeVar("T")
MOST_ROWS = {"cpu": 64, "cuda": 256}
"""More rows do not make a call faster: 64 are enough for the threads of a CPU, 256 fill a GPU."""
BACKWARD = 3
"""Memory of a gradient pass in units of the layers' outputs: each output, its gradient, and what
the layer stores for the backward pass."""
MEASURED_ROWS = 8
SHARE = 0.5
"""Share of all memory; the rest is for the engine and for other processes."""
CACHED_BYTES = 128 * 2**20
"""Bytes of the outputs of all layers for the rows of one thread."""
_SHORT = ("not enough memory", "can't allocate memory", "could not create a primitive")
"""Parts of the messages of torch's allocator and of oneDNN when memory runs out."""


def choose_rows(model: Model, x: Tensor) -> int:
    """The number of rows of a call that fit into half of the memory.

    It depends only on the model and the machine, not on other processes.

    Args:
        model: on the device where it will compute.
        x: typical images, ``(N, C, H, W)``.

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
    """The number of rows that a thread should compute at a time, so that a layer fits its caches.

    For VGG16 of width 1/4 at T = 10 it is 16, which is as fast as 32 in half of the memory.

    Args:
        model: on the device where it will compute.
        x: typical images, ``(N, C, H, W)``.

    Returns:
        A power of two from 8 to 32.
    """
    fitting = CACHED_BYTES // output_bytes(model, x[:1].to(model.device))
    return next((rows for rows in (32, 16) if rows <= fitting), 8)


def output_bytes(model: Model, x: Tensor) -> int:
    """Bytes of the outputs of all layers of a network, and of its input ``(N, C, H, W)``.

    The growth of the process is too noisy to measure a single row. A layer that returns the output
    of its last child, possibly in another shape, adds nothing. In TorchScript, whose layers take no
    hooks, operations are counted.

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
                last = part  # kept alive, so that its address is not reused

    layers = list(model.module.modules())
    scripted = any(isinstance(layer, torch.jit.ScriptModule) for layer in layers)
    hooked = [] if scripted else layers
    handles = [layer.register_forward_hook(add) for layer in hooked]
    counted: AbstractContextManager[object] = EachOperation(add) if scripted else nullcontext()
    try:
        with torch.no_grad(), counted:
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
    """The memory that this process may use on a device, in bytes."""
    if device.type == "cuda":
        return memory.of_gpu(int(torch.cuda.get_device_properties(device).total_memory))
    return memory.allowed()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SHORT)


def with_fewer(function: Callable[[int], T], rows: int) -> T:
    """The result of ``function`` for a number of rows, which is halved while memory runs out.

    Raises:
        EvaluationError: memory runs out at one row. Other exceptions are not caught.
    """
    while True:
        try:
            return function(rows)
        except Exception as error:
            require_smaller(error, rows)
        rows = rows // 2


def require_smaller(error: Exception, rows: int) -> None:
    """Return if memory ran out and fewer rows may help.

    Raises:
        EvaluationError: there was only one row. Another error is raised again.
    """
    if not is_out_of_memory(error):
        raise error
    if rows <= 1:
        raise EvaluationError(
            "memory ran out at a single row: the model needs more than there is on this device"
        ) from error
