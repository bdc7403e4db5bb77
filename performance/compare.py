"""Compare a new run of the digits benchmark with the published results, sample by sample.

Usage: ``python performance/compare.py PUBLISHED NEW``

Another processor rounds differently, so that the minimal ε of some samples moves: for as many up as
down. A new run agrees with the published results if

- it has every published cell of the main job, with the same images, weights and settings;
- as many samples move up as down by a sign test over all cells, in which a sample counts once for
  each model, because the attacks on a model share its rounding;
- the same holds in each cell, by sign tests with Holm's correction;
- the AUC changes by at most ``MEAN`` over all cells and by at most ``CELL`` in one, and at most the
  share ``MOVED`` of the samples of a cell moves.

Both kinds of test have the level ``LEVEL``. The exit code is 1 if the runs do not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from robench.reporting.leaderboard import page_of
from robench.results import CellResult, Identity, ResultStore
from robench.results.metrics import sample_areas

DATASET = "digits"
ATTACKS = ("fgsm", "pgd", "spgd")
LEVEL = 0.001
"""How often a sound run fails each kind of test, at most."""
MEAN, CELL, MOVED = 0.003, 0.015, 0.2
PAIRED = {"samples", "grid", "data_sha256"}
"""What two cells must share, so that their samples are pairs."""
DECIMALS = 9
"""Sums of another order differ behind these."""
Cells = dict[tuple[str, str], CellResult]
Changes = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A published cell and the same of the new run.

    Attributes:
        model: its model.
        attack: its attack.
        change: the AUC of each sample in the new run minus the published one, ``(N,)``.
    """

    model: str
    attack: str
    change: Changes

    def line(self) -> str:
        """A row of the printed table."""
        up, down = moved(self.change)
        samples, mean, p = len(self.change), self.change.mean(), sign_test(self.change)
        return f"{self.model:<22}{self.attack:<8}{samples:7}{up:6}{down:6}{mean:+10.5f}{p:8.2g}"


HEADING = f"{'model':<22}{'attack':<8}{'samples':>7}{'up':>6}{'down':>6}{'AUC':>10}{'p':>8}"


