"""``robench validate``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import (
    DataDir,
    Json,
    ModelsDir,
    Results,
    file_at,
    look_in,
    require_results,
)
from robench.text import counted


def validate(
    results: Results = Path("results"),
    models_dir: ModelsDir = None,
    leaderboard: Annotated[
        Path | None,
        typer.Option(
            parser=file_at("--leaderboard"),
            metavar="FILE",
            help="The page to compare; those beside the results by default.",
        ),
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Check stored results, models, cards and pages.

    Nothing is computed again, except what follows from the stored rows.
    """
    from robench.results import ResultStore
    from robench.validation import pages_beside
    from robench.validation import validate as look

    look_in(None, data_dir)
    require_results(results)
    pages = pages_beside(results) if leaderboard is None else [leaderboard]
    done = look(ResultStore(results), models_dir, pages)
    if json:
        findings = [finding.data for finding in done.findings]
        totals = {"errors": done.errors, "warnings": done.warnings}
        print(jsonlib.dumps({"findings": findings, "looked_at": done.counts} | totals, indent=1))
    else:
        for finding in done.findings:
            print(finding)
        looked = ", ".join(f"{number} {what}" for what, number in done.counts.items())
        found = f"{counted(done.errors, 'error')}, {counted(done.warnings, 'warning')}"
        print(f"looked at {looked}: {found}")
    if done.errors:
        raise typer.Exit(1)
