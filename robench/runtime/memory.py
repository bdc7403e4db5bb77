"""How much memory this process may use, and how much it has used, on Linux, macOS and Windows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

if sys.platform != "win32":
    import resource

_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass
class _Shares:
    """This process may use one of so many equal parts of the memory."""

    machine: int = 1
    gpu: int = 1


_shares = _Shares()


def divide(machine: int, gpu: int) -> None:
    """Leave memory to other workers: one part is for this process.

    Args:
        machine: number of equal parts of the memory of the machine.
        gpu: the same of the memory of a GPU.
    """
    _shares.machine, _shares.gpu = machine, gpu


def of_gpu(total: int) -> int:
    """The memory of a GPU that this process may use, in bytes."""
    return total // _shares.gpu


def allowed() -> int:
    """The memory that this process may use, in bytes.

    It is the installed memory, or less if a container or a limit of the process allows less, or
    its part of it (:func:`divide`). Windows has no such limits here.
    """
    limits: list[float] = [psutil.virtual_memory().total, *map(_limit_in, _CONTAINER_LIMITS)]
    if sys.platform != "win32":
        own, _ = resource.getrlimit(resource.RLIMIT_AS)
        if own != resource.RLIM_INFINITY:
            limits.append(own)
    return int(min(limits)) // _shares.machine


def peak() -> int:
    """The most memory that this process has had resident so far, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 2**10  # macOS counts bytes


def _limit_in(path: Path) -> float:
    """The limit in a container's file, in bytes; infinite without a limit or a file."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):  # "max"
        return float("inf")
