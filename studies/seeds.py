"""How much the seed of a training changes its accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robench.errors import ContentError, UsageError
from robench.registry import SEEDS, ModelCard, model_folders
from robench.registry.cards import CARD
from studies.pages import markdown_table, page


@dataclass(frozen=True)
class Seeds:
    """Trainings of one recipe that differ only in the seed.

    Attributes:
        model: its id.
        accuracies: on the clean test images, by seed; the seed of the published weights is first.
        samples: the number of these images.
    """

    model: str
    accuracies: dict[int, float]
    samples: int

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(list(self.accuracies.values())))

    @property
    def deviation(self) -> float:
        """The standard deviation over the seeds, with n − 1 in the denominator."""
        return float(np.std(list(self.accuracies.values()), ddof=1))


def find_seeds(models_dir: Path | None = None) -> list[Seeds]:
    """The models that were trained with several seeds, sorted by id.

    Raises:
        ContentError: a card is damaged, or is of another training than its model's.
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
                    f"{path}: {reason}; train it again with --seed {path.parent.name} --restart"
                )
            accuracies[card.about.seed] = card.about.clean_accuracy
        found.append(Seeds(name, accuracies, own.about.clean_samples))
    return found


def _seed(path: Path) -> tuple[int, str]:
    """The seed in the name of a card's folder; other names come first."""
    name = path.parent.name
    return (int(name) if name.isdecimal() else -1, name)


def _differs(own: ModelCard, card: ModelCard) -> str:
    """How a seed's training differs from the model's; empty if only in the seed."""
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


def seeds_page(seeds: list[Seeds]) -> str:
    """The page, with accuracies in per cent.

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
    text = "\n".join([*markdown_table(head, rows, words=2), ""])
    return page("seeds", "Accuracy by seed of the training", text)
