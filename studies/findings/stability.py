"""The evidence on the stability of training, from the logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.datasets import find_dataset
from robench.registry import SEEDS
from robench.training.log import LOG
from studies.findings.claims import Evidence


def stability(models: Path, dataset: str, mode: str) -> Iterator[Evidence]:
    """The difference between the falls of a mode's trainings; none without logs of both networks.

    A training is one number, the mean fall. Two trainings alone are compared epoch by epoch, which
    decides nothing: the epochs of a training depend on each other.

    Args:
        models: the folder of the models.
        dataset: name of the data set.
        mode: of the networks.
    """
    flex, plain = (falls(models / dataset / f"{kind}-{mode}") for kind in ("flex", "vgg16"))
    both = [seed for seed in flex if seed in plain and plain[seed].shape == flex[seed].shape]
    title = find_dataset(dataset).title
    if len(both) > 1:
        means = [np.array([of[seed].mean() for seed in both]) for of in (flex, plain)]
        yield Evidence.of_trainings(title, f"{mode}, {len(both)} trainings", means)
    elif both:
        values = [of[both[0]] for of in (flex, plain)]
        yield Evidence.of(title, mode, values, "one training of each")


def falls(folder: Path) -> dict[str, NDArray[np.float64]]:
    """By how much the test accuracy falls in each epoch but the first, by seed; 0 where it rises.

    Trainings of another length than the published one are left out.
    """
    found = {}
    for log in (folder / LOG, *sorted(folder.glob(f"{SEEDS}/*/{LOG}"))):
        if log.is_file():
            rows = pd.read_csv(log).dropna(subset=["train_loss"])  # not the steps of a conversion
            seed = "published" if log.parent == folder else log.parent.name
            rises = np.diff(rows["test_accuracy"].to_numpy(np.float64))
            found[seed] = np.maximum(-rises, 0)
    whole = found.get("published", np.array([])).shape
    return {seed: fall for seed, fall in found.items() if fall.size and fall.shape == whole}
