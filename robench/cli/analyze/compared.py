"""``robench analyze differences|found-by|passes|gallery``: figures of stored robustness."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli.options import (
    FIGURES,
    DataDir,
    DatasetName,
    FigureFormat,
    Figures,
    Models,
    ModelsDir,
    Results,
    look_in,
    print_damaged,
    require_results,
    split_patterns,
)
from robench.errors import UsageError

if TYPE_CHECKING:
    from robench.analysis.robustness.stored import StoredTables


def differences(
    models: Models = "all",
    dataset: DatasetName = None,
    attack: Annotated[
        str, typer.Option(help="Compare under this one; worst takes the worst for each image.")
    ] = "worst",
    results: Results = Path("results"),
    output: Figures = FIGURES,
    format: FigureFormat = "png",
) -> None:
    """Pairs of models on the same images, and ranks."""
    from robench.analysis.robustness.difference_map import write_differences
    from robench.analysis.robustness.differences import (
        RULE,
        find_differences,
        pair_frame,
        rank_frame,
    )

    found, lacking = find_differences(
        _read(results, models, dataset, merge=attack == "worst"), attack
    )
    if lacking:
        print(f"left out, {lacking}", file=sys.stderr)
    for one in found:
        print(f"{one.table.title}, {attack}")
        ranks = rank_frame(one).drop(columns="name")
        print(ranks.to_string(index=False, float_format="{:.3f}".format, na_rep="–"))
        pairs = pair_frame(one).drop(columns=["table", "attack"])
        print(pairs.to_string(index=False, float_format="{:.4f}".format))
        print(f"{RULE}\n")
        for path in write_differences(one, output, format):
            print(f"wrote {path}")


def found_by(
    models: Models = "all",
    dataset: DatasetName = None,
    results: Results = Path("results"),
    output: Figures = FIGURES,
    format: FigureFormat = "png",
) -> None:
    """Which part of an attack found what, and at which ε."""
    from robench.analysis.robustness.found_by import read_found, write_found
    from robench.results import ResultStore

    dataset = look_in(dataset, None)
    require_results(results)
    found, damaged = read_found(ResultStore(results), split_patterns(models), dataset)
    print_damaged(damaged)
    for one in found:
        print(one.line)
    for path in write_found(found, output, format):
        print(f"wrote {path}")


def passes(
    models: Models = "all",
    dataset: DatasetName = None,
    results: Results = Path("results"),
    output: Figures = FIGURES,
    format: FigureFormat = "png",
) -> None:
    """What each attack finds against its passes."""
    from robench.analysis.robustness.passes import passes_frame, read_passes, write_passes

    for one in read_passes(_read(results, models, dataset)):
        print(one.table.title)
        print(passes_frame(one).to_string(index=False, float_format="{:.4g}".format, na_rep=""))
        print(f"wrote {write_passes(one, output, format)}")


def gallery(
    models: Models = "all",
    dataset: DatasetName = None,
    attack: Annotated[str, typer.Option(help="Whose adversarial examples.")] = "spgd",
    count: Annotated[int, typer.Option(help="How many images.")] = 8,
    results: Results = Path("results"),
    output: Figures = FIGURES,
    format: FigureFormat = "png",
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Adversarial examples beside their clean images."""
    from robench.analysis.robustness.examples import find_galleries
    from robench.analysis.robustness.gallery import MOST, shown_line, write_gallery

    if not 1 <= count <= MOST:
        raise UsageError(f"--count {count}: it must lie between 1 and {MOST}")
    look_in(dataset, data_dir)
    stored = _read(results, models, dataset)
    for one in find_galleries(stored, attack, count, split_patterns(models), models_dir):
        print(shown_line(one))
        print(f"wrote {write_gallery(one, output, format)}")


def _read(results: Path, models: str, dataset: str | None, *, merge: bool = False) -> StoredTables:
    """The tables of a store; files that are damaged are named on stderr."""
    from robench.analysis.robustness.stored import read_tables
    from robench.results import ResultStore

    dataset = look_in(dataset, None)
    require_results(results)
    stored = read_tables(ResultStore(results), split_patterns(models), dataset, merge=merge)
    print_damaged(stored.damaged)
    return stored
