"""The view through which an attack sees a model: it counts, and it remembers what was seen."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robench.attacks import Loss
from robench.attacks.contract.view import Through
from robench.attacks.primitives.per_sample import magnitude
from robench.engine.evaluation_draws import Draws, DrawSet, Numbers, mean_of
from robench.engine.gradient import Gradient, expected, take
from robench.engine.query_counter import QueryCounter, count
from robench.errors import EvaluationError
from robench.registry import Model
from robench.runtime.threads import Workers
from robench.spiking import GradientPath, NeuronStatistics, Surrogate, bound, spiking_layers

Traced = tuple[Tensor, Tensor]
"""Some rows of an input, as a leaf, and their logits in its graph, where the model computes."""


@dataclass
class ModelView:
    """A model bound to the rows of one call; see :class:`robench.attacks.View`.

    It carries the images to the device of the model, and logits and gradients back to where the
    images came from. A stochastic model is deployed as the mean over the draws that decide; each
    draw is a pass.

    Attributes:
        stage: of the attack, for the ledger.
        workers: share the rows of each call.
        others: models on which examples may be made.
        seen: inputs that the deployed model was called on, with which of them it misclassified.
        draws: the random numbers of a stochastic model.
        judge: which of them the deployed model draws.
        step: of its run that each row is in, ``(N,)``; None for the first.
        calls: gradients that were taken through this view.
    """

    model: Model
    labels: Tensor
    samples: Tensor
    queries: QueryCounter
    stage: int = 0
    workers: Workers = field(default_factory=lambda: Workers(shared=False))
    others: tuple[Model, ...] = ()
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    draws: Draws = field(default_factory=Draws)
    draw_set: DrawSet = "evaluation"
    step: Tensor | None = None
    calls: int = 0

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return self.model.classes

    @property
    def spiking(self) -> bool:
        """Whether surrogates and gradient paths can be substituted."""
        return self.model.spikes is not None

    @property
    def hybrid(self) -> bool:
        """Whether it was trained without spikes, so that its rates stand for activations."""
        return self.model.mode == "hybrid"

    @property
    def sources(self) -> list[ModelView]:
        """A view of each other model; it counts in a ledger of its own."""
        queries = self.queries.elsewhere or QueryCounter.empty(len(self.queries.forwards))
        return [
            replace(self, model=model, queries=queries, stage=0, others=(), seen=[], calls=0)
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
        parts: list[Traced] = []
        if self.model.stochastic:
            draws = self.draws.for_evaluation(samples, self.draw_set)
            drawn = [_joined(self._trace(x, tracked=False, numbers=one), x) for one in draws]
            logits = self._checked(mean_of(drawn))
        else:
            draws = []
            parts = self._trace(x, tracked=tracked)
            logits = self._checked(_joined(parts, x))
        count(self.queries.forwards, samples, max(1, len(draws)))
        if rows is None:
            self._remember(x.detach(), logits)
        if not tracked:
            return logits
        passed: Tensor = _Passage.apply(x, self, samples, parts, draws, logits)  # type: ignore[no-untyped-call]
        return passed

    def _trace(self, x: Tensor, *, tracked: bool, numbers: Numbers | None = None) -> list[Traced]:
        """A call of the deployed model, in one draw where there are numbers."""

        def part(some: slice) -> Traced:
            leaf = x[some].detach().to(self.model.device).requires_grad_(tracked)
            with torch.set_grad_enabled(tracked):
                if numbers is None:
                    return leaf, self.model.logits(leaf)
                with bound(numbers.rows(range(len(x))[some])):
                    return leaf, self.model.logits(leaf)

        return self.workers.map(part, len(x))

    def pull_back_draws(
        self, x: Tensor, draws: list[Numbers], samples: Tensor, cotangent: Tensor
    ) -> Tensor:
        """The same through the mean over draws, each computed anew: one graph is alive at once."""
        parts = (self._trace(x, tracked=True, numbers=one) for one in draws)
        found = [self._pulled(part, cotangent) for part in parts]
        return self._counted(mean_of(found), samples, draws=len(draws))

    def pull_back(self, parts: list[Traced], samples: Tensor, cotangent: Tensor) -> Tensor:
        """The gradient at the input of a traced call, for a gradient at its logits; it counts."""
        return self._counted(self._pulled(parts, cotangent), samples)

    def _pulled(self, parts: list[Traced], cotangent: Tensor) -> Tensor:
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

        return torch.cat(self.workers.each(part, pairs))

    def gradient(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        **through: Unpack[Through],
    ) -> Tensor:
        """``∂loss/∂x`` of each row; zero where no gradient reaches the input.

        Raises:
            EvaluationError: the path asks for an ANN counterpart that the model lacks, or the
                logits are not finite.
        """
        surrogate, path = through.get("surrogate"), through.get("path")
        statistics = through.get("statistics")
        module, swap = self._through(surrogate, path)
        entries = (
            NeuronStatistics.empty(len(x)).entries if statistics is None else statistics.entries
        )
        rescale = self._derivable(surrogate, path)
        draws: list[Numbers] = []
        if self.model.stochastic:
            step = torch.zeros_like(self.samples) if self.step is None else self.step
            draws = self.draws.for_gradient(self.samples, step, self.calls)
            self.calls += 1

        def part(rows: slice) -> Gradient:
            given = module, self.model.device, x[rows], y[rows], loss, entries[rows]
            if not draws:
                return take(*given, rescale=rescale)
            some = range(len(x))[rows]
            return expected(*given, [one.rows(some) for one in draws], rescale=rescale)

        with swap:
            parts = self.workers.map(part, len(x))
        logits = self._checked(torch.cat([part.logits for part in parts]))
        if module is self.model.module and not draws:
            self._remember(x.detach(), logits)  # the substitutes change the backward pass alone
        if statistics is not None:
            after = [entry for part in parts for entry in part.statistics]
            known = zip(after, statistics.entries, strict=True)  # no layer may have kept any
            statistics.entries = [old if new is None else new for new, old in known]
        again = torch.cat([part.again for part in parts])
        gradient = torch.cat([part.gradient for part in parts])
        return self._counted(gradient, self.samples, again, draws=max(1, len(draws)))

    def _through(
        self, surrogate: Surrogate | None, path: GradientPath | None
    ) -> tuple[nn.Module, AbstractContextManager[None]]:
        """The network that a gradient is taken through, and what swaps its derivatives."""
        spikes = self.model.spikes
        if spikes is None or (surrogate is None and path is None):
            return self.model.module, nullcontext()
        if path is not None and path.counterpart:
            counterpart = self.model.counterpart()
            if counterpart is None:
                raise EvaluationError(
                    f"gradient path {path.name}: model {self.model.id} has no ANN counterpart"
                )
            return counterpart.to(self.model.device), nullcontext()
        return self.model.module, spikes.override(surrogate=surrogate, path=path)

    def _derivable(self, surrogate: Surrogate | None, path: GradientPath | None) -> bool:
        """Whether a gradient of zero may be a matter of scale: not behind spikes without one."""
        if surrogate is not None or (path is not None and not path.takes_surrogate):
            return True
        return all(layer.surrogate is not None for layer in spiking_layers(self.model.module))

    def _counted(
        self, gradient: Tensor, samples: Tensor, again: Tensor | None = None, draws: int = 1
    ) -> Tensor:
        """The gradient, noted in the query counter, with zeros where it is not finite.

        ``again`` tells which rows took a second pass in each of the draws.
        """
        passes = torch.ones(len(gradient), dtype=torch.int64, device=gradient.device)
        passes += 0 if again is None else again
        passes *= draws
        count(self.queries.backwards[:, self.stage], samples, passes)
        size = magnitude(gradient)
        zero_gradients = ~size.isfinite() | (size == 0)
        count(self.queries.zero_gradients[:, self.stage], samples, zero_gradients * passes)
        return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def _remember(self, x: Tensor, logits: Tensor) -> None:
        self.seen.append((x, logits.argmax(1) != self.labels))

    @staticmethod
    def _checked(logits: Tensor) -> Tensor:
        if not logits.isfinite().all():
            raise EvaluationError("the model returned logits that are NaN or infinite")
        return logits


class _Passage(torch.autograd.Function):
    """A call of the model in another's graph: its backward goes through the view and is counted."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        view: ModelView,
        samples: Tensor,
        parts: list[Traced],
        draws: list[Numbers],
        logits: Tensor,
    ) -> Tensor:
        """The logits, which are there already."""
        ctx.view, ctx.samples, ctx.parts, ctx.passes = view, samples, parts, 0
        ctx.draws = draws
        if draws:
            ctx.save_for_backward(x)
        return logits.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient at ``x``; the first pass takes the forward pass with it.

        That through draws computes them anew, so their forward passes stay counted.
        """
        if ctx.draws:
            (x,) = ctx.saved_tensors
            gradient = ctx.view.pull_back_draws(x, ctx.draws, ctx.samples, cotangent)
            return gradient, None, None, None, None, None
        if not ctx.passes:
            count(ctx.view.queries.forwards, ctx.samples, -1)
        ctx.passes += 1
        gradient = ctx.view.pull_back(ctx.parts, ctx.samples, cotangent)
        return gradient, None, None, None, None, None


def _joined(parts: list[Traced], x: Tensor) -> Tensor:
    """The logits of all parts, ``(N, K)``, where the images came from."""
    return torch.cat([out.detach().to(x.device) for _, out in parts])
