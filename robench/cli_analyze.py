"""The commands of ``robench analyze``: parse, call, print, as in :mod:`robench.cli`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.errors import UsageError

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
def replication(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    output: Annotated[Path, typer.Option(help="The document.")] = Path("docs/replication.md"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where the table is stale.")
    ] = False,
) -> None:
    """Put BioFlexNet's areas on MNIST and ours into the table of a document."""
    from robench.analysis import fill, replication_section
    from robench.reporting import write
    from robench.results import ResultStore

    section, damaged = replication_section(ResultStore(results))
    for file in damaged:
        print(f"left out, damaged: {file.path}: {file.reason}", file=sys.stderr)
    try:
        before = output.read_text("utf-8")
        after = fill(before, section)
    except (UsageError, UnicodeDecodeError) as error:
        raise UsageError(f"{output}: {error}") from None
    if check and after != before:
        print(
            f"{output} is stale; make it again with: robench analyze replication", file=sys.stderr
        )
        raise typer.Exit(1)
    if not check:
        write(output, after)
    print(f"{output} is up to date" if check else f"wrote {output}")
