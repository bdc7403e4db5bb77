"""The attacks, one in each file, and their base classes."""

from robench.attacks.apgd import APGDCE, APGDDLR, APGDT
from robench.attacks.bioflexnet import PGDBioFlexNet, SPGDBioFlexNet
from robench.attacks.contract.attack import (
    Attack,
    DirectAttack,
    Gradients,
    IterativeAttack,
    LineAttack,
    Need,
    StagedAttack,
    State,
)
from robench.attacks.contract.view import Noise, View
from robench.attacks.ddn import DDN
from robench.attacks.ensembles import AutoAttack, EnsembleAttack, SpikingAutoAttack
from robench.attacks.fab import FABT
from robench.attacks.fgsm import FGSM
from robench.attacks.pgd import PGD, PGDL2
from robench.attacks.primitives.losses import Loss
from robench.attacks.primitives.per_sample import spread
from robench.attacks.random_noise import RandomNoise
from robench.attacks.sapgd import SAPGD
from robench.attacks.spgd import SPGD, LongRun
from robench.attacks.square import Square
from robench.attacks.surrogate_apgd import SurrogateAPGDT
from robench.attacks.surrogate_ensemble import SurrogateEnsemble
from robench.attacks.transfer import Transfer

IMPLEMENTATIONS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        FGSM,
        PGD,
        SPGD,
        SurrogateEnsemble,
        SAPGD,
        APGDCE,
        APGDDLR,
        APGDT,
        FABT,
        Square,
        RandomNoise,
        PGDBioFlexNet,
        SPGDBioFlexNet,
        PGDL2,
        DDN,
        Transfer,
        AutoAttack,
        SpikingAutoAttack,
    )
}
"""The implementations that an attack card may name."""

__all__ = [
    "APGDCE",
    "APGDDLR",
    "APGDT",
    "DDN",
    "FABT",
    "FGSM",
    "IMPLEMENTATIONS",
    "PGD",
    "PGDL2",
    "SAPGD",
    "SPGD",
    "Attack",
    "AutoAttack",
    "DirectAttack",
    "EnsembleAttack",
    "Gradients",
    "IterativeAttack",
    "LineAttack",
    "LongRun",
    "Loss",
    "Need",
    "Noise",
    "PGDBioFlexNet",
    "RandomNoise",
    "SPGDBioFlexNet",
    "SpikingAutoAttack",
    "Square",
    "StagedAttack",
    "State",
    "SurrogateAPGDT",
    "SurrogateEnsemble",
    "Transfer",
    "View",
    "spread",
]
