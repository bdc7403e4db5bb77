"""The checks that a verdict rests on, each with its figure and threshold on record.

Sources: Athalye et al., Obfuscated gradients give a false sense of security, ICML 2018; Carlini
et al., On evaluating adversarial robustness, 2019; Croce and Hein, AutoAttack, ICML 2020.
"""

from robench.checks.batch_gradient import BATCH_GRADIENT, batch_gradient
from robench.checks.between_cells import Compared, compared, weaker_wins
from robench.checks.catalogue import (
    OF_CELLS,
    OF_CELLS_IN_FULL,
    OF_MODELS,
    OF_OWN_GRADIENT,
    advice_on,
)
from robench.checks.registry import (
    Attacked,
    CellCheck,
    Examined,
    ModelCheck,
    measured,
    plugin_check,
    with_plugins,
)
from robench.checks.rows import UNAVAILABLE, asked, usable_gradient
from robench.checks.verdicts import at_most
from robench.results.schema import more_severe, worst_verdict

__all__ = [
    "BATCH_GRADIENT",
    "OF_CELLS",
    "OF_CELLS_IN_FULL",
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
    "more_severe",
    "plugin_check",
    "usable_gradient",
    "weaker_wins",
    "with_plugins",
    "worst_verdict",
]
