"""Which code is a library's, so that its name and version stand for it, and which is the user's."""

from __future__ import annotations

import builtins
import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path

UNVERSIONED = ("robench", "torch")
"""Their version is left out: a cell's hash has robench's ``protocol``, and torch is everywhere."""
STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


def library(name: str | None) -> str | None:
    """What stands for an imported module that is a library's: its name and the version.

    Args:
        name: ``module.__name__``.

    Returns:
        None for the user's own module: a file outside of ``site-packages``, ``__main__``, a
        notebook or the globals of an ``exec``.
    """
    top = (name or "").partition(".")[0]
    if top in UNVERSIONED:
        return name
    module = sys.modules.get(name or "") or sys.modules.get(top)
    if module is None or top == "__main__":
        return None
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if file is None:
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        return name if origin in ("built-in", "frozen") else None
    path = Path(file)
    if {"site-packages", "dist-packages"} & set(path.parts):
        version = _version(top)
        return version and f"{name} of {version}"
    return name if STDLIB in path.resolve().parents else None


def library_class(kind: type) -> str | None:
    """What stands for a class of a library; None for a class of the user."""
    if kind.__module__ == "builtins" and getattr(builtins, kind.__name__, None) is not kind:
        heap = kind.__flags__ & 1 << 9  # a class that `exec` made in globals without a name
        return None if heap else f"builtins.{kind.__qualname__}"
    known = library(kind.__module__)
    return known and f"{kind.__qualname__} in {known}"


@cache
def _version(top: str) -> str | None:
    """Distribution and version of an installed top-level module, without the local part."""
    try:
        found = {top: metadata.version(top)}
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(top, ())
        found = {name: metadata.version(name) for name in sorted(set(names))}
    return ", ".join(f"{name} {text.partition('+')[0]}" for name, text in found.items()) or None
