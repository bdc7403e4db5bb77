"""A trial of a library's attack on a synthetic linear model, before any cell is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from robench.attacks.backends.library_attack import LibraryAttack
from robench.attacks.contract.view import EstimatorChoice, View
from robench.attacks.primitives.losses import Loss

SHAPE = (3, 8, 8)
CLASSES = 10
EPSILON = 0.01
CALLS = 32
"""Calls of the model after which a trial ends."""


class EnoughError(Exception):
    """Raised to end a trial before the attack ends."""


@dataclass
class LinearView(View):
    """The view of a linear model, with counters.

    Attributes:
        weight: ``(K, C·H·W)``.
        clean: the image that is attacked, ``(1, C, H, W)``.
        calls: calls of the model.
        elsewhere: calls on other images than the clean one.
        backwards: backward passes.
    """

    weight: Tensor
    clean: Tensor
    calls: int = 0
    elsewhere: int = 0
    backwards: int = 0
    classes: int = CLASSES
    spiking: bool = False
    hybrid: bool = False
    rated: bool = False
    close: bool = False
    sources: tuple[View, ...] = ()

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)``."""
        with torch.no_grad():
            return self.differentiable(x)

    def differentiable(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits ``(M, K)`` through which autograd reaches ``x``.

        Raises:
            ValueError: the images are not finite.
            EnoughError: the model was called ``CALLS`` times before.
        """
        if not x.isfinite().all():
            raise ValueError("with these parameters it tries images that are NaN or infinite")
        if self.calls >= CALLS:
            raise EnoughError
        self.calls += 1
        self.elsewhere += bool((x != self.clean).any())
        logits = x.flatten(1) @ self.weight.T
        if logits.requires_grad:
            logits.register_hook(self._passed)  # type: ignore[no-untyped-call]
        return logits

    def gradient_and_logits(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        **estimator: Unpack[EstimatorChoice],
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the cross-entropy at ``x``, and the logits."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.differentiable(x)
            value = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
        return torch.autograd.grad(value, x)[0], logits.detach()

    def _passed(self, _: Tensor) -> None:
        self.backwards += 1


def require_sound(attack: LibraryAttack, usual: LibraryAttack) -> None:
    """Run an attack on a synthetic image, and the same attack with the library's defaults.

    Args:
        attack: the attack with the user's parameters.
        usual: the same attack with the library's defaults.

    Raises:
        ValueError: the defaults take a gradient and the attack takes none; the defaults call the
            model on other images than the clean one and the attack does not; or the attack tries
            or returns images that are not finite.
        Exception: whatever the library raises.
    """
    try:
        wanted = _try(usual)
    except Exception:  # the image does not suit the attack: the trial decides nothing
        return
    found = _try(attack)
    if wanted.backwards and not found.backwards:
        raise ValueError("with these parameters it takes no gradient at all")
    if wanted.elsewhere and not (found.elsewhere or found.backwards):
        raise ValueError("with these parameters it shows the model no image but the clean one")


def _try(attack: LibraryAttack) -> LinearView:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, *SHAPE, generator=generator)
    view = LinearView(torch.randn(CLASSES, x.numel(), generator=generator), x)
    y = (x.flatten(1) @ view.weight.T).argmax(1)

    def noise(stream: str, draw: int | Tensor = 0, shape: Sequence[int] | None = None) -> Tensor:
        wanted = x.shape if shape is None else (1, *shape)
        return torch.rand(wanted, generator=torch.Generator().manual_seed(0))

    try:
        answer = attack.run(view, x, y, torch.tensor([EPSILON]), noise)
    except EnoughError:
        return view
    if not answer.isfinite().all():
        raise ValueError("with these parameters it returns images that are NaN or infinite")
    return view
