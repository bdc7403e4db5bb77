"""What each part of FLEX contributes: variants trained by one recipe, attacked by one attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import robench
from robench.architectures import FlexConfig
from robench.datasets import find_dataset
from robench.errors import UsageError
from robench.results import ROBUST, ResultStore
from robench.results.metrics import bootstrap
from robench.training import Display, Recipe, find_recipe, train
from studies.pages import markdown_table, page

REFERENCE = "flex"
VARIANTS: dict[str, tuple[str, dict[str, Any] | None]] = {
    REFERENCE: ("FLEX", {}),
    "adaptive": ("FLEX, λ = 0.1", {"plasticity": 0.1}),
    "soft": ("soft mask", {"sigmoid": "soft"}),
    "frozen": ("frozen mask", {"threshold": "frozen"}),
    "redrawn": ("θ drawn at each call", {"threshold": "redrawn"}),
    "half": ("mask of 1/2", {"sigmoid": "half"}),
    "pooling": ("pooling alone", {"sigmoid": "zero"}),
    "vgg16": ("VGG16", None),
}
"""The title of a variant, and its options of the flexible layer; None has no such layer. The first
one routes, and does not adapt."""
MODES = ("ann", "stbp")
"""A network of the second one starts from that of the first."""
COLUMNS = {
    "dataset": str,
    "mode": str,
    "variant": str,
    "seeds": int,
    "clean": float,
    "clean_by_seed": str,
    "attack": str,
    "version": str,
    "epsilon": str,
    "accuracy": float,
    "robust_by_seed": str,
    "difference": float,
    "low": float,
    "high": float,
    "verdicts": str,
}
"""Of the table. ``clean`` and ``accuracy``, the robust one, are means over the seeds; their values
by seed have spaces between them."""


@dataclass(frozen=True)
class Variant:
    """A training of a variant.

    Attributes:
        dataset: name of the data set.
        mode: ``ann`` or ``stbp``.
        name: of the variant.
        seed: of the training.
    """

    dataset: str
    mode: str
    name: str
    seed: int

    @property
    def id(self) -> str:
        """The id of the model: variant, mode and seed."""
        return f"{self.dataset}/{self.name}-{self.mode}-{self.seed}"

    def recipe(self) -> Recipe:
        """That of FLEX in the same mode, with the options of the variant."""
        _, own = find_recipe(f"{self.dataset}/flex-{self.mode}")
        title, options = VARIANTS[self.name]
        model: dict[str, Any] = {"architecture": "vgg16", "flex": FlexConfig()}
        if options is not None:
            usual = {"plasticity": 0.0, "sigmoid": "hard", "threshold": "trained"}
            model = {"flex": own.model.flex.model_copy(update=usual | options)}
        training: dict[str, Any] = {"seed": self.seed}
        if own.training.init:
            training["init"] = Variant(self.dataset, "ann", self.name, self.seed).id
        return own.model_copy(
            update={
                "model": own.model.model_copy(update=model),
                "training": own.training.model_copy(update=training),
                "about": own.about.model_copy(update={"description": f"{title}."}),
            }
        )


def variants(
    datasets: Sequence[str], seeds: int, names: Sequence[str], modes: Sequence[str]
) -> list[Variant]:
    """All trainings; those that start from others come after them.

    Args:
        datasets: names of data sets.
        seeds: trainings of each variant.
        names: the variants; the reference is among them.
        modes: some of :data:`MODES`, the first one among them.

    Raises:
        UsageError: a variant or a mode is unknown, or the first one is missing.
    """
    for what, given, known in (("variants", names, tuple(VARIANTS)), ("modes", modes, MODES)):
        if known[0] not in given or not set(given) <= set(known):
            raise UsageError(
                f"--{what} {','.join(given)}: write {known[0]}, and any of {', '.join(known[1:])}"
            )
    return [
        Variant(dataset, mode, name, seed)
        for dataset in datasets
        for seed in range(seeds)
        for mode in modes
        for name in names
    ]


def train_variants(wanted: Sequence[Variant], folder: Path) -> None:
    """Train what is not trained yet, into ``folder/DATASET/NAME``; the same call continues."""
    for one in wanted:
        recipe = one.recipe()
        with Display(one.id, recipe.training.epochs) as display:
            train(
                recipe, folder / one.id, display.row, start="resume", advance=display.advance,
                device="cpu",
            )  # fmt: skip


def ablation_table(
    wanted: Sequence[Variant], folder: Path, store: ResultStore, attack: str, limit: str | None
) -> pd.DataFrame:
    """A row for each data set, mode and variant; cells that are missing in the store are computed.

    The difference from the reference is that of the robust accuracies at the headline ε, of the
    same images, where each image counts with its mean over the seeds.
    """
    rows = []
    groups: dict[tuple[str, str], dict[str, list[Variant]]] = {}
    for one in wanted:
        groups.setdefault((one.dataset, one.mode), {}).setdefault(one.name, []).append(one)
    for (dataset, mode), by_name in groups.items():
        robust: dict[str, NDArray[np.float64]] = {}
        headline = find_dataset(dataset).protocol.headline["linf"].text
        for name, trainings in by_name.items():
            cells = [
                robench.evaluate(
                    robench.load_folder(folder / one.id), attack, eps=[headline], limit=limit,
                    device="cpu", store=store.root,
                ).cells[0]
                for one in trainings
            ]  # fmt: skip
            outcomes = [cell.outcome for cell in cells if cell.outcome is not None]
            clean = [outcome.clean_accuracy for outcome in outcomes]
            left = [store.rows(cell)["minimal_position"] == ROBUST for cell in cells]
            robust[name] = np.mean(left, axis=0)
            difference = robust[name] - robust[REFERENCE]
            interval, identity = bootstrap(difference), outcomes[0].identity
            rows.append(
                {
                    "dataset": dataset, "mode": mode, "variant": name, "seeds": len(trainings),
                    "clean": float(np.mean(clean)), "clean_by_seed": _joined(clean),
                    "attack": identity.attack, "version": identity.attack_version,
                    "epsilon": headline, "accuracy": float(robust[name].mean()),
                    "robust_by_seed": _joined([float(one.mean()) for one in left]),
                    "difference": float(difference.mean()),
                    "low": interval.low, "high": interval.high,
                    "verdicts": ", ".join(sorted({outcome.verdict for outcome in outcomes})),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _joined(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def merged(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """The new rows, and the old ones of other data sets."""
    return pd.concat([old[~old["dataset"].isin(new["dataset"])], new], ignore_index=True)


def ablations_page(table: pd.DataFrame) -> str:
    """The page, with a table for each data set and mode."""
    text = f"{_NOTE}\n\n" + "\n".join(_lines(table))
    return page("ablations", "What each part of FLEX contributes", text)


_NOTE = (
    "Each variant is trained by the recipe of FLEX in its mode, and attacked on the protocol's "
    f"test images. {VARIANTS[REFERENCE][0]} has a mask by the hard sigmoid and λ = 0. Accuracies "
    "are means over the seeds; a seed is that of the whole chain of trainings. Brackets are 95 % "
    "intervals of the paired difference over the images, where an image counts with its mean over "
    "the seeds; they do not cover other seeds."
)


def _lines(table: pd.DataFrame) -> Iterator[str]:
    for (dataset, mode), part in table.groupby(["dataset", "mode"], sort=False):
        records = part.to_dict("records")
        attack = f"{records[0]['attack']} at {records[0]['epsilon']}"
        minus = f"minus {VARIANTS[REFERENCE][0]}, points"
        head = ["variant", "clean", attack, "by seed", minus, "verdict"]
        yield f"## {dataset}, {mode}\n"
        yield from markdown_table(head, map(_cells, records), words=1)
        yield ""


def _cells(record: dict[Any, Any]) -> list[str]:
    difference, low, high = (100 * record[key] for key in ("difference", "low", "high"))
    return [
        VARIANTS[record["variant"]][0],
        f"{record['clean']:.1%}",
        f"{record['accuracy']:.1%}",
        ", ".join(f"{float(one):.1%}" for one in record["robust_by_seed"].split()),
        "—" if record["variant"] == REFERENCE else f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]",
        record["verdicts"],
    ]
