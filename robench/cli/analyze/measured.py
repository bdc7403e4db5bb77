"""The shared code of commands that measure models, store it and draw it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from robench.cli.options import look_in, print_damaged, require_one_epsilon, shown, split_patterns
from robench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from robench.analysis.measuring import Measurement
    from robench.evaluation import Request
    from robench.registry import ModelEntry
    from robench.reporting.figures import FigureFormat
    from robench.results import Analysis, Kind


@dataclass(frozen=True)
class Options:
    """What every such command is given.

    Attributes:
        models: as for ``--models``; the others too are what the options of that name say.
        dataset: see ``models``.
        no_run: see ``models``.
        results: see ``models``.
        models_dir: see ``models``.
        data_dir: see ``models``.
        json: see ``models``.
    """

    models: str
    dataset: str | None
    no_run: bool
    results: Path
    models_dir: Path | None
    data_dir: Path | None
    json: bool = False


def measured(
    options: Options,
    request: Request,
    kind: Kind,
    measurement: Callable[[Sequence[ModelEntry]], Measurement],
    wanted: Callable[[Analysis], bool] = lambda analysis: True,
) -> tuple[list[Analysis], int]:
    """The analyses of models: measured and stored, or those that are stored; and how many failed.

    Args:
        options: of the command.
        request: the images and the device.
        kind: of the analyses.
        measurement: of some models.
        wanted: with ``--no-run``, which of the stored analyses are meant.

    Raises:
        UsageError: nothing can be measured, or with ``--no-run`` nothing is stored.
    """
    from robench.analysis.measuring import analyse, models_of
    from robench.cli.console import print_troubles, require_cells
    from robench.registry import select_models
    from robench.results import AnalysisStore, ResultStore

    if options.no_run:
        return stored(options, kind, wanted), 0
    look_in(options.dataset, options.data_dir)
    entries = select_models(
        split_patterns(options.models), dataset=options.dataset, models_dir=options.models_dir
    )
    store = AnalysisStore(options.results)
    ResultStore(options.results).require_writable()
    plan = models_of(entries, request, options.models_dir)
    require_cells(plan)
    print_troubles(plan)
    cells = [planned.cell for planned in plan.cells]
    known = {cell.model.id for cell in cells}
    done: list[Analysis] = []
    for one in analyse(cells, measurement([e for e in entries if e.id in known]), store):
        if one.analysis is None:
            print(one.failure, file=sys.stderr)
            continue
        done.append(one.analysis)
        if not options.json:
            took = f"{one.analysis.run.seconds:6.1f} s" if one.computed else "  kept"
            print(f"{one.model:32} {kind} {took}", flush=True)
    return done, len(cells) - len(done)


def stored(
    options: Options, kind: Kind, wanted: Callable[[Analysis], bool] = lambda analysis: True
) -> list[Analysis]:
    """The stored analyses of models that can be drawn together, of the weights of today.

    Args:
        options: of the command.
        kind: of the analyses.
        wanted: which of them are meant.

    Raises:
        UsageError: none is stored.
    """
    from robench.analysis.measuring import comparable
    from robench.registry import model_entries
    from robench.results import AnalysisStore

    look_in(options.dataset, options.data_dir)
    entries = model_entries(options.models_dir)
    found, damaged = AnalysisStore(options.results).analyses(kind)
    print_damaged(damaged)
    found = [of for of in found if options.dataset in (None, of.identity.dataset)]
    registered = {str(entry.id): entry for entry in entries.values()}
    names = {analysis.identity.model for analysis in found}
    public = [n for n in sorted(names) if n not in registered or not registered[n].control]
    cards = {
        name: registered[name].card if name in registered else None
        for name in _asked(options, names, public)
    }
    known = []
    for analysis in found:
        of = analysis.identity
        if of.model not in cards or not wanted(analysis):
            continue
        card = cards[of.model]
        if card is not None and card.weights.sha256 != of.fingerprint:
            print(f"left out, {of.model} has other weights today: {analysis.hash[:16]}",
                  file=sys.stderr)  # fmt: skip
            continue
        known.append(analysis)
    chosen = comparable(known)
    if not chosen:
        raise UsageError(f"{shown(options.results)} has no {kind} of these; leave out --no-run")
    drawn = {analysis.identity.model for analysis in chosen}
    if left := sorted({analysis.identity.model for analysis in known} - drawn):
        print(f"left out, of other images or settings: {', '.join(left)}", file=sys.stderr)
    return chosen


def _asked(options: Options, stored_models: set[str], public: Sequence[str]) -> set[str]:
    """Those of the stored models that the user asked for; they need not be registered.

    Args:
        options: of the command.
        stored_models: all of them.
        public: those that are no controls.

    Raises:
        UsageError: a pattern means neither a stored model nor one that can be loaded.
    """
    from robench.registry import select_models
    from robench.registry.patterns import is_glob, match

    asked: set[str] = set()
    for pattern in split_patterns(options.models):
        if pattern == "all":
            asked |= set(public)
        elif pattern in stored_models:
            asked.add(pattern)
        elif is_glob(pattern) and (found := match(pattern, public)):
            asked |= set(found)
        else:
            chosen = select_models(
                [pattern], dataset=options.dataset, models_dir=options.models_dir
            )
            asked |= {str(entry.id) for entry in chosen}
    return asked


def attacked_with(analysis: Analysis, attack: str | None, eps: str | None) -> bool:
    """Whether an analysis is of an attack, or of clean images alone, and of an ε if one is given.

    Raises:
        UsageError: the ε cannot be read.
    """
    from robench.epsilon import Epsilon

    settings = analysis.identity.settings
    if settings.get("attack") != attack:
        return False
    if eps is None or attack is None:
        return True
    return Epsilon.parse(settings["epsilon"]).value == require_one_epsilon(eps).value


def of_images(analysis: Analysis, limit: str | None) -> bool:
    """Whether an analysis is of so many images, if a count is given."""
    return limit is None or not limit.isdecimal() or analysis.identity.samples == int(limit)


def draw_each(
    draw: Callable[[Sequence[Analysis]], Figure],
    analyses: Sequence[Analysis],
    folder: Path,
    name: str,
    form: FigureFormat,
) -> None:
    """Draw the analyses of each data set as ``DATASET-name.form`` and print the paths."""
    from robench.file_names import file_name
    from robench.reporting.figures import save_figure

    for dataset in sorted({analysis.identity.dataset for analysis in analyses}):
        here = [analysis for analysis in analyses if analysis.identity.dataset == dataset]
        path = folder / f"{file_name(dataset)}-{name}.{form}"
        print(f"wrote {save_figure(draw, here, path)}")


def require_all(failed: int) -> None:
    """Exit 1 where a model could not be measured."""
    if failed:
        print(f"{failed} of the models failed", file=sys.stderr)
        raise typer.Exit(1)
