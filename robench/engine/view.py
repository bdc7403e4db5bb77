"""The view of a model that an attack gets: it counts passes and records evaluated inputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robench.attacks import Loss
from robench.attacks.contract.view import EstimatorChoice, View
from robench.attacks.primitives.losses import CLOSE
from robench.attacks.primitives.per_sample import magnitude
from robench.engine.evaluation_draws import Draws, DrawSet, RowDraw, mean_of
from robench.engine.gradient import Gradient, derivable, differentiated, expected, take
from robench.engine.query_counter import QueryCounter, count
from robench.errors import EvaluationError
from robench.registry import Model
from robench.runtime.threads import Workers
from robench.spiking import NeuronStatistics, bound

Traced = tuple[Tensor, Tensor]
"""Some rows of an input, as a leaf, and their logits in its graph, on the model's device."""


@dataclass
class ModelView(View):
    """A model bound to the rows of one call; see :class:`robench.attacks.View`.

    It copies images to the device of the model, and logits and gradients back to the device of the
    images. The deployed form of a stochastic model is the mean over its evaluation draws; each draw
    is a pass.

    Attributes:
        model: the model under attack.
        labels: true label of each row, ``(N,)``.
        samples: index of each row's sample in the chunk, ``(N,)``.
        queries: the query counter of the chunk.
        stage: of the attack, for the query counter.
        workers: threads that share the rows of each call.
        others: models on which examples may be made.
        seen: inputs of the deployed model, each with a mask of the rows that it misclassified.
        draws: the random numbers of a stochastic model.
        draw_set: the draws of the deployed model.
        step: the step of its run that each row is in, ``(N,)``; None for the first.
        calls: number of gradients that were taken through this view.
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
        return self.model.spiking

    @property
    def hybrid(self) -> bool:
        """Whether it was trained without spikes, so that firing rates stand for activations."""
        return self.model.mode == "hybrid"

    @property
    def rated(self) -> bool:
        """Whether the rate of every layer is known, and with it the gradient of the rate."""
        return self.model.rated

    @property
    def close(self) -> bool:
        """Whether the logits are so close that the cross-entropy is nearly linear in them."""
        return self.model.discovery is not None and self.model.discovery.gap < CLOSE

    @property
    def sources(self) -> list[ModelView]:
        """A view of each other model, with a query counter for the other models."""
        queries = self.queries.on_sources or QueryCounter.empty(len(self.queries.forwards))
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
            logits = self._checked(mean_of(drawn), samples)
        else:
            draws = []
            parts = self._trace(x, tracked=tracked)
            logits = self._checked(_joined(parts, x), samples)
        count(self.queries.forwards, samples, max(1, len(draws)))
        if rows is None:
            self._remember(x.detach(), logits)
        if not tracked:
            return logits
        passed: Tensor = _Passage.apply(x, self, samples, parts, draws, logits)  # type: ignore[no-untyped-call]
        return passed

    def _trace(self, x: Tensor, *, tracked: bool, numbers: RowDraw | None = None) -> list[Traced]:
        """A call of the deployed model; of a stochastic model, with one draw."""

        def part(some: slice) -> Traced:
            leaf = x[some].detach().to(self.model.device).requires_grad_(tracked)
            with torch.set_grad_enabled(tracked):
                if numbers is None:
                    return leaf, self.model.logits(leaf)
                with bound(numbers.rows(range(len(x))[some])):
                    return leaf, self.model.logits(leaf)

        alone = tracked and self.model.row_by_row
        return self.workers.map(part, len(x), one_by_one=alone)

    def pull_back_draws(
        self, x: Tensor, draws: list[RowDraw], samples: Tensor, cotangent: Tensor
    ) -> Tensor:
        """The gradient at the input through the mean over draws, for a gradient at the mean logits.

        The forward pass of each draw is computed again, so that one graph is in memory at a time.
        """
        parts = (self._trace(x, tracked=True, numbers=one) for one in draws)
        found = [self._pulled(part, cotangent) for part in parts]
        return self._counted(mean_of(found), samples, draws=len(draws))

    def pull_back(self, parts: list[Traced], samples: Tensor, cotangent: Tensor) -> Tensor:
        """The gradient at the input of a traced call, for one at its logits; it is counted."""
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

    def gradient_and_logits(
        self,
        x: Tensor,
        y: Tensor,
        loss: Loss = "cross-entropy",
        **estimator: Unpack[EstimatorChoice],
    ) -> tuple[Tensor, Tensor]:
        """``∂loss/∂x`` of each row, zero if no gradient reaches the input, and the logits.

        Raises:
            EvaluationError: the path needs an ANN counterpart that the model lacks, or the logits
                are not finite.
        """
        surrogate, path = estimator.get("surrogate"), estimator.get("path")
        statistics = estimator.get("statistics")
        entries = (
            NeuronStatistics.empty(len(x)).entries if statistics is None else statistics.entries
        )
        rescale = derivable(self.model, surrogate, path)
        draws: list[RowDraw] = []
        if self.model.stochastic:
            step = torch.zeros_like(self.samples) if self.step is None else self.step
            draws = self.draws.for_gradient(self.samples, step, self.calls)
            self.calls += 1

        def part(rows: slice) -> Gradient:
            given = network, self.model.device, x[rows], y[rows], loss, entries[rows]
            if not draws:
                return take(*given, rescale=rescale)
            some = range(len(x))[rows]
            return expected(*given, [one.rows(some) for one in draws], rescale=rescale)

        with differentiated(self.model, surrogate, path) as (network, deployed):
            parts = self.workers.map(part, len(x), one_by_one=self.model.row_by_row)
        logits = self._checked(torch.cat([part.logits for part in parts]), self.samples)
        if deployed and not draws:
            self._remember(x.detach(), logits)  # a substitute changes only the backward pass
        if statistics is not None:
            after = [entry for part in parts for entry in part.statistics]
            known = zip(after, statistics.entries, strict=True)  # None if no layer recorded any
            statistics.entries = [old if new is None else new for new, old in known]
        again = torch.cat([part.again for part in parts])
        gradient = torch.cat([part.gradient for part in parts])
        return self._counted(gradient, self.samples, again, draws=max(1, len(draws))), logits

    def _counted(
        self, gradient: Tensor, samples: Tensor, again: Tensor | None = None, draws: int = 1
    ) -> Tensor:
        """The gradient with zeros where it is not finite; its passes are counted.

        ``again`` marks the rows with a second pass in each of the draws.
        """
        passes = torch.ones(len(gradient), dtype=torch.int64, device=gradient.device)
        passes += 0 if again is None else again
        passes *= draws
        count(self.queries.backwards[:, self.stage], samples, passes)
        size = magnitude(gradient)
        not_finite = ~size.isfinite()
        zero_gradients = not_finite | (size == 0)
        count(self.queries.zero_gradients[:, self.stage], samples, zero_gradients * passes)
        count(self.queries.not_finite, samples, not_finite * passes)
        return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def _remember(self, x: Tensor, logits: Tensor) -> None:
        self.seen.append((x, logits.argmax(1) != self.labels))

    @staticmethod
    def _checked(logits: Tensor, samples: Tensor) -> Tensor:
        if not logits.isfinite().all():
            bad = int(samples[(~logits.isfinite()).any(1).to(samples.device)][0])
            raise EvaluationError(
                f"the model returned logits that are NaN or infinite for image {bad} (the first "
                "is 0), or for a perturbation of it"
            )
        return logits


class _Passage(torch.autograd.Function):
    """A call of the model in the graph of an attack: the view computes and counts its backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        view: ModelView,
        samples: Tensor,
        parts: list[Traced],
        draws: list[RowDraw],
        logits: Tensor,
    ) -> Tensor:
        """The logits, which are computed already."""
        ctx.view, ctx.samples, ctx.parts, ctx.passes = view, samples, parts, 0
        ctx.draws = draws
        if draws:
            ctx.save_for_backward(x)
        return logits.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient at ``x``.

        The first backward pass turns the counted forward pass into a gradient pass. Through draws,
        the forward passes are computed again, so the first ones stay counted.
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
    """The logits of all parts, ``(N, K)``, on the device of the images."""
    return torch.cat([out.detach().to(x.device) for _, out in parts])
