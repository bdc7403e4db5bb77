"""Interception of every custom autograd function that a thread calls.

Nearly all spiking networks spike through a subclass of ``torch.autograd.Function``. Many bind its
``apply`` once, when their module is imported, so replacing the name ``Function.apply`` would miss
them. ``Function.apply`` itself calls ``_SingleLevelFunction.apply``, which is looked up at every
call: a method of that name, one class below, sees all of them.

The method is installed while at least one interceptor is active in the process. It acts on the
threads that have one, and passes every other call through.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.autograd.function import _SingleLevelFunction


class Interceptor(Protocol):
    """What is done with a call."""

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        """What the call returns instead of ``out``, the function's own result."""
        ...


class _Stack(threading.local):
    """The interceptors of a thread, the innermost last; None suspends them."""

    def __init__(self) -> None:
        self.entries: list[Interceptor | None] = []


_NAME = "apply"
_stack = _Stack()
_lock = threading.Lock()
_active = 0


def _apply(cls: type, *args: Any, **kwargs: Any) -> Any:
    out = super(_SingleLevelFunction, cls).apply(*args, **kwargs)  # type: ignore[misc]
    here = _stack.entries[-1] if _stack.entries else None
    if here is None or kwargs or _transformed():
        return out
    with suspended():
        return here.called(cls, args, out)


def _transformed() -> bool:
    """Whether the call is traced by a compiler or a function transform, which see no values."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


@contextmanager
def suspended() -> Iterator[None]:
    """Inside, this thread's calls pass through."""
    _stack.entries.append(None)
    try:
        yield
    finally:
        _stack.entries.pop()


@contextmanager
def intercepting(interceptor: Interceptor) -> Iterator[None]:
    """Inside, this thread's calls of custom functions go through an interceptor.

    The context has to hold during the backward pass too, which calls them again where a network
    checkpoints its activations. Contexts nest; the innermost acts.
    """
    global _active
    with _lock:
        if _active == 0:
            setattr(_SingleLevelFunction, _NAME, classmethod(_apply))
        _active += 1
    _stack.entries.append(interceptor)
    try:
        yield
    finally:
        _stack.entries.pop()
        with _lock:
            _active -= 1
            if _active == 0:
                delattr(_SingleLevelFunction, _NAME)
