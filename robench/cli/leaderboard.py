"""``robench leaderboard``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from robench.cli.options import (
    Results,
    file_at,
    print_damaged,
    require_results,
    require_writable,
    shown,
)
from robench.errors import UsageError

Format = Literal["md", "html", "csv", "json"]


def leaderboard(
    results: Results = Path("results"),
    output: Annotated[
        Path | None,
        typer.Option(
            parser=file_at("--output"),
            metavar="FILE",
            help="The file to write; leaderboard.FORMAT beside or in the results by default.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the file is stale.")
    ] = False,
    format: Annotated[
        Format | None,
        typer.Option(help="Format of the file; what its name ends with by default, or md."),
    ] = None,
    all_runs: Annotated[
        bool, typer.Option("--all-runs", help="Show older runs too, and those without a result.")
    ] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="Leave out the published rows beside your own.")
    ] = False,
) -> None:
    """Make the leaderboard and its figures from the stored results."""
    from robench.registry import is_published, published
    from robench.reporting import (
        beside,
        build_report,
        figures_of,
        is_stale,
        link,
        page_of,
        page_of_checks,
        render,
        write,
        write_figures,
    )
    from robench.results import ResultStore

    require_results(results)
    format = format or _format_of(output)
    output = output or shown(page_of(results, format))
    others = None if alone or is_published(results) else published()
    report = beside(
        build_report(
            ResultStore(results),
            all_runs=all_runs,
            published=None if others is None else ResultStore(others),
        )
    )
    print_damaged(report.damaged)
    figures = figures_of(results, output)
    links = {"figures": link(figures, output), "checks": page_of_checks(output)}
    text = render(report, format, **links, all_runs=all_runs)
    if check:
        if is_stale(output, text):
            again = "robench leaderboard" + ("" if format == "md" else f" --format {format}")
            print(f"{output} is stale; make it again with: {again}", file=sys.stderr)
            raise typer.Exit(1)
        print(f"{output} is up to date")
        return
    require_writable("--output", output)
    wrote = str(output)
    if format in ("md", "html"):  # which show them
        require_writable("--output", figures)
        wrote += f" and {len(write_figures(report, figures))} figures in {shown(figures)}"
    write(output, text)
    left_out = [
        (report.older, "cells of older runs or networks"),
        (len(report.others), "runs without a result"),
    ]
    hidden = " and ".join(f"{number} {what}" for number, what in left_out if number)
    hint = f"; {hidden} left out: --all-runs shows them" if hidden and not all_runs else ""
    print(f"wrote {wrote}{hint}")


def _format_of(output: Path | None) -> Format:
    """The format that the name of a file asks for.

    Raises:
        UsageError: there is no such format.
    """
    ending = "md" if output is None else output.suffix.removeprefix(".") or "md"
    formats: tuple[Format, ...] = get_args(Format)
    for form in formats:
        if ending == form:
            return form
    raise UsageError(f"--output {output}: write {', '.join(f'.{f}' for f in formats)}")
