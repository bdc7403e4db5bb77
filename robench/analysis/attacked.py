"""Adversarial examples of stored cells, for what is measured of a model under attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robench.errors import EvaluationError
from robench.evaluation import Cell, Planned
from robench.results import AdversarialExamples, CellResult, ResultStore


@dataclass(frozen=True)
class Attacked:
    """The adversarial examples of an attack on some models, each at one ε.

    Attributes:
        planned: the cell of each model; what identifies its adversarial examples is known without
            them, so that an analysis of them is found where they are not stored.
        store: where the adversarial examples are.
    """

    planned: Mapping[str, Planned]
    store: ResultStore

    def settings(self, cell: Cell) -> dict[str, Any]:
        """What identifies the adversarial examples of a model."""
        of = self._of(cell)
        return {"attack": of.cell.attack.name, "epsilon": _epsilon(of), "cell": of.digest}

    def epsilon(self, cell: Cell) -> float:
        """The ε of the attack on a model."""
        return self._of(cell).cell.settings.grid[-1].value

    def pairs(self, cell: Cell) -> tuple[np.ndarray, Tensor, Tensor]:
        """Index, clean image and adversarial example of each sample that has one.

        Raises:
            EvaluationError: no sample has one.
        """
        found = self._examples(self._of(cell))
        return found.index, cell.images.tensor()[found.index], torch.from_numpy(found.images)

    def shared(self) -> dict[str, int]:
        """The first sample of each data set that has an adversarial example on every model.

        Raises:
            EvaluationError: a model has none, or the models share none.
        """
        samples: dict[str, set[int]] = {}
        for of in self.planned.values():
            index = set(self._examples(of).index.tolist())
            name = of.cell.dataset.name
            samples[name] = samples.get(name, index) & index
        for name, common in samples.items():
            if not common:
                raise EvaluationError(
                    f"no image of {name} has an adversarial example on all of these models; name "
                    "fewer of them, or give a larger --eps"
                )
        return {name: min(common) for name, common in samples.items()}

    def _examples(self, of: Planned) -> AdversarialExamples:
        model, attack = of.cell.model.id, of.cell.attack.name
        result = self.store.find(model, attack, of.digest)
        if not isinstance(result, CellResult) or result.outcome is None:
            reason = getattr(result, "reason", "")
            raise EvaluationError(
                f"{model}: there is no result of {attack}{reason and f': {reason}'}"
            )
        found = self.store.examples(result)
        if found is None or not len(found.index):
            raise EvaluationError(
                f"{model}: {attack} has no adversarial example at ε = {_epsilon(of)}: "
                + _why_none(result)
            )
        return found

    def _of(self, cell: Cell) -> Planned:
        return self.planned[cell.model.id]


def _why_none(result: CellResult) -> str:
    assert result.outcome is not None
    if result.outcome.clean_accuracy == 0:
        return "it misclassifies every image without attack"
    return "give a larger --eps"


def _epsilon(planned: Planned) -> str:
    return planned.cell.settings.grid[-1].text


def images_of(cell: Cell, attacked: Attacked | None) -> tuple[np.ndarray, dict[str, Tensor]]:
    """The index of the samples that are measured, and their images by condition.

    Args:
        cell: the model with its images.
        attacked: adversarial examples; then only the samples that have one are measured.

    Returns:
        Indices ``(N,)``; images ``(N, C, H, W)`` that are ``clean``, and ``adversarial`` ones.
    """
    if attacked is None:
        return np.arange(len(cell.images)), {"clean": cell.images.tensor()}
    index, clean, adversarial = attacked.pairs(cell)
    return index, {"clean": clean, "adversarial": adversarial}
