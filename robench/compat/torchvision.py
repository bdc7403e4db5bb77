"""torchvision beside a torch that its C++ operators were not built for.

PyPI's torchvision is a CUDA build. Beside a CPU build of torch its library of operators cannot be
loaded, and ``import torchvision`` then fails, because it describes the operators ``nms`` and
``qnms`` that nobody declared. Their schemas are enough for everything but object detection.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []
"""Kept for the life of the process: a schema goes when its library object does."""


def prepare() -> bool:
    """Declare the operators that torchvision describes, where its own library cannot be loaded.

    Returns:
        Whether there was something to declare.
    """
    missing = [name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    if not missing or _load_operators():
        return False
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in missing:
        library.define(_SCHEMAS[name])  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return True


def load() -> ModuleType:
    """Import torchvision, ready for use."""
    prepare()
    return importlib.import_module("torchvision")


def _load_operators() -> bool:
    """Whether torchvision's own operators can be loaded; they are then, as by its import."""
    spec = importlib.util.find_spec("torchvision")  # finds it without importing it
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        for path in (*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")):
            try:
                torch.ops.load_library(path)  # type: ignore[no-untyped-call]
            except OSError:  # built against the libraries of another torch
                continue
            return True
    return False
