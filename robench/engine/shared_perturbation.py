"""One perturbation for all frames of a sample, which an attack searches as if it were an image.

In place of the frames x_t the attack is given an image z that is ½ everywhere. It stands for the
perturbation δ = 2z − 1, and the model is shown clip(x_t + δ) in each frame. The box of z, [0, 1],
is [−1, 1] for δ, beyond which no pixel changes any more, and the ball of radius ε/2 around ½ is
the ball of radius ε around δ = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from robench.attacks import Loss
from robench.attacks.contract.view import Through
from robench.engine.view import ModelView

SCALE = 2
"""How long a step of length 1 in z is in δ."""


def blank(frames: Tensor) -> Tensor:
    """The image that stands for no perturbation, ``(N, C, H, W)`` for ``(N, T, C, H, W)``."""
    return torch.full_like(frames[:, 0], 0.5)


def shown(image: Tensor, frames: Tensor) -> Tensor:
    """What the model is shown, ``(N, T, C, H, W)``, for the attack's images and clean frames."""
    return (frames + (SCALE * image - 1)[:, None]).clamp(0, 1)


def perturbation(image: Tensor, frames: Tensor) -> Tensor:
    """δ as far as it changes any frame, ``(N, C, H, W)``: what clipping takes away is no part."""
    return torch.clamp(SCALE * image - 1, -frames.amax(1), 1 - frames.amin(1))


@dataclass(kw_only=True)
class SharedView(ModelView):
    """A view through which the model takes an image as the perturbation of all frames.

    Attributes:
        frames: the clean frames of each row, ``(N, T, C, H, W)``.
    """

    frames: Tensor

    def differentiable(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits ``(M, K)`` of the perturbed frames, through which autograd reaches ``x``."""
        calls = len(self.seen)
        frames = self.frames if rows is None else self.frames[rows]
        logits = super().differentiable(shown(x, frames), rows)
        self._name(x, calls)
        return logits

    def gradient(
        self, x: Tensor, y: Tensor, loss: Loss = "cross-entropy", **through: Unpack[Through]
    ) -> Tensor:
        """The gradient at ``x``: the sum over the frames, without the pixels that are clipped."""
        calls = len(self.seen)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            frames = shown(leaf, self.frames)
        found = super().gradient(frames.detach(), y, loss, **through)
        self._name(x, calls)
        (gradient,) = torch.autograd.grad(frames, leaf, found)
        return gradient

    def _name(self, x: Tensor, calls: int) -> None:
        """Remember the calls since then by the attack's images, in whose ball they are judged."""
        self.seen[calls:] = [(x.detach(), wrong) for _, wrong in self.seen[calls:]]
