"""The studies that compute cells; each can be repeated and continues."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from robench.analysis.estimators import each_epsilon
from robench.attacks.contract.attack import MOST
from robench.cli.measure import Entries
from robench.cli.options import (
    DataDir,
    DatasetName,
    Device,
    Limit,
    Models,
    ModelsDir,
    NoRun,
    Results,
    folder_at,
    split_epsilons,
)
from robench.errors import UsageError
from robench.evaluation import Plan, Request, make_plan
from robench.registry import find_attack, find_attacks
from robench.reporting.report import verdict_text
from robench.results import CellResult, ResultStore
from studies.doubling import DOUBLING, at_factors, doubling_table
from studies.gradients import gradient_comparisons
from studies.gradients_report import GRADIENTS
from studies.pages import TABLES, Check
from studies.strength import STRENGTH, require_one_norm, strength_table
from studies.study import Options, at_headlines, run_study
from studies.timesteps import TIMESTEPS, timesteps_plan, timesteps_table

Output = Annotated[
    Path,
    typer.Option(
        "--output",
        parser=folder_at("--output"),
        metavar="FOLDER",
        help="Folder of tables, figures and pages.",
    ),
]


def strength(
    models: Models = "all",
    attacks: Annotated[
        str, typer.Option(help="Names with commas; the others are compared with the first.")
    ] = "spgd,sapgd,apgd-ce,apgd-dlr",
    eps: Annotated[
        str | None, typer.Option(help="Single ε; by default the headline of each data set.")
    ] = None,
    sweep: Annotated[bool, typer.Option(help="Also sweep the data set's grid.")] = True,
    limit: Annotated[str, typer.Option(help="How many images, as in run.")] = "250",
    split: Annotated[
        str, typer.Option(help="train, or test for the images of the published results.")
    ] = "train",
    dataset: DatasetName = None,
    device: Device = "auto",
    results: Results = Path("out/strength"),
    output: Output = TABLES,
    no_run: NoRun = False,
    check: Check = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Robust accuracy and passes of attacks; the same command continues."""

    def plan(entries: Entries, store: ResultStore) -> Plan:
        if split not in ("train", "test"):
            raise UsageError(f"--split {split!r} is neither train nor test")
        request = Request(limit=limit, split=split, device=device)  # type: ignore[arg-type]
        chosen = find_attacks(attacks)
        require_one_norm(chosen)
        plans = [make_plan(entries, chosen, request, store)] if sweep else []
        for headline, here in at_headlines(entries, chosen[0].attack.norm):
            chosen_eps = (headline,) if eps is None else split_epsilons(eps)
            epsilons = list({epsilon.value: epsilon for epsilon in chosen_eps}.values())
            plans.append(each_epsilon(here, chosen, epsilons, request, store))
        return Plan.joined(plans)

    def tables(done: list[CellResult], store: ResultStore) -> Iterable[pd.DataFrame]:
        first = find_attacks(attacks)[0].name
        return (table for _, table in strength_table(done, store, first, split).groupby("dataset"))

    options = Options(models, dataset, results, output, no_run, check, models_dir, data_dir)
    run_study(STRENGTH, options, plan, tables)


def doubling(
    models: Models = "all",
    attacks: Annotated[str, typer.Option(help="Names with commas.")] = "spgd",
    factors: Annotated[str, typer.Option(help="Multiples of the steps of an attack.")] = "1,2",
    limit: Annotated[str, typer.Option(help="How many training images.")] = "100",
    dataset: DatasetName = None,
    device: Device = "auto",
    results: Results = Path("out/doubling"),
    output: Output = TABLES,
    no_run: NoRun = False,
    check: Check = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """What a sweep gains if its attack takes twice the steps; the same command continues."""

    def plan(entries: Entries, store: ResultStore) -> Plan:
        chosen = at_factors(find_attacks(attacks), _integers("--factors", factors))
        return make_plan(entries, chosen, Request(limit=limit, split="train", device=device), store)

    def tables(done: list[CellResult], store: ResultStore) -> Iterable[pd.DataFrame]:
        for cell in done:
            if cell.outcome is not None and cell.outcome.verdict == "invalid":
                verdict = verdict_text(cell.outcome.verdict, cell.outcome.reasons)
                print(f"{cell.model} {cell.attack}: {verdict}, left out", file=sys.stderr)
        return (table for _, table in doubling_table(done, store).groupby("dataset"))

    options = Options(models, dataset, results, output, no_run, check, models_dir, data_dir)
    run_study(DOUBLING, options, plan, tables)


def gradients(
    models: Annotated[
        str, typer.Option(help="all (that spike), ids or globs, with commas.")
    ] = "all",
    dataset: DatasetName = None,
    eps: Annotated[
        str | None, typer.Option(help="One ε; by default the headline of each data set.")
    ] = None,
    limit: Limit = None,
    device: Device = "auto",
    results: Results = Path("out/gradients"),
    output: Output = TABLES,
    no_run: NoRun = False,
    check: Check = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Compare pgd with each surrogate and gradient path with the ensemble."""
    comparisons = []

    def plan(entries: Entries, store: ResultStore) -> Plan:
        epsilons = None if eps is None else split_epsilons(eps)
        request = Request(eps=epsilons, limit=limit, device=device)
        comparisons.extend(gradient_comparisons(entries, request, store, models_dir))
        return Plan.joined(comparison.plan for comparison in comparisons)

    def tables(done: list[CellResult], store: ResultStore) -> Iterable[pd.DataFrame]:
        found = (comparison.table(done, store) for comparison in comparisons)
        return (table for table in found if not table.empty)

    options = Options(models, dataset, results, output, no_run, check, models_dir, data_dir)
    run_study(GRADIENTS, options, plan, tables)


def timesteps(
    models: Models = "all",
    attack: Annotated[str, typer.Option(help="One attack.")] = "spgd",
    counts: Annotated[str, typer.Option(help="Values of T.")] = "1,2,3,4,6,8,10,15,20",
    limit: Limit = None,
    dataset: DatasetName = None,
    device: Device = "auto",
    results: Results = Path("out/timesteps"),
    output: Output = TABLES,
    no_run: NoRun = False,
    check: Check = False,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Accuracy and robustness at other T than a model's own; the same command continues."""

    def plan(entries: Entries, store: ResultStore) -> Plan:
        values = _integers("--counts", counts)
        request = Request(limit=limit, device=device)
        return timesteps_plan(entries, find_attack(attack), values, request, store)

    def tables(done: list[CellResult], store: ResultStore) -> Iterable[pd.DataFrame]:
        return (table for _, table in timesteps_table(done).groupby("dataset"))

    options = Options(models, dataset, results, output, no_run, check, models_dir, data_dir)
    run_study(TIMESTEPS, options, plan, tables)


def _integers(option: str, text: str) -> list[int]:
    """Positive integers with commas between them."""
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: write integers with commas, like 20,40,80") from None
    if values[0] < 1 or values[-1] > MOST:
        raise UsageError(f"{option} {text!r}: each must lie between 1 and {MOST:,}")
    return values
