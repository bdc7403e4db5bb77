"""``robench analyze budget`` and ``doubling``: what the passes of an attack are worth."""

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
    Models,
    ModelsDir,
    NoRun,
    Results,
    Tables,
    check_attacks,
    draw_tables,
    look_in,
    named_attacks,
    put,
    require_place,
    split_epsilons,
    split_patterns,
    tables_at_hand,
)
from robench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


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
    device: Device = "auto",
    results: Results = Path("out/budget"),
    output: Tables = FIGURES,
    document: Document = None,
    no_run: NoRun = False,
    check: CheckAttacks = False,
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
    from robench.cli.console import carry_out, print_troubles, require_cells
    from robench.evaluation import Request
    from robench.registry import select_models
    from robench.results import ResultStore

    if check:
        check_attacks("budget", lambda page: budget_section(output, page), document)
        return
    require_place("budget", document)
    failed = False
    if not no_run:
        if split not in ("train", "test"):
            raise UsageError(f"--split {split!r} is neither train nor test")
        look_in(dataset, data_dir)
        named = named_attacks(attacks)
        entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        request = Request(limit=limit, sweep="ascending", split=split, device=device)  # type: ignore[arg-type]
        passes = _integers("--budgets", budgets)
        plans = budget_plans(entries, named, passes, split_epsilons(eps), request, store)
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


def doubling(
    models: Models = "all",
    attacks: Annotated[str, typer.Option(help="Names with commas.")] = "spgd",
    factors: Annotated[str, typer.Option(help="How many times the steps of an attack.")] = "1,2",
    limit: Annotated[str, typer.Option(help="How many training images.")] = "100",
    dataset: DatasetName = None,
    device: Device = "auto",
    results: Results = Path("out/doubling"),
    output: Tables = FIGURES,
    document: Document = None,
    no_run: NoRun = False,
    check: CheckAttacks = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Measure what a sweep gains where its attack takes twice the steps; it goes on, too."""
    from robench.analysis import (
        at_factors,
        doubling_lines,
        doubling_section,
        doubling_table,
        write_table,
    )
    from robench.cli.console import carry_out, print_troubles, require_cells
    from robench.evaluation import Request, make_plan
    from robench.registry import select_models
    from robench.reporting.report import verdict_text
    from robench.results import ResultStore

    if check:
        check_attacks("doubling", lambda page: doubling_section(output), document)
        return
    require_place("doubling", document)
    failed = False
    if not no_run:
        look_in(dataset, data_dir)
        named = at_factors(named_attacks(attacks), _integers("--factors", factors))
        entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
        store = ResultStore(results)
        store.require_writable()
        request = Request(limit=limit, split="train", device=device)
        plan = make_plan(entries, named, request, store)
        require_cells(plan)
        print_troubles(plan)
        done = carry_out(plan, store)
        failed = any(result.status == "failed" for result in done)
        for cell in done:
            if cell.outcome is not None and cell.outcome.verdict == "invalid":
                told = verdict_text(cell.outcome.verdict, cell.outcome.reasons)
                print(f"{cell.model} {cell.attack}: {told}, left out", file=sys.stderr)
        paths = []
        for name, part in doubling_table(done, store).groupby("dataset"):
            paths.append(output / f"{name}-doubling.csv")
            write_table(part, paths[-1])
            print(f"wrote {paths[-1]}")
    else:
        paths = tables_at_hand("doubling", output)
    for path in paths:
        for line in doubling_lines(path):
            print(line)
    if document is not None:
        put("doubling", doubling_section(output), document, check=False)
    if failed:
        raise typer.Exit(1)


def _integers(option: str, text: str) -> list[int]:
    """Positive integers with commas between them."""
    from robench.attacks.contract.attack import MOST

    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: write integers with commas, like 20,40,80") from None
    if values[0] < 1 or values[-1] > MOST:
        raise UsageError(f"{option} {text!r}: each must lie between 1 and {MOST:,}")
    return values


def _print_differences(rows: pd.DataFrame, first: str) -> None:
    from robench.analysis import paired

    for found in paired(rows, first):
        low, high = 100 * found.interval.low, 100 * found.interval.high
        print(
            f"{found.model:24} {found.budget:>4} passes  {first} - {found.rival}: "
            f"{100 * found.mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
        )
