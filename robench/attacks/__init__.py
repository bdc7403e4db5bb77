"""The attacks, one in each file, and the contract that they are written against."""

from robench.attacks.apgd import APGDCE, APGDDLR, APGDT
from robench.attacks.base import (
    Attack,
    DirectAttack,
    IterativeAttack,
    LineAttack,
    Loss,
    Need,
    Noise,
    StagedAttack,
    State,
    View,
    spread,
)
from robench.attacks.fgsm import FGSM
from robench.attacks.noise import RandomNoise
from robench.attacks.pgd import PGD
from robench.attacks.source import PGDSource, SPGDSource
from robench.attacks.spgd import SPGD
from robench.attacks.square import Square

IMPLEMENTATIONS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        FGSM,
        PGD,
        SPGD,
        APGDCE,
        APGDDLR,
        APGDT,
        Square,
        PGDSource,
        SPGDSource,
        RandomNoise,
    )
}
"""The implementations that a card may name."""

__all__ = [
    "APGDCE",
    "APGDDLR",
    "APGDT",
    "FGSM",
    "IMPLEMENTATIONS",
    "PGD",
    "SPGD",
    "Attack",
    "DirectAttack",
    "IterativeAttack",
    "LineAttack",
    "Loss",
    "Need",
    "Noise",
    "PGDSource",
    "RandomNoise",
    "SPGDSource",
    "Square",
    "StagedAttack",
    "State",
    "View",
    "spread",
]