def main() -> int:
    """Print the table; returns 0 if the two stores agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("published", type=Path, help="the store to compare with")
    parser.add_argument("new", type=Path, help="the store of the new run")
    arguments = parser.parse_args()
    published, new = (read(folder) for folder in (arguments.published, arguments.new))
    job = {key: cell for key, cell in published.items() if is_of_the_main_job(cell)}
    if not job:
        print(f"{arguments.published}: no done cell of {DATASET} to compare with", file=sys.stderr)
        return 1
    pairs, wrong = paired(ResultStore(arguments.published), job, ResultStore(arguments.new), new)
    if pairs:
        print("\n".join([HEADING, *(pair.line() for pair in pairs), summary(pairs)]))
        wrong += disagreements(pairs)
    for line in wrong:
        print(line, file=sys.stderr)
    said = "does not agree with" if wrong else "agrees with"
    where = ", as the lines above say" if wrong else " up to the rounding of the processor"
    page = page_of(arguments.new)
    look = f"; look at {page}" if page.exists() else ""
    print(f"the new run {said} the published results{where}{look}")
    return 1 if wrong else 0


def read(folder: Path) -> Cells:
    """The cells of the digits data set by model and attack.

    Raises:
        SystemExit: a file cannot be read, or two cells share one model and one attack.
    """
    found, damaged = ResultStore(folder).cells()
    if damaged:
        raise SystemExit(f"{damaged[0].path}: {damaged[0].reason}")
    cells: Cells = {}
    for cell in (cell for cell in found if cell.dataset == DATASET):
        key = (cell.model, cell.attack)
        if key in cells:
            raise SystemExit(f"{cell.model} under {cell.attack} is stored twice: compare one run")
        cells[key] = cell
    return cells


def is_of_the_main_job(cell: CellResult) -> bool:
    """Whether a published cell is one that ``make benchmark`` computes."""
    return cell.attack in ATTACKS and cell.outcome is not None and not cell.outcome.control


def paired(
    published: ResultStore, job: Cells, store: ResultStore, new: Cells
) -> tuple[list[Pair], list[str]]:
    """The cells whose samples are pairs, and a line for each that is missing, failed or another."""
    pairs, wrong = [], []
    for (model, attack), old in sorted(job.items()):
        cell, name = new.get((model, attack)), f"{model} under {attack}"
        if cell is None:
            wrong.append(f"{name} is missing from the new run")
        elif cell.outcome is None or old.outcome is None:
            wrong.append(f"{name} is {cell.status} in the new run: {cell.reason}")
        else:
            before, after = old.outcome.identity, cell.outcome.identity
            keys = Identity.model_fields
            others = {key for key in keys if getattr(before, key) != getattr(after, key)}
            if others:
                wrong.append(f"{name} has another {', '.join(sorted(others))} in the new run")
            if not others & PAIRED:
                change = areas(store, cell, after) - areas(published, old, before)
                pairs.append(Pair(model, attack, change.round(DECIMALS)))
    return pairs, wrong


def areas(store: ResultStore, cell: CellResult, identity: Identity) -> NDArray[np.float64]:
    """The AUC of each sample up to the largest ε, ``(N,)``, in the order of the data set."""
    positions = store.rows(cell).sort_values("index")["minimal_position"].to_numpy(np.int64)
    grid = [float(text) for text in identity.grid]
    return sample_areas(positions, grid, grid[-1])


def disagreements(pairs: Sequence[Pair]) -> list[str]:
    """A line for each cell that rounding does not explain, and for all cells together."""
    wrong = []
    corrected = holm(np.array([sign_test(pair.change) for pair in pairs]))
    for pair, p in zip(pairs, corrected, strict=True):
        name, mean = f"{pair.model} under {pair.attack}", pair.change.mean()
        up, down = moved(pair.change)
        if p < LEVEL:
            wrong.append(f"{name}: {up} samples move up and {down} down, p = {p:.1g} (Holm)")
        if abs(mean) > CELL:
            wrong.append(f"{name}: the AUC changes by {mean:+.4f}, more than {CELL}")
        if up + down > MOVED * len(pair.change):
            wrong.append(f"{name}: {up + down} of {len(pair.change)} samples move")
    if sign_test(of_models(pairs)) < LEVEL:
        wrong.append("all cells: the samples move in one direction")
    if abs(np.concatenate([pair.change for pair in pairs]).mean()) > MEAN:
        wrong.append(f"all cells: the AUC changes by more than {MEAN}")
    return wrong


def of_models(pairs: Sequence[Pair]) -> Changes:
    """The change of each sample of each model, summed over the attacks."""
    sums = []
    for _, cells in groupby(pairs, lambda pair: (pair.model, len(pair.change))):
        sums.append(np.sum([pair.change for pair in cells], axis=0))
    return np.concatenate(sums).round(DECIMALS)


def moved(change: Changes) -> tuple[int, int]:
    """How many samples move up, and how many down."""
    return int((change > 0).sum()), int((change < 0).sum())


def sign_test(change: Changes) -> float:
    """The p-value of the exact sign test: whether as many samples move up as down."""
    up, down = moved(change)
    return float(binomtest(up, up + down).pvalue) if up + down else 1.0


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 1979)."""
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(corrected, 1)


def summary(pairs: Sequence[Pair]) -> str:
    """All cells on one line."""
    change = of_models(pairs)
    up, down = moved(change)
    mean = np.concatenate([pair.change for pair in pairs]).mean()
    return (
        f"of {len(change)} samples of all models, {up} move up and {down} down "
        f"(p = {sign_test(change):.2g}); the mean AUC changes by {mean:+.5f}"
    )


if __name__ == "__main__":
    sys.exit(main())
