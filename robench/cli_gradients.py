"""The command ``robench analyze gradients``: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.cli_analyze import ATTACKS, CHECK, FIGURES, draw_tables, fill
from robench.cli_options import (
    DataDir,
    DatasetName,
    Device,
    Document,
    Limit,
    ModelsDir,
    NoRun,
    Results,
    Tables,
    look_in,
    split_patterns,
)


def gradients(
    models: Annotated[
        str, typer.Option(help="all (that spike), ids or globs, with commas.")
    ] = "all",
    dataset: DatasetName = None,
    eps: Annotated[
        str | None, typer.Option(help="One ε; the headline of each data set else.")
    ] = None,
    limit: Limit = None,
    device: Device = "auto",
    results: Results = Path("out/gradients"),
    output: Tables = FIGURES,
    document: Document = None,
    no_run: NoRun = False,
    check: Annotated[bool, CHECK] = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Compare pgd through each surrogate and gradient path with the ensemble."""
    from robench.analysis import (
        gradient_comparisons,
        gradients_section,
        write_gradients_figure,
        write_table,
    )
    from robench.console import carry_out, require_cells, trouble_lines
    from robench.evaluation import Plan, Request
    from robench.results import ResultStore
    from robench.zoo import select_models

    if check:
        fill("gradients", output, document or ATTACKS, gradients_section, check=True)
        return
    failed = 0
    if not no_run:
        look_in(dataset, data_dir)
        entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        epsilons = None if eps is None else tuple(part.strip() for part in eps.split(","))
        request = Request(eps=epsilons, limit=limit, device=device)
        found = gradient_comparisons(entries, request, store, models_dir)
        skipped = tuple(one for comparison in found for one in comparison.plan.skipped)
        require_cells(Plan(tuple(c for one in found for c in one.plan.cells), skipped))
        for comparison in found:
            for line in trouble_lines(comparison.plan):
                print(line, file=sys.stderr)
            done = carry_out(comparison.plan, store)
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
