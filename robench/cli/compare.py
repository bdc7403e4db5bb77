"""``robench analyze gradients`` and ``rank``: surrogates and gradient paths beside each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli.options import (
    FIGURES,
    CheckAttacks,
    DataDir,
    DatasetName,
    Device,
    Document,
    Epsilons,
    Limit,
    Models,
    ModelsDir,
    NoRun,
    Results,
    Tables,
    check_attacks,
    draw_tables,
    file_at,
    look_in,
    put,
    require_place,
    split_epsilons,
    split_patterns,
)
from robench.errors import UsageError

if TYPE_CHECKING:
    from robench.evaluation import Cell
    from robench.results import CellResult


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
    check: CheckAttacks = False,
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
    from robench.cli.console import carry_out, print_troubles, require_cells
    from robench.evaluation import Plan, Request
    from robench.registry import select_models
    from robench.results import ResultStore

    if check:
        check_attacks("gradients", lambda page: gradients_section(output, page), document)
        return
    require_place("gradients", document)
    failed = 0
    if not no_run:
        look_in(dataset, data_dir)
        entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        epsilons = None if eps is None else tuple(split_epsilons(eps))
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
    finders: Annotated[
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
    from robench.cli.console import carry_out, print_troubles, require_cells
    from robench.evaluation import Request
    from robench.registry import select_models, split_names
    from robench.results import ResultStore

    for option, value in (("--steps", steps), ("--keep", keep)):
        if value < 1:
            raise UsageError(f"{option} {value}: it must be at least 1")
    named = list(RANKED) if finders is None else split_names(finders)
    if not named:
        raise UsageError("--members names none; write them like atan(2),triangle(1)/hart,bptr")
    look_in(dataset, data_dir)
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    store.require_writable()
    request = Request(limit=limit, sweep="ascending", split="train", device=device)
    plans = rank_plans(entries, named, steps, split_epsilons(eps), request, store)
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
