"""The shared code of commands that compute cells for a table of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from robench.cli.console import carry_out, print_troubles, require_cells
from robench.cli.options import look_in, split_patterns
from robench.evaluation import Plan
from robench.registry import ModelEntry, select_models
from robench.results import CellResult, ResultStore

Entries = Sequence[ModelEntry]
MakePlan = Callable[[Entries, ResultStore], Plan]


def measure(
    make_plan: MakePlan,
    results: Path,
    *,
    models: str,
    dataset: str | None,
    models_dir: Path | None,
    data_dir: Path | None,
) -> tuple[list[CellResult], ResultStore]:
    """Select models, plan their cells and evaluate those that are missing.

    Args:
        make_plan: gets the models and the store.
        results: the store's folder.
        models: as for ``--models``; the others too are what the options of that name say.
        dataset: see ``models``.
        models_dir: see ``models``.
        data_dir: see ``models``.

    Returns:
        The results, in the order of the plan, and the store.

    Raises:
        UsageError: there is nothing to do, or the store cannot be written to.
        RobenchError: a model that was named cannot run.
    """
    look_in(dataset, data_dir)
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    store.require_writable()
    plan = make_plan(entries, store)
    require_cells(plan)
    print_troubles(plan)
    return carry_out(plan, store), store


def require_success(results: Sequence[CellResult]) -> None:
    """Exit 1 where a cell failed."""
    if failed := sum(result.status == "failed" for result in results):
        print(f"{failed} cells failed; the same command tries them again.", file=sys.stderr)
        raise typer.Exit(1)
