"""Settings of the whole process: what a user's code changes is put back.

A network, a module or a plug-in may set torch's default type, leave gradients disabled or change
the working folder. The engine, and the other models of a run, must not notice.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch


@dataclass(frozen=True)
class ProcessSettings:
    """Settings of the process at some time.

    Attributes:
        dtype: torch's default type.
        device: torch's default device.
        grad: whether gradients are recorded.
        threads: torch's number of threads.
        deterministic: whether torch uses deterministic algorithms only, and whether it only warns.
        matmul: the precision of products of float32 matrices: torch's, and that of each library.
        errors: how numpy treats floating-point errors.
        filters: of warnings.
        path: where modules are imported from.
        folder: the working folder.
    """

    dtype: torch.dtype
    device: torch.device
    grad: bool
    threads: int
    deterministic: tuple[bool, bool]
    matmul: tuple[str, ...]
    errors: dict[str, Any]
    filters: list[Any]
    path: list[str]
    folder: str

    @classmethod
    def now(cls) -> Self:
        """The settings at this moment."""
        return cls(
            dtype=torch.get_default_dtype(),
            device=torch.get_default_device(),
            grad=torch.is_grad_enabled(),
            threads=torch.get_num_threads(),
            deterministic=_deterministic(),
            matmul=_matmul(),
            errors=dict(np.geterr()),
            filters=list(warnings.filters),
            path=list(sys.path),
            folder=_folder(),
        )

    def restore(self) -> None:
        """Set what differs from these settings."""
        self.restore_defaults()
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if _deterministic() != self.deterministic:
            torch.use_deterministic_algorithms(
                self.deterministic[0], warn_only=self.deterministic[1]
            )
        if _matmul() != self.matmul:
            torch.set_float32_matmul_precision(self.matmul[0])
            for library, precision in zip(_libraries(), self.matmul[1:], strict=True):
                if library.fp32_precision != precision:
                    library.fp32_precision = precision
        np.seterr(**self.errors)
        if warnings.filters != self.filters:
            with warnings.catch_warnings():  # makes the interpreter read the filters again
                pass
            warnings.filters[:] = self.filters  # type: ignore[index]  # a list, for typeshed not
        if self.folder and _folder() != self.folder:
            os.chdir(self.folder)

    def restore_defaults(self) -> None:
        """Set what a network may rely on after it was built: default type, device, import path."""
        if torch.get_default_dtype() != self.dtype:
            torch.set_default_dtype(self.dtype)
        if torch.get_default_device() != self.device:
            # None instead of the CPU: a default device slows every function down
            torch.set_default_device(None if self.device.type == "cpu" else self.device)
        if sys.path != self.path:
            sys.path[:] = self.path


def _deterministic() -> tuple[bool, bool]:
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _matmul() -> tuple[str, ...]:
    whole = "highest"
    with suppress(RuntimeError):  # the libraries were set to what no word for both says
        whole = torch.get_float32_matmul_precision()
    return whole, *(library.fp32_precision for library in _libraries())


def _libraries() -> list[Any]:
    """Those whose precision can be set alone: none before torch 2.9."""
    found = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)
    return [library for library in found if hasattr(library, "fp32_precision")]


def _folder() -> str:
    """The working folder; empty if it was removed."""
    with suppress(OSError):
        return os.getcwd()  # noqa: PTH109  # as text, since it is read at every call
    return ""


class EscapeError(Exception):
    """An exception of a user's code that no handler expects, such as ``SystemExit``, its cause."""


@contextmanager
def contained(own: ProcessSettings | None = None) -> Iterator[None]:
    """Call a user's code: it prints to stderr, and settings that it changes are put back.

    Args:
        own: settings in which the code was built; its default type, device and import path hold
            during the call.

    Raises:
        EscapeError: the code raises what is no ``Exception``. An interrupt is raised as it is.
    """
    before = ProcessSettings.now()
    try:
        if own is not None:
            own.restore_defaults()
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EscapeError(f"{type(error).__name__}: {error}") from error
    finally:
        before.restore()


_one_at_a_time = threading.RLock()
"""The settings are those of the process, so two threads cannot each keep theirs."""


@contextmanager
def isolated() -> Iterator[None]:
    """:func:`contained`, and random numbers and signal handlers are put back too.

    Other threads of the process wait. It holds for an import, for the building of a network and
    for a whole cell, not for each call: a network that drew the same numbers in each call would
    seem deterministic.
    """
    with _one_at_a_time:
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()
        handlers, environment = _handlers(), dict(os.environ)
        try:
            with contained():
                yield
        finally:
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])
            random.setstate(states[2])
            for number, handler in handlers.items():
                if signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
            if os.environ != environment:
                os.environ.clear()
                os.environ.update(environment)


@contextmanager
def same_numbers() -> Iterator[None]:
    """Torch's generators draw the same numbers in each such block, and go on as before after it."""
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        torch.manual_seed(0)
        yield


def _handlers() -> dict[int, Any]:
    """The handlers of the signals that end a run; only the main thread can set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    return {number: handler for number, handler in found.items() if handler is not None}


@contextmanager
def standard() -> Iterator[None]:
    """Compute as in a new process: on the CPU, with gradients, numpy's own error modes.

    The default type is float32, and products of matrices are computed in nothing less.
    """
    before = ProcessSettings.now()
    with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        try:
            torch.set_default_dtype(torch.float32)
            torch.set_float32_matmul_precision("highest")
            if before.device.type != "cpu":
                torch.set_default_device(None)
            with torch.inference_mode(False), torch.enable_grad():
                yield
        finally:
            before.restore()
