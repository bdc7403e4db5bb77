"""Spikes, synaptic operations and energy of a model: of each layer and in total."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from robench.analysis.activity.forward import Forward, forward_passes
from robench.analysis.attacked import Attacked, images_of
from robench.analysis.measuring import Measured
from robench.evaluation import Cell
from robench.registry import Model
from robench.results import E_AC, E_MAC, Kind
from robench.results.metrics import bootstrap
from robench.runtime.batch_size import with_fewer

ROWS = 50
"""Images in a forward pass."""


@dataclass(frozen=True)
class Activity:
    """The measurement of activity: clean, or clean and under an attack on the same images.

    Attributes:
        attacked: the adversarial examples; None for clean images alone.
    """

    kind: ClassVar[Kind] = "activity"
    version: ClassVar[int] = 1
    attacked: Attacked | None = None

    def settings(self, cell: Cell) -> dict[str, Any]:
        """The attack, if there is one."""
        return {} if self.attacked is None else self.attacked.settings(cell)

    def measure(self, cell: Cell) -> Measured:
        """Count on all images; under an attack on those that have an adversarial example."""
        index, conditions = images_of(cell, self.attacked)
        found = cell.model.discovery
        summary: dict[str, Any] = {"not_followed": [] if found is None else found.own}
        arrays: dict[str, np.ndarray] = {"index": index}
        for name, x in conditions.items():
            totals = count(cell.model, x, index)
            summary[name] = totals.summary()
            arrays |= {f"{name}.{key}": values for key, values in totals.by_image().items()}
        return Measured(summary, arrays)


def count(model: Model, x: Tensor, index: np.ndarray) -> Totals:
    """Count the activations and operations of a model, which is on its device and surveyed.

    Args:
        model: the model.
        x: images, ``(N, C, H, W)``.
        index: of each image's sample in the data set, ``(N,)``: its random numbers.
    """

    def counted(rows: int) -> Totals:
        totals = Totals()
        for found in forward_passes(model, x, index, rows):
            totals.add(found)
        return totals

    return with_fewer(counted, min(ROWS, len(x)))


@dataclass
class _Activity:
    """The activations of a layer."""

    spikes: bool
    active: list[float] = field(default_factory=list)
    values: int = 0
    neurons: int = 0
    fired: Tensor | None = None

    @property
    def silent(self) -> float:
        """The share of neurons that are active on no image."""
        assert self.fired is not None
        return 1 - float(self.fired.double().mean())


@dataclass
class _Operations:
    """The operations of a layer, for each image."""

    macs: list[float] = field(default_factory=list)
    acs: list[float] = field(default_factory=list)
    dense: list[float] = field(default_factory=list)


@dataclass
class Totals:
    """What was counted on some images.

    Attributes:
        operations: by layer.
        activations: by layer.
        images: their number.
        uncounted: operations of torch that are not counted.
    """

    operations: dict[str, _Operations] = field(default_factory=dict)
    activations: dict[str, _Activity] = field(default_factory=dict)
    images: int = 0
    uncounted: set[str] = field(default_factory=set)

    def add(self, found: Forward) -> None:
        """Count a forward pass."""
        before, images = self.images, len(found.logits)
        self.images += images
        for layer, active, spikes in found.activations:
            of = self.activations.setdefault(layer, _Activity(spikes))
            of.values += active.numel()
            of.neurons = active[0, 0].numel()
            fired = active.any(0).any(0)
            of.fired = fired if of.fired is None else of.fired | fired
            _add(of.active, before, active.flatten(2).sum((0, 2)))
        for layer, effective, dense, spikes in found.operations:
            known = self.operations.setdefault(layer, _Operations())
            _add(known.acs if spikes else known.macs, before, effective)
            _add(known.dense, before, dense)
        self.uncounted |= found.uncounted

    def by_image(self) -> dict[str, np.ndarray]:
        """Spikes, operations and energy (pJ) of each image, ``(N,)``."""
        layers = self.operations.values()
        macs, acs, dense = (
            self._sum([getattr(of, what) for of in layers]) for what in ("macs", "acs", "dense")
        )
        energy = E_MAC * macs + E_AC * acs
        return {
            "spikes": self._sum([of.active for of in self.activations.values() if of.spikes]),
            "macs": macs,
            "acs": acs,
            "synops": macs + acs,
            "dense": dense,
            "energy": energy,
        }

    def _sum(self, layers: list[list[float]]) -> np.ndarray:
        """The sum over layers of what each counted, ``(N,)``."""
        total = np.zeros(self.images)
        for values in layers:
            total[: len(values)] += values
        return total

    def summary(self) -> dict[str, Any]:
        """The layers, and the totals for an image with their intervals over the images."""
        total: dict[str, Any] = {}
        for name, values in self.by_image().items():
            interval = bootstrap(values)
            total[name] = {
                "value": float(values.mean()), "low": interval.low, "high": interval.high
            }  # fmt: skip
        layers = self.activations.values()
        everything = sum(of.values for of in layers)
        spiking = sum(of.values for of in layers if of.spikes)
        active = sum(sum(of.active) for of in layers)
        total["sparsity"] = 1 - active / everything if everything else None
        total["rate"] = total["spikes"]["value"] * self.images / spiking if spiking else None
        return {
            "images": self.images,
            "total": total,
            "activations": [self._activation(name, of) for name, of in self.activations.items()],
            "operations": [self._operation(name, of) for name, of in self.operations.items()],
            "not_counted": sorted(self.uncounted),
        }

    def _activation(self, name: str, of: _Activity) -> dict[str, Any]:
        active = sum(of.active)
        return {
            "layer": name,
            "spikes": of.spikes,
            "neurons": of.neurons,
            "steps": of.values // (of.neurons * self.images),
            "active": active / self.images,
            "density": active / of.values,
            "silent": of.silent,
        }

    def _operation(self, name: str, of: _Operations) -> dict[str, Any]:
        macs, acs, dense = (sum(part) / self.images for part in (of.macs, of.acs, of.dense))
        energy = E_MAC * macs + E_AC * acs
        return {"layer": name, "macs": macs, "acs": acs, "dense": dense, "energy": energy}


def _add(counts: list[float], before: int, values: Tensor) -> None:
    """Add the counts of further images, or of another call with the same images."""
    counts += [0.0] * (before + len(values) - len(counts))
    for place, value in enumerate(values.tolist(), before):
        counts[place] += value
