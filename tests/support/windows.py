"""A process of another system that looks like Windows to robench, as far as Python can do that."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from types import SimpleNamespace

MISSING_MODULES = ("resource", "fcntl", "pwd", "grp", "termios", "posix")
MISSING_NAMES = ("sysconf", "getuid", "geteuid", "fork", "kill", "killpg", "uname", "RTLD_NOW")
"""Of the module ``os``."""
THEIRS = (
    "advertorch.attacks", "foolbox", "jinja2", "matplotlib.figure", "pandas", "platformdirs",
    "pyarrow.parquet", "pydantic", "rich.progress", "scipy.stats", "sklearn.datasets",
    "sklearn.metrics", "snntorch", "torch", "typer",
)  # fmt: skip
"""Other libraries, which ask for the system when they are imported."""
PEAK = 3 * 2**20


def pretend() -> None:
    """Make this process look like one on Windows; robench must not be imported yet."""
    assert not any(name.partition(".")[0] == "robench" for name in sys.modules)
    from robench.compat import advertorch, torchvision

    torchvision.load()
    advertorch.load()
    for name in THEIRS:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "robench"]:
        del sys.modules[name]

    import psutil

    sys.modules.update(dict.fromkeys(MISSING_MODULES))  # to import one is an error
    for name in MISSING_NAMES:
        delattr(os, name)
    psutil.Process.memory_info = lambda self: SimpleNamespace(peak_wset=PEAK)
    sys.platform = "win32"


def import_everything() -> int:
    """Import every module of robench that needs no GPU; returns how many there are."""
    package = importlib.import_module("robench")
    names = [module.name for module in pkgutil.walk_packages(package.__path__, "robench.")]
    chosen = [name for name in names if ".gpu" not in name and not name.endswith("__main__")]
    for name in chosen:
        importlib.import_module(name)
    return len(chosen)
