"""The commands of ``robench analyze``: parse, call, print, as in :mod:`robench.cli`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.cli_options import (
    DataDir,
    DatasetName,
    Device,
    Document,
    Figures,
    Limit,
    Models,
    ModelsDir,
    NoRun,
    Results,
    Tables,
    file_at,
    look_in,
    named_attacks,
    split_patterns,
)
from robench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

FIGURES, ATTACKS = Path("results/figures"), Path("docs/attacks.md")
CHECK: Any = typer.Option(
    "--check", help="Write nothing; exit 1 where --document (docs/attacks.md) is stale."
)

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
def budget(
    models: Models = "all",
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
    dataset: DatasetName = None,
    results: Results = Path("out/budget"),
    output: Tables = FIGURES,
    document: Document = None,
    no_run: NoRun = False,
    check: Annotated[bool, CHECK] = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
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
    from robench.console import carry_out, require_cells, trouble_lines
    from robench.evaluation import Request
    from robench.results import ResultStore
    from robench.zoo import select_models

    if check:
        fill("budget", output, document or ATTACKS, budget_section, check=True)
        return
    failed = False
    if not no_run:
        if split not in ("train", "test"):
            raise UsageError(f"--split {split!r} is neither train nor test")
        look_in(dataset, data_dir)
        named = named_attacks(attacks)
        entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        epsilons = [part.strip() for part in eps.split(",")]
        request = Request(limit=limit, sweep="ascending", split=split)  # type: ignore[arg-type]
        passes = _integers("--budgets", budgets)
        plans = budget_plans(entries, named, passes, epsilons, request, store)
        require_cells(plans[0])
        done = []
        for plan in plans:
            for line in trouble_lines(plan):
                print(line, file=sys.stderr)
            done.extend(carry_out(plan, store))
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
    from robench.console import carry_out, trouble_lines
    from robench.evaluation import Request
    from robench.results import ResultStore
    from robench.zoo import select_models

    look_in(dataset, data_dir)
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    if not no_run:
        store.require_writable()
    failed = 0
    for pairs in transfer_pairs(entries, Request(limit=limit, device=device), store, models_dir):
        for line in trouble_lines(pairs.plan):
            print(line, file=sys.stderr)
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
    output: Annotated[
        Path, typer.Option(parser=file_at("--output"), metavar="FILE", help="The document.")
    ] = Path("docs/replication.md"),
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
