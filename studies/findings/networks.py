"""The networks that the findings compare, and how they were trained."""

from __future__ import annotations

from pathlib import Path

from robench.datasets import find_dataset
from robench.registry import ModelCard
from robench.registry.cards import CARD
from robench.training import Recipe
from robench.training.recipe import RECIPE
from studies.findings.measured import DATASETS
from studies.pages import table_of


def networks_table(models: Path) -> str:
    """A row for each trained network: clean accuracy, schedule and training time."""
    rows = []
    for path in models.glob(f"*/*/{CARD}"):
        card, recipe = ModelCard.read(path), path.with_name(RECIPE)
        dataset, short = path.parts[-3:-1]
        if dataset in DATASETS and not card.about.control and recipe.is_file():
            trained = _schedule(Recipe.read(recipe))
            accuracy, minutes = f"{card.about.clean_accuracy:.1%}", f"{60 * card.about.hours:.0f}"
            rows.append((dataset, short, accuracy, trained, minutes))
    rows.sort(key=lambda row: (DATASETS.index(row[0]), row[1]))
    return table_of(
        ("data", "network", "clean", "trained", "minutes"),
        [(find_dataset(dataset).title, f"`{short}`", *rest) for dataset, short, *rest in rows],
        words=2,
    )


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
    return epochs + start + f"; on attacked images {attacked}" * bool(attacked)
