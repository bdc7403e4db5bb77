"""``robench analyze sparsity|energy``: what a network does for an inference."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli.analyze.measured import (
    Options,
    attacked_with,
    draw_each,
    measured,
    of_images,
    require_all,
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
    Json,
    Limit,
    ModelsDir,
    NoRun,
    OneEpsilon,
    Results,
)
from robench.errors import UsageError

if TYPE_CHECKING:
    from robench.analysis.activity import Activity
    from robench.registry import ModelEntry
    from robench.results import Analysis

Attacked = Annotated[
    str | None, typer.Option("--attack", help="Also measure its adversarial examples.")
]
Layers = Annotated[bool, typer.Option("--layers", help="Print every layer too.")]


def sparsity(
    models: AnyModels = "all",
    dataset: DatasetName = None,
    limit: Limit = None,
    attack: Attacked = None,
    eps: OneEpsilon = None,
    layers: Layers = False,
    device: Device = "auto",
    no_run: NoRun = False,
    results: Results = Path("results"),
    examples: Examples = EXAMPLES,
    output: Figures = FIGURES,
    format: FigureFormat = "png",
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Spikes, firing rates and silent neurons of networks."""
    from robench.analysis.activity import draw_sparsity, sparsity_lines

    options = Options(models, dataset, no_run, results, models_dir, data_dir, json)
    found, failed = _activity(options, limit, device, attack, eps, examples)
    _show(found, sparsity_lines, layers=layers, energy=False, json=json)
    if found and not json:
        draw_each(draw_sparsity, found, output, "sparsity", format)
    require_all(failed)


def energy(
    models: AnyModels = "all",
    dataset: DatasetName = None,
    limit: Limit = None,
    attack: Attacked = None,
    eps: OneEpsilon = None,
    layers: Layers = False,
    device: Device = "auto",
    no_run: NoRun = False,
    results: Results = Path("results"),
    examples: Examples = EXAMPLES,
    output: Figures = FIGURES,
    format: FigureFormat = "png",
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Synaptic operations of networks, and their energy."""
    from robench.analysis.activity import draw_energy, energy_lines

    options = Options(models, dataset, no_run, results, models_dir, data_dir, json)
    found, failed = _activity(options, limit, device, attack, eps, examples)
    _show(found, energy_lines, layers=layers, energy=True, json=json)
    if found and not json:
        draw_each(draw_energy, found, output, "energy", format)
    require_all(failed)


def _activity(
    options: Options,
    limit: str | None,
    device: str,
    attack: str | None,
    eps: str | None,
    examples: Path,
) -> tuple[list[Analysis], int]:
    from robench.analysis.activity import Activity
    from robench.cli.analyze.examples import attacked
    from robench.evaluation import Request

    request = Request(limit=limit, device=device)

    def measurement(entries: Sequence[ModelEntry]) -> Activity:
        if attack is None:
            return Activity()
        return Activity(
            attacked(
                entries, attack, eps, request, examples, options.models_dir, quiet=options.json
            )
        )

    def wanted(analysis: Analysis) -> bool:
        return attacked_with(analysis, attack, eps) and of_images(analysis, limit)

    if eps is not None and attack is None:
        raise UsageError("--eps is that of an attack: give it with --attack")

    return measured(options, request, Activity.kind, measurement, wanted)


def _show(
    found: Sequence[Analysis],
    lines: Callable[[Sequence[Analysis]], Iterator[str]],
    *,
    layers: bool,
    energy: bool,
    json: bool,
) -> None:
    from robench.analysis.activity import conditions, layer_lines, title

    if json:
        print(jsonlib.dumps([a.model_dump(mode="json", by_alias=True) for a in found], indent=1))
        return
    if not found:
        return
    for analysis in found if layers else ():
        for condition in conditions(analysis):
            print(f"\n{title(analysis)}: {condition}")
            for line in layer_lines(analysis, condition, energy=energy):
                print(line)
    print()
    for line in lines(found):
        print(line)
