"""The commands of ``python -m studies``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from robench.analysis.estimators import each_epsilon
from robench.attacks.contract.attack import MOST
from robench.cli.exits import CELLS_KEPT, run_app
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
    file_at,
    folder_at,
    require_results,
    split_epsilons,
)
from robench.datasets import find_dataset
from robench.errors import UsageError
from robench.evaluation import Plan, Request, make_plan
from robench.registry import find_attacks
from robench.reporting import write
from robench.reporting.report import verdict_text
from robench.results import AnalysisStore, CellResult, Damaged, ResultStore
from studies.doubling import DOUBLING, at_factors, doubling_table
from studies.flex import flex_page
from studies.gradients import gradient_comparisons
from studies.gradients_report import GRADIENTS
from studies.pages import TABLES, put_page
from studies.reliability import reliability_page
from studies.replication import replication_page
from studies.seeds import find_seeds, seeds_page
from studies.strength import STRENGTH, require_one_norm, strength_table
from studies.study import Options, run_study

app = typer.Typer(
    help="The experiments of this repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        parser=folder_at("--output"),
        metavar="FOLDER",
        help="Folder of tables, figures and pages.",
    ),
]
Page = Annotated[
    Path, typer.Option("--output", parser=file_at("--output"), metavar="FILE", help="The page.")
]
DOCS = Path("docs")
"""Where generated pages for users go."""
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a page is stale.")]


@app.command()
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
        for name in dict.fromkeys(entry.id.dataset for entry in entries):
            here = [entry for entry in entries if entry.id.dataset == name]
            headline = find_dataset(name).protocol.headline[chosen[0].attack.norm]
            chosen_eps = (headline,) if eps is None else split_epsilons(eps)
            epsilons = list({epsilon.value: epsilon for epsilon in chosen_eps}.values())
            plans.append(each_epsilon(here, chosen, epsilons, request, store))
        return Plan(tuple(cell for one in plans for cell in one.cells), plans[0].skipped)

    def tables(done: list[CellResult], store: ResultStore) -> Iterable[pd.DataFrame]:
        first = find_attacks(attacks)[0].name
        return (table for _, table in strength_table(done, store, first, split).groupby("dataset"))

    options = Options(models, dataset, results, output, no_run, check, models_dir, data_dir)
    run_study(STRENGTH, options, plan, tables)


@app.command()
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


@app.command()
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
        cells = tuple(cell for one in comparisons for cell in one.plan.cells)
        return Plan(cells, tuple(skipped for one in comparisons for skipped in one.plan.skipped))

    def tables(done: list[CellResult], store: ResultStore) -> Iterable[pd.DataFrame]:
        found = (comparison.table(done, store) for comparison in comparisons)
        return (table for table in found if not table.empty)

    options = Options(models, dataset, results, output, no_run, check, models_dir, data_dir)
    run_study(GRADIENTS, options, plan, tables)


@app.command()
def replication(
    results: Results = Path("results"),
    output: Page = TABLES / "replication.md",
    check: Check = False,
) -> None:
    """BioFlexNet's areas on MNIST and ours."""
    require_results(results)
    text, damaged = replication_page(ResultStore(results))
    _print_damaged(damaged)
    put_page(output, text, check=check, again="replication")


@app.command()
def flex(
    results: Results = Path("results"),
    output: Page = TABLES / "flex.md",
    check: Check = False,
) -> None:
    """FLEX beside VGG16: spikes, energy and sharpness."""
    text, damaged = flex_page(AnalysisStore(results))
    _print_damaged(damaged)
    put_page(output, text, check=check, again="flex")


@app.command()
def seeds(
    models_dir: ModelsDir = None,
    output: Page = TABLES / "seeds.md",
    check: Check = False,
) -> None:
    """The accuracies of trainings with several seeds."""
    put_page(output, seeds_page(find_seeds(models_dir)), check=check, again="seeds")


@app.command()
def reliability(
    faults: Annotated[
        Path | None, typer.Option(help="What make faults wrote; it is kept for later.")
    ] = None,
    fuzz: Annotated[Path | None, typer.Option(help="The same of make fuzz.")] = None,
    output: Page = DOCS / "reliability.md",
    check: Check = False,
) -> None:
    """The page about faults and hostile input."""
    kept = [TABLES / "faults.json", TABLES / "fuzz.json"]
    for new, old in zip((faults, fuzz), kept, strict=True):
        if new is not None:
            write(old, new.read_text("utf-8"))
    put_page(output, reliability_page(*kept), check=check, again="reliability")


@app.command()
def scale(
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate again; minutes.")] = False,
    results: Results = Path("results"),
    output: Page = DOCS / "scale.md",
    check: Check = False,
) -> None:
    """What a benchmark of hundreds of models costs, and whether the scheduler carries it."""
    # imported late: it needs the performance suite
    from studies.scale import scale_page, write_simulations

    store, simulations = ResultStore(results), TABLES / "scale.json"
    if simulate:
        write_simulations(store, simulations)
    page = scale_page(store, simulations, Path("performance/results.json"))
    put_page(output, page, check=check, again="scale")


@app.command("false-alarms")
def false_alarms(
    output: Page = TABLES / "false-alarms.md",
    no_run: NoRun = False,
    check: Check = False,
) -> None:
    """How often the checks call an honest network suspect or invalid."""
    # imported late: the networks need SpikingJelly
    from studies.false_alarms import NAME, false_alarms_page, make_table, read

    table = output.with_suffix(".csv")
    if not (no_run or check):
        make_table(table)
        print(f"wrote {table}")
    put_page(output, false_alarms_page(read(table)), check=check, again=f"{NAME} --no-run")


def _integers(option: str, text: str) -> list[int]:
    """Positive integers with commas between them."""
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: write integers with commas, like 20,40,80") from None
    if values[0] < 1 or values[-1] > MOST:
        raise UsageError(f"{option} {text!r}: each must lie between 1 and {MOST:,}")
    return values


def _print_damaged(damaged: list[Damaged]) -> None:
    for file in damaged:
        print(f"left out, damaged: {file.path}: {file.reason}", file=sys.stderr)


def main() -> None:
    """Run a command; an error of robench is one line and its exit code."""
    kept = dict.fromkeys(("strength", "doubling", "gradients"), CELLS_KEPT)
    run_app(app, "python -m studies", kept)


if __name__ == "__main__":
    main()
