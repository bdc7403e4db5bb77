from .batch_gradient import BATCH_GRADIENT, batch_gradient
from .between_cells import Compared, compared, weaker_wins
from .catalogue import (
    OF_CELLS,
    OF_CELLS_IN_FULL,
    OF_CHOSEN_GRADIENT,
    OF_GRADIENTS,
    OF_MODELS,
    OF_OWN_GRADIENT,
    advice_on,
)
from .registry import (
    Attacked,
    CellCheck,
    Examined,
    ModelCheck,
    measured,
    plugin_check,
    with_plugins,
)
from .rows import UNAVAILABLE, asked, usable_gradient
from .verdicts import at_most

__all__ = [
    "BATCH_GRADIENT",
    "OF_CELLS",
    "OF_CELLS_IN_FULL",
    "OF_CHOSEN_GRADIENT",
    "OF_GRADIENTS",
    "OF_MODELS",
    "OF_OWN_GRADIENT",
    "UNAVAILABLE",
    "Attacked",
    "CellCheck",
    "Compared",
    "Examined",
    "ModelCheck",
    "advice_on",
    "asked",
    "at_most",
    "batch_gradient",
    "compared",
    "measured",
    "plugin_check",
    "usable_gradient",
    "weaker_wins",
    "with_plugins",
]
