"""How far the accuracy of a training depends on its seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robench.analysis.document import markdown_table
from robench.errors import ContentError, UsageError
from robench.registry import SEEDS, ModelCard, model_folders
from robench.registry.cards import CARD


@dataclass(frozen=True)
class Seeds:
    """Trainings of one recipe that differ in the seed alone.

    Attributes:
        model: its id.
        accuracies: on the clean test images, by seed; that of the published weights comes first.
        samples: how many images that is.
    """

    model: str
    accuracies: dict[int, float]
    samples: int

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(list(self.accuracies.values())))

    @property
    def deviation(self) -> float:
        """The standard deviation of a seed, estimated from these."""
        return float(np.std(list(self.accuracies.values()), ddof=1))


def find_seeds(models_dir: Path | None = None) -> list[Seeds]:
    """The models that were trained with several seeds, sorted by id.

    Raises:
        ContentError: a card is damaged, or belongs to another training than its model's.
    """
    found = []
    for name, folder in sorted(model_folders(models_dir).items()):
        cards = sorted(folder.glob(f"{SEEDS}/*/{CARD}"), key=_seed)
        if not cards:
            continue
        own = ModelCard.read(folder / CARD)
        accuracies = {own.about.seed: own.about.clean_accuracy}
        for path in cards:
            card = ModelCard.read(path)
            if path.parent.name != str(card.about.seed):
                raise ContentError(f"{path}: the seed is {card.about.seed}, not the folder's")
            if reason := _differs(own, card):
                raise ContentError(
                    f"{path}: {reason}; train it anew with --seed {path.parent.name} --restart"
                )
            accuracies[card.about.seed] = card.about.clean_accuracy
        found.append(Seeds(name, accuracies, own.about.clean_samples))
    return found


def _seed(path: Path) -> tuple[int, str]:
    """The seed that a card's folder is named after; names that are no number come first."""
    name = path.parent.name
    return (int(name) if name.isdecimal() else -1, name)


def _differs(own: ModelCard, card: ModelCard) -> str:
    """In what a seed's card is not that of the same training."""
    pairs = {
        "network": (own.model, card.model),
        "number of epochs": (own.about.epochs, card.about.epochs),
        "start": (own.about.init, card.about.init),
        "training images": (own.about.data, card.about.data),
        "test images": (own.about.clean_samples, card.about.clean_samples),
    }
    if own.about.seed == card.about.seed:
        return "the same seed as the model's"
    return next(
        (f"another {what} than the model's" for what, (a, b) in pairs.items() if a != b), ""
    )


def seeds_section(seeds: list[Seeds]) -> str:
    """The table as Markdown, accuracies in per cent.

    Raises:
        UsageError: there is nothing to show.
    """
    if not seeds:
        raise UsageError("no model has a second seed; make one with: robench train MODEL --seed 1")
    rows = [
        [
            f"`{one.model}`",
            ", ".join(f"{seed}: {value:.1%}" for seed, value in one.accuracies.items()),
            f"{one.mean:.1%}",
            f"{100 * one.deviation:.2f}",
            f"{one.samples:,}",
        ]
        for one in seeds
    ]
    head = ["model", "accuracy by seed", "mean", "standard deviation, points", "images"]
    return "\n".join([*markdown_table(head, rows, words=2), ""])
