"""The group ``robench analyze``: a closer look at a model or at results."""

import typer

from robench.cli.analyze.activity import energy, sparsity
from robench.cli.analyze.attacks import estimators, transfer
from robench.cli.analyze.compared import differences, found_by, gallery, passes
from robench.cli.analyze.landscape import landscape
from robench.cli.analyze.raster import raster
from robench.cli.analyze.trainings import curves

_OF_MODELS = (sparsity, energy, raster, landscape)
_OF_RESULTS = (differences, found_by, gallery, passes, curves)
_WITH_RUNS = (estimators, transfer)

analyze = typer.Typer(help="Look into models, trainings and results.", no_args_is_help=True)
for command in (*_OF_MODELS, *_OF_RESULTS, *_WITH_RUNS):
    analyze.command()(command)
