"""``robench analyze landscape``: the loss over the weights and over the inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.cli.analyze.measured import (
    Options,
    attacked_with,
    of_images,
    require_all,
    stored,
)
from robench.cli.options import (
    EXAMPLES,
    FIGURES,
    AnyModels,
    DataDir,
    DatasetName,
    Device,
    Examples,
    FigureFormat,
    Figures,
    Limit,
    ModelsDir,
    NoRun,
    OneEpsilon,
    Results,
    look_in,
    require_one_epsilon,
    require_writable,
    split_patterns,
)
from robench.errors import MissingDataError, UsageError

if TYPE_CHECKING:
    from robench.analysis.landscape import InputLandscape, Landscape
    from robench.evaluation import Cell
    from robench.registry import ModelEntry
    from robench.results import Analysis, AnalysisStore

IMAGES = 500
"""How many test images by default, where a data set has so many."""
_RISES = {"own": "+own gradient", "attack": "+attack", "random": "+random"}


def landscape(
    models: AnyModels = "all",
    dataset: DatasetName = None,
    limit: Limit = None,
    points: Annotated[int, typer.Option(help="Of each axis over the weights, odd.")] = 21,
    pairs: Annotated[int, typer.Option(help="Pairs of directions for the sharpness.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the random directions and signs.")] = 0,
    input: Annotated[
        bool, typer.Option("--input/--no-input", help="Whether to compute the surfaces of inputs.")
    ] = True,
    input_points: Annotated[int, typer.Option(help="Of each axis over the inputs, odd.")] = 15,
    attack: Annotated[str, typer.Option(help="Whose adversarial examples give a direction.")] = (
        "spgd"
    ),
    eps: OneEpsilon = None,
    examples: Examples = EXAMPLES,
    device: Device = "auto",
    no_run: NoRun = False,
    results: Results = Path("results"),
    output: Figures = FIGURES,
    format: FigureFormat = "png",
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Loss over the weights and the inputs, and sharpness."""
    from robench.analysis.landscape import (
        InputLandscape,
        Landscape,
        axis,
        write_input_figure,
        write_weight_figures,
    )
    from robench.analysis.measuring import models_of
    from robench.cli.analyze.examples import attacked
    from robench.cli.console import print_troubles, require_cells
    from robench.evaluation import Plan, Request
    from robench.registry import find_attack, select_models
    from robench.results import AnalysisStore

    look_in(dataset, data_dir)
    if input and (norm := find_attack(attack).attack.norm) != "linf":
        raise UsageError(f"--attack {attack} is measured in {norm}; give one that is in linf")
    over_weights = Landscape(points, pairs, seed)
    axis(input_points)
    if eps is not None:
        require_one_epsilon(eps)
    store = AnalysisStore(results)
    if no_run:
        options = Options(models, dataset, True, results, models_dir, data_dir)
        weights = stored(options, Landscape.kind, lambda a: of_images(a, limit))
        inputs: list[Analysis] = []
        if input:
            with suppress(UsageError):  # the surfaces of the weights can be drawn alone
                inputs = stored(
                    options, InputLandscape.kind, lambda a: attacked_with(a, attack, eps)
                )
        for name in sorted({analysis.identity.dataset for analysis in weights}):
            here = [analysis for analysis in weights if analysis.identity.dataset == name]
            for analysis in here:
                print(f"{analysis.identity.model:32} {weight_line(analysis.summary)}")
            for path in write_weight_figures(here, store, output, format):
                print(f"wrote {path}")
            if here := [analysis for analysis in inputs if analysis.identity.dataset == name]:
                for analysis in here:
                    print(f"{analysis.identity.model:32} {input_line(analysis.summary)}")
                print(f"wrote {write_input_figure(here, store, output, format)}")
        return
    entries = select_models(split_patterns(models), dataset=dataset, models_dir=models_dir)
    require_writable("--results", results)
    by_dataset: dict[str, list[ModelEntry]] = {}
    for entry in entries:
        by_dataset.setdefault(entry.dataset, []).append(entry)
    requests = {name: Request(limit=limit or _images(name), device=device) for name in by_dataset}
    plans = {name: models_of(here, requests[name], models_dir) for name, here in by_dataset.items()}
    require_cells(Plan.joined(plans.values()))
    failed = 0
    for name, plan in plans.items():
        print_troubles(plan)
        cells = [planned.cell for planned in plan.cells]
        found, bad = _analysed(cells, over_weights, store, weight_line)
        failed += bad
        for path in write_weight_figures(found, store, output, format) if found else ():
            print(f"wrote {path}")
        if input and cells:
            given = attacked(by_dataset[name], attack, eps, requests[name], examples, models_dir)
            over_inputs = InputLandscape(given, input_points, seed)
            found, bad = _analysed(cells, over_inputs, store, input_line)
            failed += bad
            if found:
                print(f"wrote {write_input_figure(found, store, output, format)}")
    require_all(failed)


def _images(dataset: str) -> str | None:
    """The default ``--limit``; None where the images are missing."""
    from robench.datasets import find_dataset

    with suppress(MissingDataError):
        return str(min(IMAGES, len(find_dataset(dataset).read("test"))))
    return None


def _analysed(
    cells: Sequence[Cell],
    measurement: Landscape | InputLandscape,
    store: AnalysisStore,
    line: Callable[[dict[str, Any]], str],
) -> tuple[list[Analysis], int]:
    """The analyses of models, printed one by one, and how many models failed."""
    from robench.analysis.measuring import analyse
    from robench.reporting.terminal.progress import ProgressBar

    found, failed, size = [], 0, measurement.evaluations
    with ProgressBar(len(cells) * size, sys.stdout) as bar:
        shown = replace(measurement, progress=bar.update)
        for done in analyse(cells, shown, store):
            bar.next_cell(size)
            if done.analysis is None:
                failed += 1
                print(done.failure, file=sys.stderr)
                continue
            took = f"{done.analysis.run.seconds:6.1f} s" if done.computed else "  kept  "
            print(f"{done.model:32} {took}  {line(done.analysis.summary)}", flush=True)
            found.append(done.analysis)
    return found, failed


def weight_line(summary: dict[str, Any]) -> str:
    """Loss, accuracy and sharpness of a model."""
    parts = [f"loss {_number(summary['loss'])}", f"accuracy {summary['accuracy']:.1%}"]
    parts += [f"S({of['radius']:g}) {_interval(of)}" for of in summary["sharpness"]]
    return "  ".join(parts)


def input_line(summary: dict[str, Any]) -> str:
    """How far the loss rises within ε along each direction."""
    parts = [f"{summary['images']} images", f"loss {_number(summary['loss'])}"]
    parts += [f"{_RISES[name]} {_interval(of)}" for name, of in summary["rise"].items()]
    return "  ".join([*parts, f"zero gradient {summary['zero_gradient']:.1%}"])


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f}"


def _interval(of: dict[str, float | None]) -> str:
    if of["value"] is None:
        return "not finite"
    return f"{of['value']:z.3f} [{of['low']:z.3f}, {of['high']:z.3f}]"
