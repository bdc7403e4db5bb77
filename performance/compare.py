"""Compare a new run of the digits benchmark with the published results.

Usage: ``python performance/compare.py PUBLISHED NEW``

For each published cell of the main job the largest difference of robust samples at any ε is
printed. The exit code is 1 if one is above 1 % of the samples, or if a published cell is
missing from the new run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from robench.results import CellResult, Outcome, ResultStore

DATASET = "digits"
ATTACKS = ("fgsm", "pgd", "spgd")
TOLERANCE = 0.01
"""As a fraction of the samples: two of 200."""

Cells = dict[tuple[str, str], Outcome]


def main() -> int:
    """Print the table; returns 0 if the two stores agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("published", type=Path, help="the store to compare with")
    parser.add_argument("new", type=Path, help="the store of the new run")
    arguments = parser.parse_args()
    published, new = (read(folder) for folder in (arguments.published, arguments.new))
    if not any(attack in ATTACKS and not old.control for (_, attack), old in published.items()):
        print(f"{arguments.published}: no done cell of {DATASET} to compare with", file=sys.stderr)
        return 1
    return compare(published, new)


def read(folder: Path) -> Cells:
    """The done cells of the digits data set by model and attack.

    Raises:
        SystemExit: a file cannot be read, or two cells share one model and one attack.
    """
    cells, damaged = ResultStore(folder).cells()
    if damaged:
        raise SystemExit(f"{damaged[0].path}: {damaged[0].reason}")
    return by_name(cell for cell in cells if cell.dataset == DATASET)


def by_name(cells: Iterable[CellResult]) -> Cells:
    """The outcomes of the done cells by model and attack."""
    outcomes: Cells = {}
    for cell in cells:
        if cell.outcome is None:
            continue
        key = (cell.model, cell.attack)
        if key in outcomes:
            raise SystemExit(f"{cell.model} under {cell.attack} is stored twice: compare one run")
        outcomes[key] = cell.outcome
    return outcomes


def compare(published: Cells, new: Cells) -> int:
    """Print one line for each published cell and the largest difference; returns the exit code."""
    wrong: list[str] = []
    largest = 0
    print(f"{'model':<28}{'attack':<10}{'samples':>8}{'largest difference':>20}")
    for (model, attack), old in sorted(published.items()):
        if old.control or attack not in ATTACKS:
            continue  # published, but not part of the main job
        samples = old.identity.samples
        found = new.get((model, attack))
        if found is None:
            wrong.append(f"{model} under {attack} is missing from the new run")
            print(f"{model:<28}{attack:<10}{samples:>8}{'missing':>20}")
            continue
        if (found.identity.samples, found.identity.grid) != (samples, old.identity.grid):
            wrong.append(f"{model} under {attack} was run on another slice or another grid of ε")
            print(f"{model:<28}{attack:<10}{samples:>8}{'not comparable':>20}")
            continue
        pairs = zip(old.curve, found.curve, strict=True)
        difference = max(abs(before.robust - after.robust) for before, after in pairs)
        largest = max(largest, difference)
        print(f"{model:<28}{attack:<10}{samples:>8}{difference:>20}")
        if difference > TOLERANCE * samples:
            wrong.append(f"{model} under {attack} differs by {difference} of {samples} samples")
    print(f"largest difference from the published numbers: {largest} samples")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
