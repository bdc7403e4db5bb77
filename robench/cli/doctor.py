"""The environment of robench. Each library is imported separately: one error hides no line."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

DISTRIBUTIONS = (
    "robench",
    "torch",
    "torchvision",
    "snntorch",
    "foolbox",
    "advertorch",
    "numpy",
    "pandas",
    "scikit-learn",
    "seaborn",
)
CURED = ("torchvision", "advertorch", "snntorch")
"""Libraries that have a module in ``robench.compat``."""


class Finding(NamedTuple):
    """A line of text, and whether it reports no fault."""

    text: str
    sound: bool = True


def examine() -> Iterator[Finding]:
    """Versions, devices, libraries and plug-ins, each as soon as it is known."""
    yield Finding(f"python        {platform.python_version()} on {platform.platform()}")
    for name in DISTRIBUTIONS:
        try:
            yield Finding(f"{name:13} {version(name)}")
        except PackageNotFoundError:
            yield Finding(f"{name:13} missing")
    yield from _devices()
    for name in CURED:
        try:
            import_module(f"robench.compat.{name}").load()
            yield Finding(f"{name:13} imports")
        except Exception as error:  # a broken library may raise anything
            problem = f"{type(error).__name__}: {error}"
            yield Finding(f"{name:13} does not import: {problem}", sound=False)
    yield from _plugins()


def _devices() -> Iterator[Finding]:
    import torch

    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    yield Finding(f"threads       {torch.get_num_threads()}")
    yield Finding(f"CUDA device   {cuda}")
    yield Finding(f"kernels       {_kernels()}")
    if torch.cuda.is_available():
        yield Finding(f"CUDA kernels  {_cuda_kernels()}")


def _kernels() -> str:
    """Whether the kernels in C are available; without them the computation is slower."""
    from robench.spiking import kernels

    if kernels.library() is not None:
        return "compiled"
    if kernels.switched_off():
        return f"off ({kernels.SWITCH}=off); plain PyTorch is used"
    return f"none: {kernels.obstacle()}; plain PyTorch is used"


def _cuda_kernels() -> str:
    """Whether the kernels in Triton are available."""
    from robench.spiking import kernels

    if kernels.on_gpu() is not None:
        return "compiled"
    if kernels.switched_off():
        return f"off ({kernels.SWITCH}=off); plain PyTorch is used"
    return "none: Triton cannot build them; plain PyTorch is used"


def _plugins() -> Iterator[Finding]:
    from robench.cli.inventory import plugin_rows

    for row in plugin_rows():
        text = f"plug-in {row['plugin']} from {row['from']}: {row['state']}"
        # missing images are not a fault of the plug-in
        yield Finding(text, sound=row["state"].startswith(("ready", "no data")))
