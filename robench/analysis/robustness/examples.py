"""Stored adversarial examples of several models on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.analysis.robustness.stored import StoredTables
from robench.datasets import find_dataset
from robench.errors import ContentError, UsageError
from robench.model_id import ModelId
from robench.registry.patterns import is_glob
from robench.reporting.figures import row_names
from robench.reporting.report import Entry, Row, Table, verdict_text
from robench.results import AdversarialExamples, Identity

Array = NDArray[np.float32]
CHANNELS = (1, 3)
"""Of images that can be drawn."""


@dataclass(frozen=True)
class Examples:
    """The adversarial examples of a model.

    Attributes:
        name: of the model.
        verdict: of the cell, with its reasons.
        images: ``(B, C, H, W)`` in [0, 1].
        epsilons: the minimal ε of each image, as text.
        predictions: the class of each; None where the model of the cell is not installed.
    """

    name: str
    verdict: str
    images: Array
    epsilons: tuple[str, ...]
    predictions: tuple[int, ...] | None


@dataclass(frozen=True)
class Gallery:
    """Adversarial examples of several models on the same images.

    Attributes:
        table: in which the cells are.
        attack: its name.
        labels: the true classes, ``(B,)``.
        clean: the images, ``(B, C, H, W)`` in [0, 1]; for frames their mean over time, as for the
            adversarial examples.
        examples: of each model.
    """

    table: Table
    attack: str
    labels: NDArray[np.int64]
    clean: Array
    examples: tuple[Examples, ...]

    @property
    def factor(self) -> int:
        """By how much a perturbation is enlarged, so that the largest fills half of [0, 1]."""
        largest = max(float(np.abs(one.images - self.clean).max()) for one in self.examples)
        return max(1, int(0.5 / max(largest, 1 / 255)))


def find_galleries(
    stored: StoredTables,
    attack: str,
    count: int,
    patterns: Sequence[str] = ("all",),
    models_dir: Path | None = None,
) -> list[Gallery]:
    """A gallery for each data set with stored adversarial examples of an attack.

    Of several tables of a data set, the one with the most models that have them is used.

    Args:
        stored: the tables with the models of interest.
        attack: its name.
        count: how many images.
        patterns: the models that the user asked for; each that is named has to be in it.
        models_dir: where the models that predict are looked for first.

    Raises:
        UsageError: there are no examples, or a named model has none, or no image has one of every
            model.
    """
    best: dict[str, tuple[Table, list[tuple[str, Row, Entry]]]] = {}
    for table in stored.tables:
        rows = [
            (name, row, row.entries[attack])
            for name, row in zip(row_names(table.rows), table.rows, strict=True)
            if attack in row.entries and _has_examples(stored, row.entries[attack])
        ]
        if rows and len(rows) > len(best.get(table.dataset.name, (table, []))[1]):
            best[table.dataset.name] = table, rows
    shown = {row.model for _, rows in best.values() for _, row, _ in rows}
    named = [pattern for pattern in patterns if pattern != "all" and not is_glob(pattern)]
    lacking = [model for model in named if model not in shown]
    if lacking or not best:
        models = ",".join(lacking or patterns)
        raise UsageError(
            f"no adversarial examples of {attack} for {models} in {stored.store.root}; make them "
            f"with: robench run --models {models} --attacks {attack} --keep-examples "
            f"--output {stored.store.root}"
        )
    return [_gallery(stored, t, attack, r, count, models_dir) for t, r in best.values()]


def _has_examples(stored: StoredTables, entry: Entry) -> bool:
    return stored.store.has_examples(stored.cells[entry.hash])


def _gallery(
    stored: StoredTables,
    table: Table,
    attack: str,
    rows: Sequence[tuple[str, Row, Entry]],
    count: int,
    models_dir: Path | None,
) -> Gallery:
    images = find_dataset(table.dataset.name).read("test").first(table.samples)
    if images.sha256 != table.data_sha256:
        raise ContentError(
            f"{table.title}: the test images are not those of the results; run the attack again"
        )
    kept: list[AdversarialExamples] = []
    common = np.arange(table.samples)
    for _, row, entry in rows:
        examples = stored.store.examples(stored.cells[entry.hash])
        if examples is None:
            raise ContentError(f"the adversarial examples of {row.model} cannot be read")
        kept.append(examples)
        found = np.flatnonzero(stored.positions(entry.hash) > 0)  # not wrong without an attack
        common = np.intersect1d(common, np.intersect1d(examples.index, found))
    if not len(common):
        names = ", ".join(name for name, _, _ in rows)
        raise UsageError(
            f"{table.title}: no image has an adversarial example of each of {names}; name fewer "
            "with --models"
        )
    index = first_of_each_class(common, images.labels, count)
    clean = images.tensor()[index].numpy()
    if clean.shape[-3] not in CHANNELS:
        raise UsageError(
            f"{table.title}: images with {clean.shape[-3]} channels cannot be drawn, only with "
            f"{' or '.join(map(str, CHANNELS))}"
        )
    shown = []
    for (name, row, entry), examples in zip(rows, kept, strict=True):
        places = {int(sample): place for place, sample in enumerate(examples.index)}
        adversarial = examples.images[[places[int(sample)] for sample in index]]
        outcome = stored.cells[entry.hash].outcome
        assert outcome is not None
        shown.append(Examples(
            name,
            verdict_text(entry.verdict, entry.reasons),
            _still(adversarial),
            tuple(table.grid[k].text for k in stored.positions(entry.hash)[index]),
            _predict(row.model, outcome.identity, adversarial, models_dir),
        ))  # fmt: skip
    return Gallery(table, attack, images.labels[index], _still(clean), tuple(shown))


def first_of_each_class(
    index: NDArray[np.int64], labels: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Up to ``count`` samples, from as many classes as possible, sorted by class.

    Args:
        index: of the samples, ascending.
        labels: the classes of all samples.
        count: the most samples.
    """
    seen: dict[int, int] = {}
    order = []
    for sample in index.tolist():
        label = int(labels[sample])
        seen[label] = seen.get(label, 0) + 1
        order.append((seen[label], sample))
    chosen = [sample for _, sample in sorted(order)[:count]]
    return np.array(sorted(chosen, key=lambda sample: (labels[sample], sample)), dtype=np.int64)


def _still(images: Array) -> Array:
    """Images as they are; of frames the mean over time."""
    mean: Array = images.mean(1) if images.ndim == 5 else images
    return mean


def _predict(
    model_id: str, identity: Identity, images: Array, models_dir: Path | None
) -> tuple[int, ...] | None:
    """The classes that the model of a cell predicts; None if it is not installed as it was."""
    import torch

    from robench.registry import model_entries
    from robench.runtime.device import placed

    entry = model_entries(models_dir).get(ModelId(model_id))
    if entry is None or entry.missing:
        return None
    model = entry.load()
    same = model.fingerprint == identity.fingerprint and model.timesteps == identity.timesteps
    if model.stochastic or not same:
        return None
    with placed(model, "cpu"), torch.no_grad():
        classes = model.logits(torch.from_numpy(images)).argmax(1)
    return tuple(int(number) for number in classes)
