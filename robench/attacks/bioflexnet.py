"""BioFlexNet's two attacks with the settings of its released code, for replication.

``ZephyrNing/BioFlexNet`` at commit b2cad1c calls the same PGD for both and gives SPGD larger ε:
20 steps of ε/4 along the sign of the gradient of the cross-entropy, from a random start.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from robench.attacks.contract.attack import Gradients, Start
from robench.attacks.pgd import PGD


class PGDBioFlexNet(PGD):
    """The PGD of the released code; each ε has its own run from the random start.

    Attributes:
        relative_step: 5, so that each of 20 steps is ε/4.
    """

    name: ClassVar[str] = "pgd-bioflexnet"
    version: ClassVar[int] = 1
    start: ClassVar[Start] = "cold"  # the released code restarts at every ε

    relative_step: float = Field(5.0, gt=0)


class SPGDBioFlexNet(PGDBioFlexNet):
    """The SPGD of the released code: the same PGD, used with larger ε."""

    name: ClassVar[str] = "spgd-bioflexnet"
    gradients: ClassVar[Gradients] = "chosen"
