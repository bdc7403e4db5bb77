"""The studies that make pages of what is stored, or of small measurements of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import (
    DatasetName,
    Limit,
    Models,
    ModelsDir,
    NoRun,
    Results,
    file_at,
    print_damaged,
    require_results,
    shown,
    split_patterns,
)
from robench.registry import select_models
from robench.reporting import write
from robench.reporting.figures import save_figure
from robench.results import ResultStore
from studies.ablations import (
    COLUMNS,
    MODES,
    VARIANTS,
    ablation_table,
    ablations_page,
    merged,
    train_variants,
    variants,
)
from studies.autoattack import AUTHORS, attack_all
from studies.findings import (
    Stores,
    draw_findings,
    find_claims,
    findings_page,
    need_longer,
    with_results,
)
from studies.pages import TABLES, Check, put_page, read_table, write_table
from studies.reliability import reliability_page
from studies.replication import replication_page
from studies.seeds import find_seeds, seeds_page

Page = Annotated[
    Path, typer.Option("--output", parser=file_at("--output"), metavar="FILE", help="The page.")
]
DOCS = Path("docs")
"""Where generated pages for users go."""
FINDINGS = Path("figures", "findings.png")
"""The figure of the findings, in the folder of the results."""


def replication(
    results: Results = Path("results"),
    output: Page = TABLES / "replication.md",
    check: Check = False,
) -> None:
    """BioFlexNet's areas on MNIST and ours."""
    require_results(results)
    text, damaged = replication_page(ResultStore(results))
    print_damaged(damaged)
    put_page(output, text, check=check, again="replication")


def findings(
    results: Results = Path("results"),
    models_dir: ModelsDir = None,
    output: Page = DOCS / "findings.md",
    readme: Annotated[
        Path, typer.Option(help="The page that gets a summary, between its two marks.")
    ] = Path("README.md"),
    check: Check = False,
) -> None:
    """The claims about FLEX, and what the published results say of them."""
    require_results(results)
    stores = _stores(results, models_dir)
    claims = find_claims(stores)
    page = findings_page(stores, claims, TABLES / "published.csv", AUTHORS)
    front = with_results(
        readme.read_text("utf-8"), stores, claims, TABLES / "cifar10-gradients.csv"
    )
    if not check:
        figure = save_figure(draw_findings, claims, results / FINDINGS)
        print(f"wrote {shown(figure)}")
    put_page(output, page, check=check, again="findings")
    put_page(readme, front, check=check, again="findings")


def not_converged(
    dataset: Annotated[str, typer.Option(help="One name.")],
    results: Results = Path("results"),
    models_dir: ModelsDir = None,
) -> None:
    """Print the pairs of models on which spgd has not converged, and spgd-long is to be run."""
    require_results(results)
    print(",".join(need_longer(_stores(results, models_dir), dataset)))


def _stores(results: Path, models_dir: Path | None) -> Stores:
    return Stores.of(results, models_dir or Path("models"), TABLES / "ablations.csv")


def autoattack(
    models: Models = "all",
    dataset: DatasetName = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many images.")] = None,
    table: Annotated[Path, typer.Option(help="The CSV; rows of other networks stay.")] = AUTHORS,
    models_dir: ModelsDir = None,
) -> None:
    """AutoAttack by its authors' code on the ANNs; the same command continues."""
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    attack_all(entries, limit, table)


def ablations(
    dataset: Annotated[str, typer.Option(help="Names with commas.")] = "digits,mnist",
    names: Annotated[str, typer.Option("--variants", help="Names with commas.")] = ",".join(
        VARIANTS
    ),
    modes: Annotated[str, typer.Option(help="ann, or ann,stbp.")] = ",".join(MODES),
    trainings: Annotated[int, typer.Option(min=1, help="Trainings of a variant.")] = 3,
    attack: Annotated[str, typer.Option(help="One attack.")] = "spgd",
    limit: Limit = None,
    folder: Annotated[
        Path, typer.Option("--folder", help="Where trainings and cells are kept.")
    ] = Path("out/ablations"),
    output: Page = TABLES / "ablations.md",
    no_run: NoRun = False,
    check: Check = False,
) -> None:
    """What each part of FLEX contributes; the same command continues.

    Rows of other data sets stay in the table.
    """
    table = output.with_suffix(".csv")
    if not (no_run or check):
        wanted = variants(dataset.split(","), trainings, names.split(","), modes.split(","))
        train_variants(wanted, folder)
        new = ablation_table(wanted, folder, ResultStore(folder / "results"), attack, limit)
        if table.is_file():
            new = merged(new, read_table(table, COLUMNS))
        write_table(new, table)
        print(f"wrote {table}")
    put_page(
        output, ablations_page(read_table(table, COLUMNS)), check=check, again="ablations --no-run"
    )


def seeds(
    models_dir: ModelsDir = None,
    output: Page = TABLES / "seeds.md",
    check: Check = False,
) -> None:
    """The accuracies of trainings with several seeds."""
    put_page(output, seeds_page(find_seeds(models_dir)), check=check, again="seeds")


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
