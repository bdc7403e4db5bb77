"""``robench analyze estimators|transfer``: what attacks find, which are run first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import (
    FIGURES,
    DataDir,
    DatasetName,
    Device,
    Epsilons,
    FigureFormat,
    Figures,
    Limit,
    Models,
    ModelsDir,
    NoRun,
    Results,
    file_at,
    look_in,
    split_epsilons,
    split_patterns,
)
from robench.errors import UsageError


def transfer(
    models: Models = "all",
    dataset: DatasetName = None,
    limit: Limit = None,
    device: Device = "auto",
    no_run: NoRun = False,
    results: Results = Path("results"),
    output: Figures = FIGURES,
    format: FigureFormat = "png",
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Examples of each model on each other one."""
    from robench.analysis import transfer_pairs, write_transfer_figure
    from robench.cli.console import carry_out, print_troubles, require_cells
    from robench.cli.measure import require_success
    from robench.evaluation import Plan, Request
    from robench.registry import select_models
    from robench.results import ResultStore

    look_in(dataset, data_dir)
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    if not no_run:
        store.require_writable()
    every = transfer_pairs(entries, Request(limit=limit, device=device), store, models_dir)
    require_cells(Plan.joined(pairs.plan for pairs in every))
    done = []
    for pairs in every:
        print_troubles(pairs.plan)
        found = pairs.stored() if no_run else carry_out(pairs.plan, store)
        done += found
        matrix = pairs.matrix(found)
        if matrix.entries:
            print(f"wrote {write_transfer_figure(matrix, output, format)}")
        elif no_run:
            name = pairs.dataset.name
            raise UsageError(f"{name}: no result of transfer is stored; leave out --no-run")
    require_success(done)


def estimators(
    models: Models = "all",
    estimators: Annotated[
        str | None,
        typer.Option(help="Such as atan(2),triangle(1)/hart,bptr; the known ones by default."),
    ] = None,
    eps: Epsilons = "8/255",
    steps: Annotated[int, typer.Option(help="Steps of each run.")] = 20,
    keep: Annotated[int, typer.Option(help="Estimators in the proposed ensemble.")] = 4,
    limit: Annotated[str, typer.Option(help="How many training images.")] = "48",
    dataset: DatasetName = None,
    results: Results = Path("out/estimators"),
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
    """Run each gradient estimator alone and rank them."""
    from robench.analysis import RANKED, ensemble, estimator_plan, rank_lines, rank_table, ranks
    from robench.cli.measure import measure, require_success
    from robench.evaluation import Request
    from robench.registry import split_names
    from robench.reporting import write

    for option, value in (("--steps", steps), ("--keep", keep)):
        if value < 1:
            raise UsageError(f"{option} {value}: it must be at least 1")
    named = list(RANKED) if estimators is None else split_names(estimators)
    if not named:
        raise UsageError("--estimators names none; write them like atan(2),triangle(1)/hart,bptr")
    request = Request(limit=limit, sweep="ascending", split="train", device=device)
    done, store = measure(
        lambda entries, store: estimator_plan(
            entries, named, steps, split_epsilons(eps), request, store
        ),
        results, models=models, dataset=dataset, models_dir=models_dir, data_dir=data_dir,
    )  # fmt: skip
    ranked = ranks(done, store, steps)
    for model in dict.fromkeys(one.model for one in ranked):
        here = [one for one in ranked if one.model == model]
        print(f"\n{model}")
        for line in rank_lines(here):
            print(line)
        print(f"--attacks '{ensemble(here, keep)}'")
    path = output or results / "estimators.csv"
    write(path, rank_table(ranked).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    print(f"\nwrote {path}")
    require_success(done)
