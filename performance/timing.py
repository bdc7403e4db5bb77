"""Clocks, memory and fresh processes, the same for every competitor."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import scipy.stats
import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Step = Callable[[], object]

CACHES = ("TORCHINDUCTOR_CACHE_DIR",)
"""Environment variables of the folders in which compiled code outlives a process."""


def prepare(threads: int) -> None:
    """Set the state of a process that every measurement starts from.

    Denormal numbers are slow, and robench's sweep flushes them to zero. Here all competitors do, so
    that no peer is slowed down by them.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def seconds(step: Step) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def interleaved(
    steps: Mapping[str, Step], repetitions: int, *, warm_up: int = 2
) -> dict[str, list[float]]:
    """Wall times of repetitions, A B C A B C, so that the machine's load affects all equally."""
    for step in steps.values():
        for _ in range(warm_up):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            times[name].append(seconds(step))
    return times


def median(times: list[float]) -> float:
    """The median."""
    return statistics.median(times)


def median_interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median, between two of the values; of few values, all of them."""
    interval = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    low, high = (float(end) for end in interval)
    return (
        low if math.isfinite(low) else min(values),
        high if math.isfinite(high) else max(values),
    )


def peak_growth(step: Step) -> float:
    """The peak of the resident memory during a step minus the memory before, in MiB.

    Call it in a fresh process with everything imported and built and the step run once on one
    image. The step is run twice: the first run compiles and allocates permanent buffers, the second
    is measured. The permanent buffers count as growth.
    """
    release()
    before = _resident()
    step()
    release()
    if not _reset_peak():
        step()
        return largest() - before
    step()
    return _status("VmHWM") - before


def release() -> None:
    """Give freed memory back to the system."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # memory that only the allocator keeps


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 2**10
    raise OSError(f"/proc/self/status has no {key}")


def _resident() -> float:
    return _status("VmRSS") if sys.platform == "linux" else largest()


def largest() -> float:
    """The peak of the resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _reset_peak() -> bool:
    """Reset the kernel's record of the peak; returns whether that is possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return False
    return True


def isolated(
    threads: int,
    function: Callable[Arguments, Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Result:
    """Call a function in a fresh process whose caches of compiled code are empty."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _environment(dict.fromkeys(CACHES, folder)),
        ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=prepare, initargs=(threads,)
        ) as pool,
    ):
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    saved = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
