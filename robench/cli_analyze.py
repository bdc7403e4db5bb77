"""The commands of ``robench analyze``: parse, call, print, as in :mod:`robench.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
