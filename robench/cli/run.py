"""``robench run``, the main job: parse, call, print."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from robench.cli.options import (
    DataDir,
    DatasetName,
    Device,
    Json,
    Limit,
    ModelsDir,
    folder_at,
    look_in,
    split_epsilons,
    split_patterns,
)
from robench.errors import UsageError


def run(
    models: Annotated[
        str,
        typer.Option(help="all, ids, globs, folders, module:function or file.py:function."),
    ] = "all",
    attacks: Annotated[
        str,
        typer.Option(
            help="Names with commas; parameters as in pgd[steps=9,restarts=5], lists too."
        ),
    ] = "fgsm,pgd,spgd",
    dataset: DatasetName = None,
    eps: Annotated[
        str | None, typer.Option(help="Grid such as 0,1/255,2/255; the data set's own by default.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(help="Named grid instead of --eps: bioflexnet or bioflexnet-code."),
    ] = None,
    limit: Limit = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Time steps T instead of each card's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the attacks' random numbers.")] = 0,
    eot: Annotated[
        int | None,
        typer.Option(help="Draws for each gradient of a stochastic model (10)."),
    ] = None,
    device: Device = "auto",
    batch_size: Annotated[
        str, typer.Option(help="Rows of one call, or auto; results change only by rounding.")
    ] = "auto",
    no_carry: Annotated[
        bool, typer.Option("--no-carry", help="Run every ε on every sample (raw curve).")
    ] = False,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Plain PyTorch and the ascending search, to check."),
    ] = False,
    examples: Annotated[
        bool,
        typer.Option("--keep-examples", help="Keep the adversarial examples beside the results."),
    ] = False,
    output: Annotated[
        Path,
        typer.Option(parser=folder_at("--output"), metavar="FOLDER", help="Folder of the results."),
    ] = Path("results"),
    checks: Annotated[
        Literal["cheap", "full", "off"],
        typer.Option(help="full attacks 64 images again; off gives no verdict."),
    ] = "cheap",
    force: Annotated[bool, typer.Option("--force", help="Compute finished cells again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells and stop.")] = False,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop at a cell that fails, or whose model is invalid."),
    ] = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Attack models over a sweep of ε and store the results; the same command continues."""
    from robench.cli.console import (
        carry_out,
        compared_lines,
        plan_data,
        plan_lines,
        print_troubles,
        require_cells,
    )
    from robench.evaluation import Request, find_grid, make_plan
    from robench.registry import find_attacks, select_models
    from robench.results import ResultStore

    look_in(dataset, data_dir)
    named = find_attacks(attacks)
    if eps is not None and grid is not None:
        raise UsageError("--eps and --grid exclude each other")
    request = Request(
        eps=None if eps is None else split_epsilons(eps),
        grid=None if grid is None else find_grid(grid),
        limit=limit,
        timesteps=timesteps,
        seed=seed,
        sweep="raw" if no_carry else "ascending" if reference else "fast",
        reference=reference,
        batch_size=None if batch_size == "auto" else _rows(batch_size),
        device=device,
        examples=examples,
        eot=eot,
        checks=checks,
    )
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    store = ResultStore(output)
    if not dry_run:
        store.require_writable()
    plan = make_plan(entries, named, request, store, models_dir)
    require_cells(plan)
    print_troubles(plan)
    if not json:
        done = sum(planned.done for planned in plan.cells)
        cells = "1 cell" if len(plan.cells) == 1 else f"{len(plan.cells)} cells"
        print(f"{cells}, {done} of them done already")
    if dry_run:
        for line in [jsonlib.dumps(plan_data(plan))] if json else plan_lines(plan):
            print(line)
        return
    results = carry_out(plan, store, quiet=json, force=force, fail_fast=fail_fast)
    failed = [r for r in results if r.status == "failed"]
    unloadable = [s for s in plan.skipped if s.unloadable]
    if json:
        print(jsonlib.dumps([r.model_dump(mode="json", by_alias=True) for r in results]))
    for line in [] if json else compared_lines(results, store):
        print(line)
    if not json and (failed or unloadable):
        print(
            f"{len(failed)} cells failed, {len(unloadable)} models could not be loaded; "
            "the same command tries them again.",
            file=sys.stderr,
        )
    if failed or unloadable:
        raise typer.Exit(1)


_MOST_ROWS = 10**6


def _rows(text: str) -> int:
    """The value of ``--batch-size`` as a number of rows."""
    try:
        rows = int(text)
    except ValueError:
        raise UsageError(f"--batch-size {text!r} is neither auto nor an integer") from None
    if not 1 <= rows <= _MOST_ROWS:
        raise UsageError(f"--batch-size {rows}: a batch has from 1 to {_MOST_ROWS:,} rows")
    return rows
