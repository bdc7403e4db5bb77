"""The view through which an attack sees a model: it counts, and it remembers what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from robench.attacks import Loss
from robench.errors import EvaluationError
from robench.evaluation.workers import Workers
from robench.spiking import GradientPath, Surrogate
from robench.zoo import Model

Traced = tuple[Tensor, Tensor]
"""Some rows of an input, as a leaf, and their logits in its graph, where the model computes."""


@dataclass
class Ledger:
    """Counts for each sample of a chunk.

    Attributes:
        forwards: passes through the model without a gradient, ``(N,)``.
        backwards: gradient passes, each a forward and a backward, by stage, ``(N, stages)``.
        dead: those among them whose gradient was zero everywhere or not finite.
        elsewhere: the same for the source models, all of them together.
    """

    forwards: Tensor
    backwards: Tensor
    dead: Tensor
    elsewhere: Ledger | None = None

    @classmethod
    def empty(cls, n: int, stages: int = 1) -> Ledger:
        """All counts zero."""
        backwards, dead = (torch.zeros(n, stages, dtype=torch.int64) for _ in range(2))
        return cls(torch.zeros(n, dtype=torch.int64), backwards, dead)

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
        others: models on which examples may be made.
        seen: inputs that the deployed model was called on, with which of them it misclassified.
    """

    model: Model
    labels: Tensor
    samples: Tensor
    ledger: Ledger
    stage: int = 0
    workers: Workers = field(default_factory=lambda: Workers(shared=False))
    others: tuple[Model, ...] = ()
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return self.model.classes

    @property
    def spiking(self) -> bool:
        """Whether surrogates and gradient paths can be substituted."""
        return self.model.spikes is not None

    @property
    def sources(self) -> list[ModelView]:
        """A view of each other model; it counts in a ledger of its own."""
        ledger = self.ledger.elsewhere or Ledger.empty(len(self.ledger.forwards))
        return [
            ModelView(model, self.labels, self.samples, ledger, workers=self.workers)
            for model in self.others
        ]

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the deployed model."""
        with torch.no_grad():
            return self.differentiable(x)

    def differentiable(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits ``(M, K)`` through which autograd reaches ``x``; see the protocol."""
        samples = self.samples if rows is None else self.samples[rows]
        tracked = torch.is_grad_enabled() and x.requires_grad

        def part(some: slice) -> Traced:
            leaf = x[some].detach().to(self.model.device).requires_grad_(tracked)
            with torch.set_grad_enabled(tracked):
                return leaf, self.model.logits(leaf)

        parts = self.workers.map(part, len(x))
        logits = self._checked(torch.cat([out.detach().to(x.device) for _, out in parts]))
        count(self.ledger.forwards, samples, 1)
        if rows is None:
            self._remember(x.detach(), logits)
        if not tracked:
            return logits
        passed: Tensor = _Passage.apply(x, self, samples, parts, logits)  # type: ignore[no-untyped-call]
        return passed

    def pull_back(self, parts: list[Traced], samples: Tensor, cotangent: Tensor) -> Tensor:
        """The gradient at the input of a traced call, for a gradient at its logits; it counts."""
        sizes = [len(leaf) for leaf, _ in parts]
        pairs = list(zip(parts, torch.split(cotangent, sizes), strict=True))

        def part(pair: tuple[Traced, Tensor]) -> Tensor:
            (leaf, logits), weights = pair
            found = None
            if logits.requires_grad:
                (found,) = torch.autograd.grad(
                    logits, leaf, weights.to(logits.device), retain_graph=True, allow_unused=True
                )
            return (torch.zeros_like(leaf) if found is None else found).to(cotangent.device)

        return self._counted(torch.cat(self.workers.each(part, pairs)), samples)

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
        if timesteps is None:  # the substitutes change the backward pass alone
            self._remember(x.detach(), logits)
        return self._counted(gradient, self.samples)

    def _counted(self, gradient: Tensor, samples: Tensor) -> Tensor:
        """The gradient, noted in the ledger, with zeros where it is not finite."""
        count(self.ledger.backwards[:, self.stage], samples, 1)
        finite = gradient.isfinite().flatten(1).all(1)
        dead = ~finite | (gradient == 0).flatten(1).all(1)
        count(self.ledger.dead[:, self.stage], samples, dead)
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


class _Passage(torch.autograd.Function):
    """A call of the model in another's graph: its backward goes through the view and is counted."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, view: ModelView, samples: Tensor, parts: list[Traced], logits: Tensor
    ) -> Tensor:
        """The logits, which are there already."""
        ctx.view, ctx.samples, ctx.parts, ctx.passes = view, samples, parts, 0
        return logits.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient at ``x``; the first pass takes the forward pass with it."""
        if not ctx.passes:
            count(ctx.view.ledger.forwards, ctx.samples, -1)
        ctx.passes += 1
        return ctx.view.pull_back(ctx.parts, ctx.samples, cotangent), None, None, None, None


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
