"""AutoAttack by its authors' code on the networks without spikes, outside of robench's engine.

It shows that the numbers of robench do not depend on its engine: batches, steps, the choice of the
adversarial examples and their verification are the library's and this file's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from robench.datasets import find_dataset
from robench.errors import UsageError
from robench.registry import Model, ModelEntry
from robench.reporting.report import NORM
from studies.pages import TABLES, read_table, write_table
from studies.study import at_headlines

COLUMNS: dict[str, type] = {
    "dataset": str,
    "model": str,
    "weights_sha256": str,
    "data_sha256": str,
    "samples": int,
    "epsilon": str,
    "version": str,
    "clean": float,
    "robust": float,
    "seconds": float,
}
"""Of the table: a row for each network. ``clean`` and ``robust`` are accuracies."""
KEY = ("model", "weights_sha256", "data_sha256", "samples", "epsilon", "version")
"""The columns that identify a row; the others are measured."""
AUTHORS = TABLES / "autoattack.csv"
DISTRIBUTION, BATCH = "pyautoattack", 250
TOLERANCE = 1e-6


def attack_all(entries: Sequence[ModelEntry], limit: int | None, table: Path) -> None:
    """Attack networks at the headline ε of their data sets and keep a row for each.

    A network whose row is there already is not attacked again; rows of other networks stay.

    Args:
        entries: the networks; those with spikes are left out, because the library follows the
            gradient that a network itself gives.
        limit: the number of images; by default those of the protocol.
        table: the CSV.

    Raises:
        RobenchError: there is no ANN or no headline ε, or a network or its images cannot be read.
    """
    chosen = [entry for entry in entries if entry.card and entry.card.model.mode == "ann"]
    if not chosen:
        raise UsageError("none of these models is a registered ANN")
    chosen = [entry for _, here in at_headlines(chosen, NORM) for entry in here]
    rows: list[Any] = read_table(table, COLUMNS).to_dict("records") if table.is_file() else []
    for entry in chosen:
        key = _key(entry, limit)
        if any(all(row[name] == key[name] for name in KEY) for row in rows):
            print(f"{entry.id} is done")
            continue
        measured = _attack(entry.load(), key["samples"])
        rows = [row for row in rows if row["model"] != entry.id] + [key | measured]
        write_table(pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("model"), table)
        print(f"{entry.id} {measured['robust']:.1%} of {measured['clean']:.1%}")


def _key(entry: ModelEntry, limit: int | None) -> dict[str, Any]:
    dataset = find_dataset(entry.dataset)
    assert entry.card is not None
    samples = min(limit or dataset.protocol.slice, dataset.protocol.slice)
    return {
        "dataset": entry.dataset,
        "model": str(entry.id),
        "weights_sha256": entry.card.weights.sha256,
        "data_sha256": dataset.read("test").first(samples).sha256,
        "samples": samples,
        "epsilon": dataset.protocol.headline[NORM].text,
        "version": f"{DISTRIBUTION} {version(DISTRIBUTION)}",
    }


def _attack(model: Model, samples: int) -> dict[str, Any]:
    """Accuracy without and with the attack, in plain PyTorch."""
    from pyautoattack import AutoAttack  # type: ignore[import-untyped]  # of the extra oracles

    dataset = find_dataset(model.dataset)
    images, epsilon = dataset.read("test").first(samples), dataset.protocol.headline[NORM].value
    x, y, network = images.tensor(), images.targets(), model.module.eval()
    began = time.perf_counter()
    attack = AutoAttack(network, eps=epsilon, norm="Linf", version="standard", seed=0)
    found, _ = attack.run_standard_evaluation(x, y, batch_size=BATCH)
    seconds = time.perf_counter() - began
    allowed = (found - x).abs() <= epsilon + TOLERANCE
    allowed &= (found >= 0) & (found <= 1)
    outside = ~allowed.flatten(1).all(1)
    right = _right(network, x, y)
    robust = right & (_right(network, found, y) | outside)
    return {
        "clean": float(right.double().mean()),
        "robust": float(robust.double().mean()),
        "seconds": seconds,
    }


@torch.no_grad()
def _right(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Which images are classified correctly."""
    logits = torch.cat([network(part) for part in torch.split(x, BATCH)])
    return logits.argmax(1) == y
