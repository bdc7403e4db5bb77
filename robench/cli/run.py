"""``robench run``, the main job: parse, call, print."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robench.cli.options import (
    OWN,
    RESULTS,
    AnyModels,
    DataDir,
    DatasetName,
    Device,
    Json,
    Limit,
    ModelsDir,
    look_in,
    rows_of_a_call,
    shown,
    split_epsilons,
    split_patterns,
    store_at,
)
from robench.errors import UsageError
from robench.text import counted

if TYPE_CHECKING:
    from robench.evaluation import Order, Plan, Shard
    from robench.evaluation.executors import ExecutorName
    from robench.results import CellResult

ATTACKS = "fgsm,pgd,spgd"
LONG = 600.0
"""Seconds; a run of everything that takes longer is started only after a question."""


def run(
    models: AnyModels = "all",
    attacks: Annotated[
        str,
        typer.Option(
            help="Names with commas; parameters as in pgd[steps=9,restarts=5], lists too."
        ),
    ] = ATTACKS,
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
        typer.Option(help="Draws for each gradient of a stochastic model; 10 by default."),
    ] = None,
    device: Device = "auto",
    batch_size: Annotated[
        str, typer.Option(help="Rows of one call, or auto; results change only by rounding.")
    ] = "auto",
    no_carry: Annotated[
        bool, typer.Option("--no-carry", help="Attack every image at every ε (raw curve).")
    ] = False,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference", help="Attack at every ε in plain PyTorch: slow, to check robench."
        ),
    ] = False,
    examples: Annotated[
        bool,
        typer.Option("--keep-examples", help="Keep the adversarial examples beside the results."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            parser=store_at("--output"),
            metavar="FOLDER",
            help="Folder of the results: results, or out for own models in a checkout.",
        ),
    ] = None,
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
    """Attack models over a sweep of ε and store the results.

    The same command continues where the last one stopped.
    """
    folder = output or _folder(split_patterns(models))
    if not json:  # before the imports, which take seconds
        print(f"results go to {shown(folder)}; reading models and images", flush=True)
    from robench.datasets.files import VARIABLE
    from robench.evaluation import Order, Request, Shard, find_grid

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
        batch_size=None if batch_size == "auto" else rows_of_a_call(batch_size),
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
    order = Order(
        models=tuple(split_patterns(models)),
        attacks=attacks,
        request=request,
        output=folder,
        folder=Path.cwd(),
        data=os.environ.get(VARIABLE, ""),
        dataset=dataset,
        models_dir=models_dir,
        fail_fast=fail_fast,
    )
    where = executor or ("local" if jobs is None else "process")
    ask = (models, attacks, dataset, limit) == ("all", ATTACKS, None, None)
    if not dry_run:
        order.store.require_writable()
    # the cells are the same on every device, and only the nodes of a cluster may have a GPU
    plan = order.plan(request=replace(request, device="cpu") if where == "ray" else None)
    _execute(order, plan, part, where, jobs, force=force, dry_run=dry_run, ask=ask, json=json)


def _execute(
    order: Order,
    plan: Plan,
    part: Shard | None,
    where: ExecutorName,
    jobs: int | None,
    *,
    force: bool,
    dry_run: bool,
    ask: bool,
    json: bool,
) -> None:
    """Compute a plan, or a part of it, and print what it does.

    Args:
        order: what was asked for.
        plan: its cells.
        part: None for all of them.
        where: the executor.
        jobs: its workers.
        force: compute finished cells again.
        dry_run: show the cells and stop.
        ask: whether a long run waits for a yes.
        json: print the records alone.
    """
    from robench.cli.console import (
        carry_out,
        plan_data,
        plan_lines,
        print_troubles,
        require_cells,
        require_yes,
    )
    from robench.evaluation import Unit, make_executor
    from robench.registry.locations import is_published, published
    from robench.reporting.terminal.estimates import Estimates
    from robench.reporting.terminal.progress import Work
    from robench.results import ResultStore

    require_cells(plan)
    print_troubles(plan)
    units = [Unit.of(planned) for planned in plan.cells] if part is None else part.of(plan)
    cells = {planned.digest: planned for planned in plan.cells}
    chosen = [cells[digest] for digest in dict.fromkeys(unit.digest for unit in units)]
    known = published()  # of registered models: a first run has no times of its own
    estimates = Estimates.of(plan, order.store, *([] if known is None else [ResultStore(known)]))
    if not json:
        done = sum(planned.done for planned in chosen)
        of_all = "" if part is None else f" of {len(plan.cells)} in shard {part}"
        number = f"{counted(len(chosen), 'cell')}{of_all}"
        if done and is_published(order.output):
            again = "" if force else "; compute them again with --output out"
            print(f"{done} of {number} are published already{again}")
        else:
            print(f"{number}, {done} of them done already")
    if dry_run:
        data = [jsonlib.dumps(plan_data(plan, units))] if json else None
        for line in data or plan_lines(plan, units, estimates):
            print(line)
        return
    todo = force or not all(planned.done for planned in chosen)
    if todo and not json:
        work = Work.of(plan, units, estimates, force=force)
        print(work.line(), flush=True)
        if ask and work.seconds > LONG:
            require_yes("that is the whole benchmark; go on?")
    workers = None
    if todo and where != "local":
        workers = make_executor(where, order, jobs, partial(print, file=sys.stderr))
    results = carry_out(
        plan, order.store, quiet=json, force=force, fail_fast=order.fail_fast, executor=workers,
        units=units, estimates=estimates,
    )  # fmt: skip
    if json:
        print(jsonlib.dumps([r.model_dump(mode="json", by_alias=True) for r in results]))
    _finish(order, plan, results, len(chosen), quiet=json)


def _finish(
    order: Order, plan: Plan, results: Sequence[CellResult], cells: int, *, quiet: bool
) -> None:
    """Print what came of a run of some cells; exit with 1 if any failed."""
    from robench.cli.console import left_lines

    failed = sum(result.status == "failed" for result in results)
    unloadable = sum(skipped.unloadable for skipped in plan.skipped)
    if not quiet:
        for line in left_lines(results, cells, fail_fast=order.fail_fast):
            print(line)
        if any(result.outcome for result in results):
            print("look closer:", "\n             ".join(_next_steps(results, order.output)))
        if failed or unloadable:
            print(
                f"{counted(failed, 'cell')} failed, {counted(unloadable, 'model')} could "
                "not be loaded; the same command tries again.",
                file=sys.stderr,
            )
    if failed or unloadable:
        raise typer.Exit(1)


def _next_steps(results: Sequence[CellResult], output: Path) -> tuple[str, str]:
    """The commands that show more of some results."""
    newest = [result for result in results if result.outcome is not None][-1]
    folder = shown(output)
    there = "" if folder == RESULTS else f" --results {folder}"
    name = f"{newest.model}/{newest.attack}"
    quoted = f"'{name}'" if "[" in name else name
    return f"robench show {quoted}{there}", f"robench leaderboard{there}"


def _folder(models: Sequence[str]) -> Path:
    """The folder of the results by default: own models do not go to the published ones."""
    from robench.registry.locations import is_published, model_folders

    results = RESULTS.absolute()
    if not is_published(results):
        return results
    registered = {folder.resolve() for folder in model_folders().values()}
    own = (":" in name or (Path(name).is_dir() and Path(name).resolve() not in registered)
           for name in models)  # fmt: skip
    return OWN.absolute() if any(own) else results
