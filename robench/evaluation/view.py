"""The view through which an attack sees a model: it counts, and it remembers what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from robench.attacks import Loss
from robench.errors import EvaluationError
from robench.evaluation.workers import Workers
from robench.spiking import GradientPath, Surrogate
from robench.zoo import Model


@dataclass
class Ledger:
    """Counts for each sample of a chunk.

    Attributes:
        forwards: passes through the model without a gradient, ``(N,)``.
        backwards: gradient passes, each a forward and a backward, by stage, ``(N, stages)``.
        dead: those among them whose gradient was zero everywhere or not finite.
    """

    forwards: Tensor
    backwards: Tensor
    dead: Tensor

    @classmethod
    def empty(cls, n: int, stages: int = 1) -> Ledger:
        """All counts zero."""
        forwards = torch.zeros(n, dtype=torch.int64)
        return cls(forwards, *(torch.zeros(n, stages, dtype=torch.int64) for _ in range(2)))

    def blind(self) -> Tensor:
        """Samples on which gradients were taken and no stage had a usable one, ``(N,)``.

        A stage had none where at least half of its gradients were dead.
        """
        usable = (self.backwards > 0) & (self.dead * 2 < self.backwards)
        return (self.backwards > 0).any(1) & ~usable.any(1)


@dataclass
class ModelView:
    """A model bound to the rows of one call; see :class:`robench.attacks.View`.

    It carries the images to the device of the model, and logits and gradients back to where the
    images came from.

    Attributes:
        stage: of the attack, for the ledger.
        workers: share the rows of each call.
        seen: inputs that the deployed model was called on, with which of them it misclassified.
    """

    model: Model
    labels: Tensor
    samples: Tensor
    ledger: Ledger
    stage: int = 0
    workers: Workers = field(default_factory=lambda: Workers(shared=False))
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return self.model.classes

    @property
    def spiking(self) -> bool:
        """Whether surrogates and gradient paths can be substituted."""
        return self.model.spikes is not None

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the deployed model."""

        def part(rows: slice) -> Tensor:
            with torch.no_grad():
                return self.model.logits(x[rows].to(self.model.device)).to(x.device)

        logits = self._checked(torch.cat(self.workers.map(part, len(x))))
        count(self.ledger.forwards, self.samples, 1)
        self._remember(x, logits)
        return logits

    def gradient(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        *,
        surrogate: Surrogate | None = None,
        path: GradientPath | None = None,
        timesteps: int | None = None,
    ) -> Tensor:
        """``∂loss/∂x`` of each row; zero where no gradient reaches the input."""
        spikes = self.model.spikes
        swap = (
            nullcontext()
            if spikes is None or (surrogate is None and path is None)
            else spikes.override(surrogate=surrogate, path=path)
        )

        def part(rows: slice) -> tuple[Tensor, Tensor]:
            return _gradient(self.model, x[rows], y[rows], loss)

        with swap, self._timesteps(timesteps):
            parts = self.workers.map(part, len(x))
        logits = self._checked(torch.cat([logits for logits, _ in parts]))
        gradient = torch.cat([gradient for _, gradient in parts])
        count(self.ledger.backwards[:, self.stage], self.samples, 1)
        finite = gradient.isfinite().flatten(1).all(1)
        dead = ~finite | (gradient == 0).flatten(1).all(1)
        count(self.ledger.dead[:, self.stage], self.samples, dead)
        if timesteps is None:  # the substitutes change the backward pass alone
            self._remember(x.detach(), logits)
        return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def _remember(self, x: Tensor, logits: Tensor) -> None:
        self.seen.append((x, logits.argmax(1) != self.labels))

    @staticmethod
    def _checked(logits: Tensor) -> Tensor:
        if not logits.isfinite().all():
            raise EvaluationError("the model returned logits that are NaN or infinite")
        return logits

    @contextmanager
    def _timesteps(self, timesteps: int | None) -> Iterator[None]:
        module = self.model.module
        if timesteps is None:
            yield
            return
        old = module.timesteps
        module.timesteps = timesteps  # type: ignore[assignment]
        try:
            yield
        finally:
            module.timesteps = old


def _gradient(model: Model, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of the loss of each row, where ``x`` is."""
    home, device = x.device, model.device
    x = x.detach().to(device).requires_grad_()
    with torch.enable_grad():
        logits = model.logits(x)
        gradient = None
        if logits.requires_grad:
            value = _loss(logits, y.to(device), loss).sum()
            (gradient,) = torch.autograd.grad(value, x, allow_unused=True)
    gradient = torch.zeros_like(x) if gradient is None else gradient
    return logits.detach().to(home), gradient.to(home)


def count(counter: Tensor, samples: Tensor, what: Tensor | int) -> None:
    """Add to the counts of samples; one that appears in several rows is counted in each."""
    counter.index_add_(0, samples, torch.as_tensor(what, dtype=torch.int64).expand(len(samples)))


def _loss(logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """The loss that an attack raises, ``(N,)``."""
    if loss == "cross-entropy":
        return F.cross_entropy(logits, y, reduction="none")
    true = logits.gather(1, y[:, None]).squeeze(1)
    best_other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return best_other - true
