"""The networks that the findings compare, and how they were trained."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from robench.datasets import find_dataset
from robench.registry import ModelCard
from robench.registry.cards import CARD
from robench.training import Recipe
from robench.training.log import LOG
from robench.training.recipe import RECIPE
from studies.findings.stores import DATASETS, Stores
from studies.pages import table_of


def networks_table(stores: Stores) -> str:
    """A row for each trained network: clean accuracy, schedule and training time."""
    tables = [table for name in DATASETS if (table := stores.table(name)) is not None]
    clean = {row.model: row.clean.value for table in tables for row in table.rows}
    rows = []
    for path in stores.models.glob(f"*/*/{CARD}"):
        card, recipe = ModelCard.read(path), path.with_name(RECIPE)
        dataset, short = path.parts[-3:-1]
        if dataset in DATASETS and not card.about.control and recipe.is_file():
            accuracy = clean.get(f"{dataset}/{short}", card.about.clean_accuracy)
            trained, minutes = _schedule(Recipe.read(recipe)), _minutes(path.with_name(LOG))
            rows.append((dataset, short, f"{accuracy:.1%}", trained, minutes))
    rows.sort(key=lambda row: (DATASETS.index(row[0]), row[1]))
    return table_of(
        ("data", "network", "clean", "trained", "minutes"),
        [(find_dataset(dataset).title, f"`{short}`", *rest) for dataset, short, *rest in rows],
        words=2,
    )


def _minutes(log: Path) -> str:
    """The time of a training if each of its steps took the median of its phase."""
    if not log.is_file():
        return "—"
    seconds = pd.read_csv(log).groupby("phase")["seconds"]
    return f"{max(1.0, float((seconds.median() * seconds.count()).sum()) / 60):.0f}"


def weights_of(models: Path, name: str) -> str:
    """The SHA-256 of a model's weights; empty if it is not there."""
    card = models / name / CARD
    return ModelCard.read(card).weights.sha256 if card.is_file() else ""


def _schedule(recipe: Recipe) -> str:
    """Epochs, T, ε and start of a training, in words."""
    table = recipe.training
    epochs = ", ".join(
        f"{epochs} epoch{'s' * (epochs > 1)}"
        + f" at T = {timesteps}" * (recipe.model.mode == "stbp")
        for epochs, timesteps in recipe.phases()
    )
    start = f", from `{table.init.partition('/')[2]}`" * bool(table.init)
    attacked = ", ".join(
        f"{phase.epochs} within {phase.epsilon}" for phase in table.adversarial_schedule
    )
    steps = f"{table.adversarial_steps} step{'s' * (table.adversarial_steps > 1)}"
    return epochs + start + f"; on images attacked in {steps}, {attacked}" * bool(attacked)
