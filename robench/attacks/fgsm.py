"""FGSM: one step of size ε along the sign of the gradient (Goodfellow et al., ICLR 2015)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robench.attacks.contract.attack import LineAttack
from robench.attacks.contract.view import Noise, View


class FGSM(LineAttack):
    """The fast gradient sign method, ``x + ε·sign(∇L)``, with the model's own gradient."""

    name: ClassVar[str] = "fgsm"
    version: ClassVar[int] = 2  # one gradient for all ε

    @property
    def single_step(self) -> bool:
        """True."""
        return True

    def direction(self, view: View, x: Tensor, y: Tensor, noise: Noise) -> Tensor:
        """The sign of the gradient of the cross-entropy at the clean image."""
        return view.gradient(x, y).sign()
