"""The commands of ``robench analyze``: parse, call, print, as in :mod:`robench.cli`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from robench.evaluation import Plan
    from robench.results import CellResult, ResultStore

FIGURES, ATTACKS = Path("results/figures"), Path("docs/attacks.md")
DOCUMENT: Any = typer.Option(help="Put the tables into this document, e.g. docs/attacks.md.")
NO_RUN: Any = typer.Option("--no-run", help="Draw the tables that are there; compute nothing.")
CHECK: Any = typer.Option(
    "--check", help="Write nothing; exit 1 where --document (docs/attacks.md) is stale."
)

analyze = typer.Typer(help="Look into trainings and results.", no_args_is_help=True)


@analyze.command()
def curves(
    models: Annotated[str, typer.Option(help="all, ids or globs, with commas.")] = "all",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("results/figures"),
    models_dir: Annotated[
        Path | None, typer.Option("--models-dir", help="Look for checkpoints here first.")
    ] = None,
) -> None:
    """Draw accuracy and loss against epoch from the logs of the trainings."""
    from robench.analysis import find_logs, write_training_figures
    from robench.datasets import find_dataset

    if dataset is not None:
        find_dataset(dataset)
    patterns = [part.strip() for part in models.split(",") if part.strip()]
    logs = find_logs(patterns, dataset=dataset, models_dir=models_dir)
    for path in write_training_figures(logs, output):
        print(f"wrote {path}")


@analyze.command()
def budget(
    models: Annotated[str, typer.Option(help="all, ids or globs, with commas.")] = "all",
    attacks: Annotated[
        str, typer.Option(help="Names with commas; the first is compared with the others.")
    ] = "spgd,pgd,tour,sapgd,apgd-ce",
    eps: Annotated[
        str, typer.Option(help="One or more ε with commas, each attacked by itself.")
    ] = "8/255",
    budgets: Annotated[
        str, typer.Option(help="Gradient passes for each sample and ε.")
    ] = "20,40,80,160,320,640",
    limit: Annotated[str, typer.Option(help="How many images, as in run.")] = "200",
    split: Annotated[
        str, typer.Option(help="train, or test to look at the published images.")
    ] = "train",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the cells.")] = Path("out/budget"),
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
    """Draw robust accuracy against gradient passes; the same command goes on."""
    from robench.analysis import (
        budget_plans,
        budget_rows,
        budget_section,
        budget_table,
        write_budget_figure,
        write_table,
    )
    from robench.console import require_cells
    from robench.datasets import find_dataset, look_first_in
    from robench.evaluation import Request
    from robench.results import ResultStore
    from robench.zoo import find_attack, select_models, split_names

    if check:
        fill("budget", output, document or ATTACKS, budget_section, check=True)
        return
    failed = False
    if not no_run:
        if split not in ("train", "test"):
            raise UsageError(f"--split {split!r} is neither train nor test")
        if dataset is not None:
            find_dataset(dataset)
        if data_dir is not None:
            look_first_in(data_dir)
        named = [find_attack(name) for name in dict.fromkeys(split_names(attacks))]
        if not named:
            raise UsageError("no attack was named; see: robench list attacks")
        patterns = [part.strip() for part in models.split(",") if part.strip()]
        entries = select_models(patterns, dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        epsilons = [part.strip() for part in eps.split(",")]
        request = Request(limit=limit, sweep="ascending", split=split)  # type: ignore[arg-type]
        passes = _integers("--budgets", budgets)
        plans = budget_plans(entries, named, passes, epsilons, request, store)
        require_cells(plans[0])
        done = [result for plan in plans for result in results_of(plan, store)]
        failed = any(result.status == "failed" for result in done)
        rows, first = budget_rows(done, store), named[0].name
        _print_differences(rows, first)
        for name, part in rows.groupby("dataset"):
            path = output / f"{name}-budget.csv"
            write_table(budget_table(part, first, split), path)
            print(f"wrote {path}")
    draw_tables("budget", output, write_budget_figure)
    if document is not None:
        fill("budget", output, document, budget_section)
    if failed:
        raise typer.Exit(1)


def _integers(option: str, text: str) -> list[int]:
    """Positive integers with commas between them."""
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: write integers with commas, like 20,40,80") from None
    if values[0] < 1:
        raise UsageError(f"{option} {text!r}: each must be at least 1")
    return values


@analyze.command()
def members(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = Path(
        "results/figures"
    ),
) -> None:
    """Show which member of each attack broke how many samples, and at which ε."""
    from robench.analysis import read_breaks, write_members
    from robench.datasets import find_dataset
    from robench.results import ResultStore

    if dataset is not None:
        find_dataset(dataset)
    found, damaged = read_breaks(ResultStore(results), dataset=dataset)
    for file in damaged:
        print(f"left out, damaged: {file.path}: {file.reason}", file=sys.stderr)
    for one in found:
        print(one.line)
    for path in write_members(found, output):
        print(f"wrote {path}")


@analyze.command()
def transfer(
    models: Annotated[str, typer.Option(help="all, ids or globs, with commas.")] = "all",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="How many test images: a count, or a fraction such as 0.1.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Draw what is stored; compute nothing.")
    ] = False,
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    output: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("results/figures"),
    models_dir: Annotated[
        Path | None, typer.Option("--models-dir", help="Look for checkpoints here first.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Look for data sets here first.")
    ] = None,
) -> None:
    """Draw the matrix of source against target; what is not stored is computed first."""
    from robench.analysis import transfer_pairs, write_transfer_figure
    from robench.console import Progress, trouble_lines
    from robench.datasets import find_dataset, look_first_in
    from robench.evaluation import Request, run_plan
    from robench.results import ResultStore
    from robench.zoo import select_models

    if dataset is not None:
        find_dataset(dataset)
    if data_dir is not None:
        look_first_in(data_dir)
    patterns = [part.strip() for part in models.split(",") if part.strip()]
    entries = select_models(patterns, dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    if not no_run:
        store.require_writable()
    failed = 0
    for pairs in transfer_pairs(entries, Request(limit=limit, device=device), store, models_dir):
        for line in trouble_lines(pairs.plan):
            print(line, file=sys.stderr)
        found = pairs.stored()
        if not no_run:
            with Progress(pairs.plan, quiet=False) as progress:
                for result, computed in run_plan(pairs.plan, store, progress=progress.update):
                    progress.finish(result, computed)
                    failed += result.status == "failed"
                    found.append(result)
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
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    output: Annotated[Path, typer.Option(help="The document.")] = Path("docs/replication.md"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where the table is stale.")
    ] = False,
) -> None:
    """Put BioFlexNet's areas on MNIST and ours into the table of a document."""
    from robench.analysis import replication_section
    from robench.results import ResultStore

    if not results.is_dir():
        raise UsageError(f"there are no results in {results}; make them with: robench run")
    section, damaged = replication_section(ResultStore(results))
    for file in damaged:
        print(f"left out, damaged: {file.path}: {file.reason}", file=sys.stderr)
    put("replication", section, output, check=check)


