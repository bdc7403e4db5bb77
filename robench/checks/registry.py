"""The checks by kind: what each looks at, what it says, and what to do then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import pandas as pd
import torch
from torch import Tensor

from robench.attacks import Attack
from robench.engine.chunk import Chunk
from robench.engine.evaluation_draws import first_draw
from robench.engine.gradient import Gradient, take
from robench.engine.sweep import ChunkSweep
from robench.epsilon import Epsilon
from robench.errors import EvaluationError, PluginError
from robench.plugins import CHECKS, Plugin, plugins, the_plugin
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import with_fewer
from robench.runtime.threads import Workers
from robench.spiking import bound

Subject = TypeVar("Subject")


IMAGES = 64
"""Clean images of which the logits are looked at."""
GRADIENTS = 32
"""And of which a gradient is taken."""
FEWEST = 16
"""Fewest images on which gradients are compared with anything."""
PROBED = 64
"""Images that the checks in full attack again."""


@dataclass(frozen=True)
class Examined:
    """A model before an attack, on its device.

    Attributes:
        model: the model, surveyed.
        x: clean images, ``(N, C, H, W)``.
        y: their labels, ``(N,)``.
        rows: number of images in a batch of the evaluation.
    """

    model: Model
    x: Tensor
    y: Tensor
    rows: int = IMAGES

    @cached_property
    def logits(self) -> Tensor:
        """Logits of the first images, ``(M, K)``, as the network returns them."""
        return with_fewer(self._logits, min(len(self.x), IMAGES))

    @torch.no_grad()
    def _logits(self, most: int) -> Tensor:
        with self.drawn(most):
            return self.model.call(self.x[:most].to(self.model.device)).cpu()

    @property
    def predicted(self) -> tuple[Tensor, Tensor]:
        """The images of which gradients are taken, fewer where memory is short; their classes."""
        classes = self.logits[:GRADIENTS].argmax(1)
        return self.x[: len(classes)], classes

    @cached_property
    def gradient(self) -> Gradient:
        """The network's own gradient at the predicted classes of the first images, rescaled."""
        return with_fewer(self._gradient, min(len(self.logits), GRADIENTS))

    def _gradient(self, most: int) -> Gradient:
        model, classes = self.model, self.logits[:most].argmax(1)
        x, none = self.x[:most], [None] * most
        with self.drawn(most):
            return take(model.call, model.device, x, classes, "cross-entropy", none, rescale=True)

    def drawn(self, most: int) -> AbstractContextManager[None]:
        """Binds the random numbers of a stochastic model for the first images."""
        return bound(first_draw(self.model.dataset, most))


class Attacked(NamedTuple):
    """A cell after its sweep, with the model on its device.

    Attributes:
        model: the model under attack.
        attack: the attack.
        chunk: the first images.
        rows: of all samples, as in the Parquet file and with ``zero_gradient``.
        grid: the ε, from 0.
        limit: the upper limit of the AUC.
        seed: of the attack.
        sources: other models that the attack uses.
        published: whether model and images are those of the card's accuracy.
        eot: number of draws that a gradient of a stochastic model is averaged over.
        batch: number of images in a call.
        workers: threads that share them.
    """

    model: Model
    attack: Attack
    chunk: Chunk
    rows: pd.DataFrame
    grid: Sequence[Epsilon]
    limit: float
    seed: int
    sources: tuple[Model, ...]
    published: bool
    eot: int
    batch: int
    workers: Workers

    def again(
        self, attack: Attack, grid: Sequence[Epsilon], images: Sequence[int] = range(PROBED)
    ) -> pd.DataFrame:
        """The rows of another sweep over some of the first images."""
        chunk = self.chunk
        rows = [row for row in images if row < len(chunk.x)]
        part = replace(
            chunk, x=chunk.x[rows], y=chunk.y[rows], indices=[chunk.indices[row] for row in rows]
        )

        def sweep(batch: int) -> pd.DataFrame:
            return ChunkSweep(
                self.model, attack, part, grid, seed=self.seed, batch_size=batch,
                workers=self.workers, sources=self.sources, eot=self.eot,
            ).run()  # fmt: skip

        return with_fewer(sweep, self.batch)


@dataclass(frozen=True)
class Registered(Generic[Subject]):
    """A check.

    Attributes:
        name: as in results.
        measure: the check; None where it does not apply.
        sees: what it finds, in a sentence.
        advice: what to do then.
        source: who proposed it.
    """

    name: str
    measure: Callable[[Subject], Check | None]
    sees: str
    advice: str
    source: str = ""


class ModelCheck(Registered[Examined]):
    """A check of a model before an attack."""


class CellCheck(Registered[Attacked]):
    """A check of a cell after its sweep."""


C = TypeVar("C", bound=ModelCheck | CellCheck)


def with_plugins(own: Sequence[C], kind: type[C]) -> list[C]:
    """Robench's own checks of a kind, and those of plug-ins.

    A plug-in that cannot be used is left out, so that it stops no cell; ``robench list plugins``
    says why.
    """
    found, checks = plugins(CHECKS), list(own)
    for name in sorted(found):
        with suppress(PluginError):
            check = plugin_check(the_plugin(found, name))
            if isinstance(check, kind):
                checks.append(check)
    return checks


def plugin_check(plugin: Plugin) -> ModelCheck | CellCheck:
    """The check of a plug-in.

    Raises:
        PluginError: it cannot be imported, or is no check.
    """
    check = plugin.load()
    if not isinstance(check, ModelCheck | CellCheck):
        raise plugin.error(f"is a {type(check).__name__}, no ModelCheck or CellCheck")
    return check


def measured(checks: Sequence[Registered[Subject]], subject: Subject) -> list[Check]:
    """The records of those checks that apply, in their order."""
    found = (_measured(check, subject) for check in checks)
    return [record for record in found if record is not None]


def _measured(check: Registered[Subject], subject: Subject) -> Check | None:
    """The record of a check.

    Raises:
        EvaluationError: a plug-in's check raises, or returns something else.
    """
    if check.measure.__module__.partition(".")[0] == "robench":
        return check.measure(subject)
    try:
        record = check.measure(subject)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise EvaluationError(f"check {check.name} of a plug-in failed: {reason}") from error
    if record is not None and not isinstance(record, Check):
        kind = type(record).__name__
        raise EvaluationError(f"check {check.name} of a plug-in returned a {kind}, not a Check")
    return record
