"""The checks that a verdict rests on, each with its figure and threshold on record.

Sources: Athalye et al., Obfuscated gradients give a false sense of security, ICML 2018; Carlini
et al., On evaluating adversarial robustness, 2019; Croce and Hein, AutoAttack, ICML 2020.
"""

from robench.checks.batch_gradient import batch_gradient
from robench.checks.card_accuracy import card_accuracy
from robench.checks.determinism import deterministic
from robench.checks.gradient import usable_gradient
from robench.checks.queries import asked
from robench.checks.spikes import replaceable
from robench.checks.verdicts import worst_verdict
from robench.checks.zero_epsilon import zero_epsilon

__all__ = [
    "asked",
    "batch_gradient",
    "card_accuracy",
    "deterministic",
    "replaceable",
    "usable_gradient",
    "worst_verdict",
    "zero_epsilon",
]
