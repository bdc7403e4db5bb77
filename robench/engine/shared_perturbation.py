"""One perturbation for all frames of a sample, represented as an image for the attack.

The attack gets an image z with all pixels ½ in place of the frames x_t. It represents the
perturbation δ = 2z − 1, and the model gets clip(x_t + δ) as frames. The box [0, 1] of z is the box
[−1, 1] of δ; a larger δ would change no pixel further. The ball of radius ε/2 around ½ is the ball
of radius ε around δ = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from robench.attacks import Loss
from robench.attacks.contract.view import EstimatorChoice
from robench.engine.view import ModelView

SCALE = 2
"""Length in δ of a step of length 1 in z."""


def blank(frames: Tensor) -> Tensor:
    """The image that represents δ = 0, ``(N, C, H, W)`` for frames ``(N, T, C, H, W)``."""
    return torch.full_like(frames[:, 0], 0.5)


def shown(image: Tensor, frames: Tensor) -> Tensor:
    """The model's input, ``(N, T, C, H, W)``, for the attack's images and the clean frames."""
    return (frames + (SCALE * image - 1)[:, None]).clamp(0, 1)


def perturbation(image: Tensor, frames: Tensor) -> Tensor:
    """δ, ``(N, C, H, W)``, reduced to what remains after clipping in at least one frame."""
    return torch.clamp(SCALE * image - 1, -frames.amax(1), 1 - frames.amin(1))


@dataclass(kw_only=True)
class SharedView(ModelView):
    """A view in which an image represents the perturbation of all frames.

    Attributes:
        frames: the clean frames of each row, ``(N, T, C, H, W)``.
    """

    frames: Tensor

    def differentiable(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits ``(M, K)`` of the perturbed frames, through which autograd reaches ``x``."""
        calls = len(self.seen)
        frames = self.frames if rows is None else self.frames[rows]
        logits = super().differentiable(shown(x, frames), rows)
        self._rename(x, calls)
        return logits

    def gradient_and_logits(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        **estimator: Unpack[EstimatorChoice],
    ) -> tuple[Tensor, Tensor]:
        """The gradient at ``x``, summed over the frames without clipped pixels, and the logits."""
        calls = len(self.seen)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            frames = shown(leaf, self.frames)
        found, logits = super().gradient_and_logits(frames.detach(), y, loss, **estimator)
        self._rename(x, calls)
        (gradient,) = torch.autograd.grad(frames, leaf, found)
        return gradient, logits

    def _rename(self, x: Tensor, calls: int) -> None:
        """Replace the frames in the later entries of ``seen`` by the attack's images."""
        self.seen[calls:] = [(x.detach(), wrong) for _, wrong in self.seen[calls:]]
