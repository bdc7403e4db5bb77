"""torchvision with a torch that its C++ operators were not built for.

PyPI's torchvision is a CUDA build. With a CPU build of torch its library of operators cannot be
loaded, and ``import torchvision`` fails, because the operators ``nms`` and ``qnms`` are not
declared. Declaring their schemas is enough for everything except object detection.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # data sets are listed without torch
    import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []
"""Kept for the life of the process: a schema is removed with its library object."""


def prepare() -> bool:
    """Declare the operators that torchvision needs, if its own library cannot be loaded.

    Returns:
        Whether an operator was declared.
    """
    import torch

    missing = [name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    if not missing or _load_operators():
        return False
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in missing:
        library.define(_SCHEMAS[name])  # type: ignore[no-untyped-call]
    _libraries.append(library)
    return True


def load() -> ModuleType:
    """Import torchvision."""
    prepare()
    return importlib.import_module("torchvision")


def _load_operators() -> bool:
    """Load torchvision's own operators; returns whether that worked."""
    import torch

    spec = importlib.util.find_spec("torchvision")  # does not import it
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        for path in (*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")):
            try:
                torch.ops.load_library(path)  # type: ignore[no-untyped-call]
            except OSError:  # built for another torch
                continue
            return True
    return False
