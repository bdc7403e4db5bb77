"""``robench analyze budget``, ``gradients`` and ``rank``: gradients and attacks beside each other.

Parse, call, print, as in :mod:`robench.cli`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli_options import (
    FIGURES,
    DataDir,
    DatasetName,
    Device,
    Document,
    Limit,
    Models,
    ModelsDir,
    NoRun,
    Results,
    Tables,
    file_at,
    look_in,
    named_attacks,
    put,
    split_patterns,
)
from robench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from robench.evaluation import Cell
    from robench.results import CellResult

ATTACKS = Path("docs/attacks.md")
Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Write nothing; exit 1 where --document (docs/attacks.md) is stale."
    ),
]
Epsilons = Annotated[str, typer.Option(help="One or more ε with commas, each attacked by itself.")]


def budget(
    models: Models = "all",
    attacks: Annotated[
        str, typer.Option(help="Names with commas; the first is compared with the others.")
    ] = "spgd,pgd,tour,sapgd,apgd-ce",
    eps: Epsilons = "8/255",
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
    check: Check = False,
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
    from robench.console import carry_out, print_troubles, require_cells
    from robench.evaluation import Request
    from robench.results import ResultStore
    from robench.zoo import select_models

    if check:
        page = document or ATTACKS
        written = f"--no-run --document {page}"
        put("budget", budget_section(output, page), page, check=True, options=written)
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
        request = Request(limit=limit, sweep="ascending", split=split)  # type: ignore[arg-type]
        passes = _integers("--budgets", budgets)
        plans = budget_plans(entries, named, passes, _epsilons(eps), request, store)
        require_cells(plans[0])
        done = []
        for plan in plans:
            print_troubles(plan)
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
        put("budget", budget_section(output, document), document, check=False)
    if failed:
        raise typer.Exit(1)


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
    check: Check = False,
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
    from robench.console import carry_out, print_troubles, require_cells
    from robench.evaluation import Plan, Request
    from robench.results import ResultStore
    from robench.zoo import select_models

    if check:
        page = document or ATTACKS
        written = f"--no-run --document {page}"
        put("gradients", gradients_section(output, page), page, check=True, options=written)
        return
    failed = 0
    if not no_run:
        look_in(dataset, data_dir)
        entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        epsilons = None if eps is None else tuple(_epsilons(eps))
        request = Request(eps=epsilons, limit=limit, device=device)
        found = gradient_comparisons(entries, request, store, models_dir)
        skipped = tuple(one for comparison in found for one in comparison.plan.skipped)
        require_cells(Plan(tuple(c for one in found for c in one.plan.cells), skipped))
        for comparison in found:
            print_troubles(comparison.plan)
            done = carry_out(comparison.plan, store)
            failed += sum(result.status == "failed" for result in done)
            table = comparison.table(done, store)
            if not table.empty:
                path = output / f"{comparison.dataset.name}-gradients.csv"
                write_table(table, path)
                print(f"wrote {path}")
    draw_tables("gradients", output, write_gradients_figure)
    if document is not None:
        put("gradients", gradients_section(output, document), document, check=False)
    if failed:
        print(f"{failed} cells failed; the same command tries them again.", file=sys.stderr)
        raise typer.Exit(1)


def rank(
    models: Models = "all",
    members: Annotated[
        str | None,
        typer.Option(help="Such as atan(2),triangle(1)/hart,bptr; the known ones by default."),
    ] = None,
    eps: Epsilons = "8/255",
    steps: Annotated[int, typer.Option(help="Steps of each run.")] = 20,
    keep: Annotated[int, typer.Option(help="Members of the ensemble that is proposed.")] = 4,
    limit: Annotated[str, typer.Option(help="How many training images.")] = "48",
    dataset: DatasetName = None,
    results: Results = Path("out/rank"),
    output: Annotated[
        Path | None,
        typer.Option(
            parser=file_at("--output"), metavar="FILE", help="The table; in --results by default."
        ),
    ] = None,
    device: Device = "auto",
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Rank surrogates and gradient paths by what each finds alone; the same command goes on."""
    from robench.analysis import (
        RANKED,
        ensemble,
        rank_lines,
        rank_plans,
        rank_table,
        ranks,
        write_table,
    )
    from robench.console import carry_out, print_troubles, require_cells
    from robench.evaluation import Request
    from robench.results import ResultStore
    from robench.zoo import select_models, split_names

    for option, value in (("--steps", steps), ("--keep", keep)):
        if value < 1:
            raise UsageError(f"{option} {value}: it must be at least 1")
    named = list(RANKED) if members is None else split_names(members)
    if not named:
        raise UsageError("--members names none; write them like atan(2),triangle(1)/hart,bptr")
    look_in(dataset, data_dir)
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    store.require_writable()
    request = Request(limit=limit, sweep="ascending", split="train", device=device)
    plans = rank_plans(entries, named, steps, _epsilons(eps), request, store)
    require_cells(plans[0])
    done: list[tuple[Cell, CellResult]] = []
    for plan in plans:
        print_troubles(plan)
        cells = [planned.cell for planned in plan.cells]
        done += zip(cells, carry_out(plan, store), strict=True)
    ranked = ranks(done, store, steps)
    for model in dict.fromkeys(one.model for one in ranked):
        here = [one for one in ranked if one.model == model]
        print(f"\n{model}")
        for line in rank_lines(here):
            print(line)
        print(f"--attacks '{ensemble(here, keep)}'")
    path = output or results / "rank.csv"
    write_table(rank_table(ranked), path)
    print(f"\nwrote {path}")
    if any(result.status == "failed" for _, result in done):
        raise typer.Exit(1)


def _epsilons(text: str) -> list[str]:
    """What stands between commas; an empty one is refused where it is read."""
    return [part.strip() for part in text.split(",")]


def _integers(option: str, text: str) -> list[int]:
    """Positive integers with commas between them."""
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: write integers with commas, like 20,40,80") from None
    if values[0] < 1:
        raise UsageError(f"{option} {text!r}: each must be at least 1")
    return values


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
