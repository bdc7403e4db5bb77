"""Spike rasters: when which neuron spikes on an image, and the rates of all layers over time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from robench.analysis.activity.forward import Forward, forward_passes
from robench.analysis.attacked import Attacked, images_of
from robench.analysis.measuring import Measured
from robench.errors import EvaluationError, UsageError
from robench.evaluation import Cell
from robench.registry import Model
from robench.results import Kind
from robench.runtime.batch_size import with_fewer

ROWS = 50
"""Images in a forward pass."""


@dataclass(frozen=True)
class Raster:
    """The measurement of spikes over time.

    Attributes:
        attacked: adversarial examples; None for clean images alone.
        samples: index of the image whose spikes are kept, by data set; the first one by default.
        neurons: the most of a layer that are kept; which ones depends on their number alone, so
            that models of one architecture have the same.
    """

    kind: ClassVar[Kind] = "raster"
    version: ClassVar[int] = 1
    attacked: Attacked | None = None
    samples: Mapping[str, int] = field(default_factory=dict)
    neurons: int = 200

    def settings(self, cell: Cell) -> dict[str, Any]:
        """The image, and the attack if there is one."""
        own = {"sample": self._sample(cell), "neurons": self.neurons}
        return own if self.attacked is None else own | self.attacked.settings(cell)

    def measure(self, cell: Cell) -> Measured:
        """Record the spikes.

        Raises:
            UsageError: the image is not among those that are measured.
            EvaluationError: the network does not spike.
        """
        index, conditions = images_of(cell, self.attacked)
        places = {int(sample): place for place, sample in enumerate(index)}
        sample = self._sample(cell)
        if sample not in places:
            of = "measured" if self.attacked is None else "that have an adversarial example"
            first = ", ".join(map(str, index[:8]))
            raise UsageError(f"--sample {sample}: choose one of the images {of}: {first}, …")
        summary: dict[str, Any] = {
            "sample": sample,
            "images": len(index),
            "label": int(cell.images.labels[sample]),
            "predictions": {},
        }
        arrays: dict[str, np.ndarray] = {}
        for name, x in conditions.items():
            seen = _record(cell.model, x, index, places[sample], self.neurons)
            if not seen.layers:
                raise EvaluationError("no neuron was found that spikes, so there is no raster")
            summary["layers"] = [layer.facts() for layer in seen.layers.values()]
            summary["predictions"][name] = seen.prediction
            for number, layer in enumerate(seen.layers.values()):
                parts = layer.arrays(len(index))
                arrays |= {f"{name}.{number}.{key}": value for key, value in parts.items()}
        return Measured(summary, arrays)

    def _sample(self, cell: Cell) -> int:
        return self.samples.get(cell.dataset.name, 0)


@dataclass
class _Layer:
    """The spikes of a layer over time.

    Attributes:
        name: of the layer.
        kept: which neurons are kept.
        neurons: their number in the layer.
        fired: spikes of the kept neurons on the image, a part for each call.
        population: share of the layer's neurons that spike on the image in each step.
        spikes: of each neuron on the image.
        rates: sum over the images of the share of neurons that spike, by step.
    """

    name: str
    kept: np.ndarray
    neurons: int
    fired: list[np.ndarray] = field(default_factory=list)
    population: list[float] = field(default_factory=list)
    spikes: np.ndarray | None = None
    rates: list[float] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {"layer": self.name, "neurons": self.neurons, "steps": len(self.population)}

    def arrays(self, images: int) -> dict[str, np.ndarray]:
        assert self.spikes is not None
        steps = len(self.population)
        return {
            "neurons": self.kept,
            "fired": np.concatenate(self.fired).astype(np.uint8),
            "population": np.array(self.population, dtype=np.float32),
            "spikes": np.bincount(self.spikes, minlength=steps + 1),
            "rates": np.array(self.rates, dtype=np.float32) / images,
        }


class _Seen:
    """Takes the spikes of forward passes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.layers: dict[str, _Layer] = {}
        self.prediction = -1

    def add(self, found: Forward, place: int | None) -> None:
        """Add a forward pass, with the place of the image if it is among its images."""
        calls: dict[str, int] = {}
        for layer, active, spikes in found.activations:
            if not spikes:
                continue
            flat = active.flatten(2).cpu()
            neurons = flat.shape[2]
            known = self.layers.setdefault(
                layer, _Layer(layer, chosen(neurons, self.most), neurons)
            )
            first = calls.get(layer, 0)
            calls[layer] = first + len(flat)
            known.rates += [0.0] * (calls[layer] - len(known.rates))
            for step, share in enumerate(flat.double().mean(2).sum(1).tolist(), first):
                known.rates[step] += share
            if place is not None:
                own = flat[:, place].numpy()
                known.fired.append(own[:, known.kept])
                known.population += own.mean(1).tolist()
                counts = own.sum(0)
                known.spikes = counts if known.spikes is None else known.spikes + counts


def _record(model: Model, x: Tensor, index: np.ndarray, place: int, most: int) -> _Seen:
    """The spikes of a model on images, and those of one of them one by one."""

    def recorded(rows: int) -> _Seen:
        seen = _Seen(most)
        for found in forward_passes(model, x, index, rows):
            here = place - found.first
            inside = 0 <= here < len(found.logits)
            seen.add(found, here if inside else None)
            if inside:
                seen.prediction = int(found.logits[here].argmax())
        return seen

    return with_fewer(recorded, min(ROWS, len(x)))


def chosen(neurons: int, most: int) -> np.ndarray:
    """At most so many neurons of a layer, ascending, the same for each layer of that size."""
    if neurons <= most:
        return np.arange(neurons)
    seed = int.from_bytes(hashlib.sha256(f"raster {neurons} {most}".encode()).digest()[:8])
    picked: np.ndarray = np.random.default_rng(seed).permutation(neurons)[:most]
    return np.sort(picked)
