"""The machine and the versions that the numbers were measured with."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PEERS = (
    "snntorch",
    "spikingjelly",
    "foolbox",
    "advertorch",
    "adversarial-robustness-toolbox",
)


def describe(threads: int) -> dict[str, str]:
    """The machine and the versions, as a table's rows."""
    compute = torch.backends.cpu.get_cpu_capability()
    rows = {
        "CPU": f"{_cpu()}, {_cores()} cores, torch uses {compute}",
        "threads": f"{threads} for every competitor",
        "memory": _memory(),
        "system": f"{_system()}, {platform.machine()}, Python {platform.python_version()}",
        "robench": version("robench"),
        "torch": torch.__version__,
    }
    for name in PEERS:
        try:
            rows[name] = version(name)
        except PackageNotFoundError:
            rows[name] = "not installed"
    return rows


def today() -> str:
    """The date, in ISO format."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return "unknown"
    return f"{total / 2**30:.0f} GiB"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
