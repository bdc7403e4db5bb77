"""``robench run``, the main job: parse, call, print."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from dataclasses import replace
from functools import partial
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
    look_in,
    split_epsilons,
    split_patterns,
    store_at,
)
from robench.errors import UsageError
from robench.text import counted


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
        typer.Option(parser=store_at("--output"), metavar="FOLDER", help="Folder of the results."),
    ] = Path("results"),
    checks: Annotated[
        Literal["cheap", "full", "off"],
        typer.Option(help="full attacks 64 images again; off gives no verdict."),
    ] = "cheap",
    executor: Annotated[
        Literal["local", "process", "ray"] | None,
        typer.Option(help="Where cells are computed; with --jobs in processes, else in this one."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Number of workers; one for each core or GPU.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Part of the work, as 3/8 for the third of 8 tasks.")
    ] = None,
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
    from robench.datasets.files import VARIABLE
    from robench.evaluation import Order, Request, Shard, Unit, find_grid, make_executor

    look_in(dataset, data_dir)
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
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: give at least 1")
    if jobs is not None and executor == "local":
        raise UsageError("--jobs needs --executor process or ray")
    if shard is not None and force:
        raise UsageError(
            "--shard and --force exclude each other: a task would remove what others have "
            "computed; give a new folder with --output"
        )
    part = None if shard is None else Shard.parse(shard)
    where = executor or ("local" if jobs is None else "process")
    order = Order(
        models=tuple(split_patterns(models)),
        attacks=attacks,
        request=request,
        output=output.absolute(),
        folder=Path.cwd(),
        data=os.environ.get(VARIABLE, ""),
        dataset=dataset,
        models_dir=models_dir,
        fail_fast=fail_fast,
    )
    store = order.store
    if not dry_run:
        store.require_writable()
    # the cells are the same on every device, and only the nodes of a cluster may have a GPU
    plan = order.plan(request=replace(request, device="cpu") if where == "ray" else None)
    require_cells(plan)
    print_troubles(plan)
    units = [Unit.of(planned) for planned in plan.cells] if part is None else part.of(plan)
    cells = {planned.digest: planned for planned in plan.cells}
    chosen = [cells[digest] for digest in dict.fromkeys(unit.digest for unit in units)]
    if not json:
        done = sum(planned.done for planned in chosen)
        of_all = "" if part is None else f" of {len(plan.cells)} in shard {shard}"
        print(f"{counted(len(chosen), 'cell')}{of_all}, {done} of them done already")
    if dry_run:
        lines = [jsonlib.dumps(plan_data(plan, units))] if json else plan_lines(plan, units)
        for line in lines:
            print(line)
        return
    todo = force or not all(planned.done for planned in chosen)
    workers = (
        make_executor(where, order, jobs, partial(print, file=sys.stderr))
        if todo and where != "local"
        else None
    )
    results = carry_out(
        plan, store, quiet=json, force=force, fail_fast=fail_fast, executor=workers, units=units
    )
    failed = [r for r in results if r.status == "failed"]
    unloadable = [s for s in plan.skipped if s.unloadable]
    if json:
        print(jsonlib.dumps([r.model_dump(mode="json", by_alias=True) for r in results]))
    for line in [] if json else compared_lines(results, store):
        print(line)
    if not json and (missing := len(chosen) - len(results)):
        left = counted(missing, "cell")
        if fail_fast and failed:
            print(f"{left} not computed, because --fail-fast stops at a failure")
        else:
            print(f"{left} waiting for other shards; the last that ends completes them")
    if not json and (failed or unloadable):
        print(
            f"{counted(len(failed), 'cell')} failed, {counted(len(unloadable), 'model')} could "
            "not be loaded; the same command tries again.",
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
