"""The group ``robench analyze``, with the commands that draw and tabulate what is stored."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from robench.cli.options import (
    FIGURES,
    CheckPage,
    DataDir,
    DatasetName,
    Device,
    Figures,
    Limit,
    Models,
    ModelsDir,
    NoRun,
    Page,
    Results,
    Tables,
    look_in,
    put,
    require_results,
    split_patterns,
)
from robench.errors import UsageError

analyze = typer.Typer(help="Look into trainings and results.", no_args_is_help=True)


@analyze.command()
def curves(
    models: Models = "all",
    dataset: DatasetName = None,
    output: Figures = FIGURES,
    models_dir: ModelsDir = None,
) -> None:
    """Draw accuracy and loss against epoch from the logs of the trainings."""
    from robench.analysis import find_logs, write_training_figures

    look_in(dataset, None)
    logs = find_logs(split_patterns(models), dataset=dataset, models_dir=models_dir)
    for path in write_training_figures(logs, output):
        print(f"wrote {path}")


@analyze.command()
def finders(
    results: Results = Path("results"),
    dataset: DatasetName = None,
    output: Tables = FIGURES,
) -> None:
    """Show which member of each attack broke how many samples, and at which ε."""
    from robench.analysis import read_breaks, write_members
    from robench.results import ResultStore

    look_in(dataset, None)
    found, damaged = read_breaks(ResultStore(results), dataset=dataset)
    for file in damaged:
        print(f"left out, damaged: {file.path}: {file.reason}", file=sys.stderr)
    for one in found:
        print(one.line)
    for path in write_members(found, output):
        print(f"wrote {path}")


@analyze.command()
def transfer(
    models: Models = "all",
    dataset: DatasetName = None,
    limit: Limit = None,
    device: Device = "auto",
    no_run: NoRun = False,
    results: Results = Path("results"),
    output: Figures = FIGURES,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Draw the matrix of source against target; what is not stored is computed first."""
    from robench.analysis import transfer_pairs, write_transfer_figure
    from robench.cli.console import carry_out, print_troubles
    from robench.evaluation import Request
    from robench.registry import select_models
    from robench.results import ResultStore

    look_in(dataset, data_dir)
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    if not no_run:
        store.require_writable()
    failed = 0
    for pairs in transfer_pairs(entries, Request(limit=limit, device=device), store, models_dir):
        print_troubles(pairs.plan)
        found = pairs.stored()
        if not no_run:
            computed = carry_out(pairs.plan, store)
            failed += sum(result.status == "failed" for result in computed)
            found += computed
        matrix = pairs.matrix(found)
        if matrix.entries:
            print(f"wrote {write_transfer_figure(matrix, output)}")
        elif no_run:
            name = pairs.dataset.name
            raise UsageError(f"{name}: no result of transfer is stored; leave out --no-run")
    if failed:
        print(f"{failed} cells failed; the same command tries them again.", file=sys.stderr)
        raise typer.Exit(1)


@analyze.command()
def replication(
    results: Results = Path("results"),
    output: Page = Path("docs/replication.md"),
    check: CheckPage = False,
) -> None:
    """Put BioFlexNet's areas on MNIST and ours into the table of a document."""
    from robench.analysis import replication_section
    from robench.results import ResultStore

    require_results(results)
    section, damaged = replication_section(ResultStore(results))
    for file in damaged:
        print(f"left out, damaged: {file.path}: {file.reason}", file=sys.stderr)
    put("replication", section, output, check=check)


@analyze.command()
def seeds(
    models_dir: ModelsDir = None,
    output: Page = Path("docs/training.md"),
    check: CheckPage = False,
) -> None:
    """Put the accuracies of trainings with several seeds into the table of a document."""
    from robench.analysis import find_seeds, seeds_section

    put("seeds", seeds_section(find_seeds(models_dir)), output, check=check)
