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
def budget(
    models: Annotated[str, typer.Option(help="all, ids or globs, with commas.")] = "all",
    attacks: Annotated[
        str, typer.Option(help="Names with commas; the first is compared with the others.")
    ] = "spgd,pgd,tour,sapgd,apgd-ce",
    eps: Annotated[
        str, typer.Option(help="One or more ε with commas, each attacked by itself.")
    ] = "8/255",
    budgets: Annotated[
        str, typer.Option(help="Gradient passes for each sample and ε.")
    ] = "20,40,80,160,320,640",
    limit: Annotated[str, typer.Option(help="How many images, as in run.")] = "200",
    split: Annotated[
        str, typer.Option(help="train, or test to look at the published images.")
    ] = "train",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the cells.")] = Path("out/budget"),
    output: Annotated[Path | None, typer.Option(help="The figure; in --results else.")] = None,
    models_dir: Annotated[
        Path | None, typer.Option("--models-dir", help="Look for checkpoints here first.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Look for data sets here first.")
    ] = None,
) -> None:
    """Draw robust accuracy against gradient passes; the same command goes on."""
    from robench.analysis import budget_plans, budget_rows, draw_budgets, paired
    from robench.console import Progress, require_cells, trouble_lines
    from robench.datasets import find_dataset, look_first_in
    from robench.evaluation import Request, run_plan
    from robench.reporting.plots import save_figure
    from robench.results import ResultStore
    from robench.zoo import find_attack, select_models, split_names

    if split not in ("train", "test"):
        raise UsageError(f"--split {split!r} is neither train nor test")
    if dataset is not None:
        find_dataset(dataset)
    if data_dir is not None:
        look_first_in(data_dir)
    named = [find_attack(name) for name in dict.fromkeys(split_names(attacks))]
    if not named:
        raise UsageError("no attack was named; see: robench list attacks")
    patterns = [part.strip() for part in models.split(",") if part.strip()]
    entries = select_models(patterns, dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    store.require_writable()
    epsilons = [part.strip() for part in eps.split(",")]
    request = Request(limit=limit, sweep="ascending", split=split)  # type: ignore[arg-type]
    plans = budget_plans(entries, named, _integers("--budgets", budgets), epsilons, request, store)
    require_cells(plans[0])
    done = []
    for plan in plans:
        for line in trouble_lines(plan):
            print(line, file=sys.stderr)
        with Progress(plan, quiet=False) as progress:
            for result, computed in run_plan(plan, store, progress=progress.update):
                progress.finish(result, computed)
                done.append(result)
    rows = budget_rows(done, store)
    first = named[0].name
    for found in paired(rows, first):
        low, high = 100 * found.interval.low, 100 * found.interval.high
        print(
            f"{found.model:24} {found.budget:>4} passes  {first} - {found.rival}: "
            f"{100 * found.mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
        )
    path = output or results / "budget.png"
    save_figure(draw_budgets, rows, path)
    print(f"wrote {path}")
    if any(result.status == "failed" for result in done):
        raise typer.Exit(1)


def _integers(option: str, text: str) -> list[int]:
    """Positive integers with commas between them."""
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: write integers with commas, like 20,40,80") from None
    if values[0] < 1:
        raise UsageError(f"{option} {text!r}: each must be at least 1")
    return values


@analyze.command()
def rank(
    models: Annotated[str, typer.Option(help="all, ids or globs, with commas.")] = "all",
    members: Annotated[
        str | None,
        typer.Option(help="Such as atan(2),triangle(1)/hart,bptr; the known ones by default."),
    ] = None,
    eps: Annotated[
        str, typer.Option(help="One or more ε with commas, each attacked by itself.")
    ] = "8/255",
    steps: Annotated[int, typer.Option(help="Steps of each run.")] = 20,
    keep: Annotated[int, typer.Option(help="Members of the ensemble that is proposed.")] = 4,
    limit: Annotated[str, typer.Option(help="How many training images.")] = "48",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the cells.")] = Path("out/rank"),
    output: Annotated[Path | None, typer.Option(help="The table; in --results else.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    models_dir: Annotated[
        Path | None, typer.Option("--models-dir", help="Look for checkpoints here first.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Look for data sets here first.")
    ] = None,
) -> None:
    """Rank surrogates and gradient paths by what each finds alone; the same command goes on."""
    from robench.analysis import RANKED, ensemble, rank_lines, rank_plans, rank_table, ranks
    from robench.console import Progress, require_cells, trouble_lines
    from robench.datasets import find_dataset, look_first_in
    from robench.evaluation import Request, run_plan
    from robench.reporting import write
    from robench.results import ResultStore
    from robench.zoo import select_models, split_names

    for option, value in (("--steps", steps), ("--keep", keep)):
        if value < 1:
            raise UsageError(f"{option} {value}: it must be at least 1")
    named = list(RANKED) if members is None else split_names(members)
    if not named:
        raise UsageError("--members names none; write them like atan(2),triangle(1)/hart,bptr")
    if dataset is not None:
        find_dataset(dataset)
    if data_dir is not None:
        look_first_in(data_dir)
    patterns = [part.strip() for part in models.split(",") if part.strip()]
    entries = select_models(patterns, dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    store.require_writable()
    request = Request(limit=limit, sweep="ascending", split="train", device=device)
    epsilons = [part.strip() for part in eps.split(",")]
    plans = rank_plans(entries, named, steps, epsilons, request, store)
    require_cells(plans[0])
    done = []
    for plan in plans:
        for line in trouble_lines(plan):
            print(line, file=sys.stderr)
        with Progress(plan, quiet=False) as progress:
            found = run_plan(plan, store, progress=progress.update)
            for planned, (result, computed) in zip(plan.cells, found, strict=True):
                progress.finish(result, computed)
                done.append((planned.cell, result))
    ranked = ranks(done, store, steps)
    for model in dict.fromkeys(one.model for one in ranked):
        here = [one for one in ranked if one.model == model]
        print(f"\n{model}")
        for line in rank_lines(here):
            print(line)
        print(f"--attacks '{ensemble(here, keep)}'")
    path = output or results / "rank.csv"
    write(path, rank_table(ranked))
    print(f"\nwrote {path}")
    if any(result.status == "failed" for _, result in done):
        raise typer.Exit(1)


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
def transfer(
    models: Annotated[str, typer.Option(help="all, ids or globs, with commas.")] = "all",
    dataset: Annotated[str | None, typer.Option(help="Keep the models of this data set.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="How many test images: a count, or a fraction such as 0.1.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Draw what is stored; compute nothing.")
    ] = False,
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    output: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("results/figures"),
    models_dir: Annotated[
        Path | None, typer.Option("--models-dir", help="Look for checkpoints here first.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Look for data sets here first.")
    ] = None,
) -> None:
    """Draw the matrix of source against target; what is not stored is computed first."""
    from robench.analysis import transfer_pairs, write_transfer_figure
    from robench.console import Progress, trouble_lines
    from robench.datasets import find_dataset, look_first_in
    from robench.evaluation import Request, run_plan
    from robench.results import ResultStore
    from robench.zoo import select_models

    if dataset is not None:
        find_dataset(dataset)
    if data_dir is not None:
        look_first_in(data_dir)
    patterns = [part.strip() for part in models.split(",") if part.strip()]
    entries = select_models(patterns, dataset=dataset, models_dir=models_dir)
    store = ResultStore(results)
    if not no_run:
        store.require_writable()
    failed = 0
    for pairs in transfer_pairs(entries, Request(limit=limit, device=device), store, models_dir):
        for line in trouble_lines(pairs.plan):
            print(line, file=sys.stderr)
        found = pairs.stored()
        if not no_run:
            with Progress(pairs.plan, quiet=False) as progress:
                for result, computed in run_plan(pairs.plan, store, progress=progress.update):
                    progress.finish(result, computed)
                    failed += result.status == "failed"
                    found.append(result)
        matrix = pairs.matrix(found)
        if matrix.entries:
            print(f"wrote {write_transfer_figure(matrix, output)}")
        elif no_run:
            name = pairs.dataset.name
            raise UsageError(f"{name}: no result of transfer is stored; leave out --no-run")
    if failed:
        print(f"{failed} cells failed; the same command tries them again.", file=sys.stderr)
        raise typer.Exit(1)


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

    if not results.is_dir():
        raise UsageError(f"there are no results in {results}; make them with: robench run")
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