def results_of(plan: Plan, store: ResultStore) -> Iterator[CellResult]:
    """The results of a plan, each told of when it is there."""
    from robench.console import Progress, trouble_lines
    from robench.evaluation import run_plan

    for line in trouble_lines(plan):
        print(line, file=sys.stderr)
    with Progress(plan, quiet=False) as progress:
        for result, computed in run_plan(plan, store, progress=progress.update):
            progress.finish(result, computed)
            yield result


def _print_differences(rows: pd.DataFrame, first: str) -> None:
    from robench.analysis import paired

    for found in paired(rows, first):
        low, high = 100 * found.interval.low, 100 * found.interval.high
        print(
            f"{found.model:24} {found.budget:>4} passes  {first} - {found.rival}: "
            f"{100 * found.mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
        )


def draw_tables(command: str, folder: Path, write_figure: Callable[[Path], Path]) -> None:
    """Draw a figure beside each table of a command in a folder.

    Raises:
        UsageError: there is none.
    """
    from robench.analysis import tables_in

    tables = tables_in(folder, command)
    if not tables:
        raise UsageError(f"there are no tables in {folder}; make them without --no-run")
    for table in tables:
        print(f"wrote {write_figure(table)}")


def fill(
    command: str,
    folder: Path,
    document: Path,
    section: Callable[[Path, Path], str],
    *,
    check: bool = False,
) -> None:
    """Put the tables of a folder into a document, or say whether they stand there."""
    put(command, section(folder, document), document, check=check)


def put(command: str, section: str, document: Path, *, check: bool) -> None:
    """Put a section into a document, or say whether it stands there; exit 1 where it does not."""
    from robench.analysis import fill_document

    same = fill_document(document, command, section, check=check)
    if check and not same:
        options = "" if command == "replication" else f" --no-run --document {document}"
        print(
            f"{document} is stale; make it again with: robench analyze {command}{options}",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    print(f"{document} is up to date" if check else f"wrote {document}")
