"""FGSM: one step of size ε along the sign of the gradient (Goodfellow et al., ICLR 2015)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robench.attacks.base import DirectAttack, Need, Noise, View, spread


class FGSM(DirectAttack):
    """The fast gradient sign method, ``x + ε·sign(∇L)``, with the model's own gradient."""

    name: ClassVar[str] = "fgsm"
    needs: ClassVar[frozenset[Need]] = frozenset({"gradient"})

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """The candidate at distance ε."""
        return x + spread(eps, x) * view.gradient(x, y).sign()
