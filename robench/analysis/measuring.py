"""Analyses of models that are stored: one for each model and kind of measurement."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from robench.attacks import RandomNoise
from robench.epsilon import Epsilon
from robench.evaluation import Cell, Plan, Request, at_work, make_plan, run_record
from robench.evaluation.failure import short_reason
from robench.registry import ModelEntry, NamedAttack
from robench.results import Analysis, AnalysisIdentity, AnalysisStore, Kind, ResultStore
from robench.spiking import kernels

_ANY = NamedAttack("none", RandomNoise(), "none", "1", "")


class Measured(NamedTuple):
    """What was measured of a model.

    Attributes:
        summary: plain data.
        arrays: by name.
    """

    summary: dict[str, Any]
    arrays: Mapping[str, np.ndarray]


class Measurement(Protocol):
    """A kind of measurement, with its settings."""

    kind: ClassVar[Kind]
    version: ClassVar[int]

    def settings(self, cell: Cell) -> dict[str, Any]:
        """What the outcome depends on beside the model and the images.

        Raises:
            UsageError: the measurement is not possible.
        """

    def measure(self, cell: Cell) -> Measured:
        """Measure a model, which is on its device and surveyed.

        Raises:
            RobenchError: the measurement is not possible.
        """


@dataclass(frozen=True)
class Analysed:
    """An analysis of a model, or why there is none.

    Attributes:
        model: its id.
        analysis: the record; None if it failed.
        computed: whether it was computed now.
        reason: why there is none, on one line.
    """

    model: str
    analysis: Analysis | None
    computed: bool = False
    reason: str = ""

    @property
    def failure(self) -> str:
        """The reason with the name of the model, which it may have already."""
        return self.reason if self.model in self.reason else f"{self.model}: {self.reason}"


def models_of(
    entries: Sequence[ModelEntry], request: Request, models_dir: Path | None = None
) -> Plan:
    """The models with their images, as cells of an attack that is not run.

    Raises:
        UsageError: see :func:`robench.evaluation.make_plan`, like the next.
        RobenchError: a model that was named cannot run.
    """
    with TemporaryDirectory(prefix="robench-") as empty:
        nothing = ResultStore(Path(empty))
        unused = replace(request, eps=(Epsilon.parse("1/255"),), grid=None)  # for any data set
        return make_plan(entries, [_ANY], unused, nothing, models_dir)


def identity_of(cell: Cell, measurement: Measurement) -> AnalysisIdentity:
    """Everything that an analysis depends on."""
    of = cell.identity
    return AnalysisIdentity(
        kind=measurement.kind,
        version=measurement.version,
        model=of.model,
        fingerprint=of.fingerprint,
        model_config=of.model_config_,
        architecture_version=of.architecture_version,
        timesteps=of.timesteps,
        dataset=of.dataset,
        data_sha256=of.data_sha256,
        samples=of.samples,
        settings=measurement.settings(cell),
    )


def analyse(
    cells: Sequence[Cell], measurement: Measurement, store: AnalysisStore
) -> Iterator[Analysed]:
    """The analysis of each model; what is not stored is computed and stored.

    A model that raises is reported, and the next one follows.

    Args:
        cells: the models with their images.
        measurement: of each.
        store: of the analyses.
    """
    for cell in cells:
        name = str(cell.model.id)
        identity = identity_of(cell, measurement)
        stored = store.find(identity)
        if stored is not None:
            yield Analysed(name, stored)
            continue
        try:
            yield Analysed(name, _computed(cell, measurement, identity, store), computed=True)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # of the network: only this model fails
            yield Analysed(name, None, reason=short_reason(error))
        finally:
            cell.model.release()


def _computed(
    cell: Cell, measurement: Measurement, identity: AnalysisIdentity, store: AnalysisStore
) -> Analysis:
    started = time.monotonic()
    with at_work(cell):
        summary, arrays = measurement.measure(cell)
    analysis = Analysis(
        identity=identity,
        hash=identity.digest(),
        mode=mode_of(cell),
        registered=cell.model.registered,
        summary=summary,
        run=run_record(cell, started, compiled=kernels.available(cell.settings.device)),
    )
    return store.write(analysis, arrays)


def mode_of(cell: Cell) -> str:
    """The mode of a model; ``spiking`` for a network that spikes and does not declare it."""
    model = cell.model
    spikes = model.discovery is not None and bool(model.discovery.spikes)
    return "spiking" if spikes and model.mode == "ann" else model.mode


def newest(analyses: Sequence[Analysis]) -> list[Analysis]:
    """The newest analysis of each model, in the order of their ids."""
    found: dict[str, Analysis] = {}
    for analysis in sorted(analyses, key=lambda a: (a.run.created, a.hash)):
        found[analysis.identity.model] = analysis
    return [found[model] for model in sorted(found)]


def comparable(analyses: Sequence[Analysis]) -> list[Analysis]:
    """Those of each data set that can be drawn together: with the same images and settings.

    Of several such sets it is that of the most models, and among these the newest.
    """
    sets: dict[str, dict[str, list[Analysis]]] = {}
    for analysis in analyses:
        of = analysis.identity
        settings = {key: value for key, value in of.settings.items() if key != "cell"}
        same = json.dumps([of.version, of.data_sha256, settings], sort_keys=True)
        sets.setdefault(of.dataset, {}).setdefault(same, []).append(analysis)
    chosen: list[Analysis] = []
    for alike in sets.values():
        found = [newest(group) for group in alike.values()]
        found.sort(key=lambda group: (len(group), max(a.run.created for a in group)))
        chosen += found[-1]
    return sorted(chosen, key=lambda analysis: analysis.identity.model)
