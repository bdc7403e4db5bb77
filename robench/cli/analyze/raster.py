"""``robench analyze raster``: when which neuron spikes."""

from __future__ import annotations

from collections.abc import Sequence
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
    Limit,
    ModelsDir,
    NoRun,
    OneEpsilon,
    Results,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from robench.analysis.activity import DrawnRaster, Raster
    from robench.registry import ModelEntry
    from robench.results import Analysis


def raster(
    models: AnyModels = "*/*-stbp",
    dataset: DatasetName = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer of neurons: a name, or a number from 1; 3 by default.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=0, metavar="<int>", help="Index of the test image.")
    ] = None,
    limit: Limit = None,
    attack: Annotated[str, typer.Option(help="Of the adversarial example.")] = "spgd",
    clean: Annotated[bool, typer.Option("--clean", help="Leave the attack out.")] = False,
    eps: OneEpsilon = None,
    device: Device = "auto",
    no_run: NoRun = False,
    results: Results = Path("results"),
    examples: Examples = EXAMPLES,
    output: Figures = FIGURES,
    format: FigureFormat = "png",
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
) -> None:
    """Spikes of a layer over time, clean and under attack."""
    from robench.analysis.activity import DrawnRaster, Raster, draw_raster, draw_rates, layer_number
    from robench.cli.analyze.examples import attacked
    from robench.evaluation import Request
    from robench.results import AnalysisStore

    name = None if clean else attack
    request = Request(limit=limit, device=device)
    options = Options(models, dataset, no_run, results, models_dir, data_dir)

    def measurement(entries: Sequence[ModelEntry]) -> Raster:
        of = None if name is None else attacked(entries, name, eps, request, examples, models_dir)
        if sample is not None:
            return Raster(of, {entry.dataset: sample for entry in entries})
        return Raster(of, {} if of is None else of.shared())

    def wanted(analysis: Analysis) -> bool:
        same = sample is None or analysis.summary["sample"] == sample
        return same and attacked_with(analysis, name, eps) and of_images(analysis, limit)

    found, failed = measured(options, request, Raster.kind, measurement, wanted)
    store = AnalysisStore(results)

    def drawn(analyses: Sequence[Analysis]) -> list[DrawnRaster]:
        return [DrawnRaster(a, store.arrays(a), layer_number(a, layer)) for a in analyses]

    def spikes(analyses: Sequence[Analysis]) -> Figure:
        return draw_raster(drawn(analyses))

    def rates(analyses: Sequence[Analysis]) -> Figure:
        return draw_rates(drawn(analyses))

    draw_each(spikes, found, output, "raster", format)
    draw_each(rates, found, output, "rates", format)
    require_all(failed)
