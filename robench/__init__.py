"""An adversarial-robustness benchmark for spiking networks and the ANNs they are compared with.

Names are imported when they are first used, so that ``import robench`` stays light.
"""

from __future__ import annotations

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from robench.attacks import Attack, DirectAttack, IterativeAttack, LineAttack
    from robench.evaluation import Cell, Settings, evaluate_cell
    from robench.registry import Model, find_attack, load_folder, select_models
    from robench.results import CellResult, ResultStore

_HOMES = {
    "Attack": "robench.attacks",
    "Cell": "robench.evaluation",
    "CellResult": "robench.results",
    "DirectAttack": "robench.attacks",
    "IterativeAttack": "robench.attacks",
    "LineAttack": "robench.attacks",
    "Model": "robench.registry",
    "ResultStore": "robench.results",
    "Settings": "robench.evaluation",
    "evaluate_cell": "robench.evaluation",
    "find_attack": "robench.registry",
    "load_folder": "robench.registry",
    "select_models": "robench.registry",
}

__all__ = [
    "Attack",
    "Cell",
    "CellResult",
    "DirectAttack",
    "IterativeAttack",
    "LineAttack",
    "Model",
    "ResultStore",
    "Settings",
    "evaluate_cell",
    "find_attack",
    "load_folder",
    "select_models",
]


def __getattr__(name: str) -> _typing.Any:
    if name in _HOMES:
        return getattr(_importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
