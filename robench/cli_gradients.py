"""The command ``robench analyze gradients``: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli_analyze import (
    ATTACKS,
    CHECK,
    DOCUMENT,
    FIGURES,
    NO_RUN,
    draw_tables,
    fill,
    results_of,
)


def gradients(
    models: Annotated[
        str, typer.Option(help="all (that spike), ids or globs, with commas.")
    ] = "all",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    eps: Annotated[
        str | None, typer.Option(help="One ε; the headline of each data set else.")
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="How many test images: a count, or a fraction such as 0.1.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    results: Annotated[Path, typer.Option(help="Folder of the cells.")] = Path("out/gradients"),
    output: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = FIGURES,
    document: Annotated[Path | None, DOCUMENT] = None,
    no_run: Annotated[bool, NO_RUN] = False,
    check: Annotated[bool, CHECK] = False,
    models_dir: Annotated[
        Path | None, typer.Option("--models-dir", help="Look for checkpoints here first.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Look for data sets here first.")
    ] = None,
) -> None:
    """Compare pgd through each surrogate and gradient path with the ensemble."""
    from robench.analysis import (
        gradient_comparisons,
        gradients_section,
        write_gradients_figure,
        write_table,
    )
    from robench.console import require_cells
    from robench.datasets import find_dataset, look_first_in
    from robench.evaluation import Plan, Request
    from robench.results import ResultStore
    from robench.zoo import select_models

    if check:
        fill("gradients", output, document or ATTACKS, gradients_section, check=True)
        return
    failed = 0
    if not no_run:
        if dataset is not None:
            find_dataset(dataset)
        if data_dir is not None:
            look_first_in(data_dir)
        patterns = [part.strip() for part in models.split(",") if part.strip()]
        entries = select_models(patterns, dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        epsilons = None if eps is None else tuple(part.strip() for part in eps.split(","))
        request = Request(eps=epsilons, limit=limit, device=device)
        found = gradient_comparisons(entries, request, store, models_dir)
        skipped = tuple(one for comparison in found for one in comparison.plan.skipped)
        require_cells(Plan(tuple(c for one in found for c in one.plan.cells), skipped))
        for comparison in found:
            done = list(results_of(comparison.plan, store))
            failed += sum(result.status == "failed" for result in done)
            table = comparison.table(done, store)
            if not table.empty:
                path = output / f"{comparison.dataset.name}-gradients.csv"
                write_table(table, path)
                print(f"wrote {path}")
    draw_tables("gradients", output, write_gradients_figure)
    if document is not None:
        fill("gradients", output, document, gradients_section)
    if failed:
        print(f"{failed} cells failed; the same command tries them again.", file=sys.stderr)
        raise typer.Exit(1)
