"""What a single gradient hides: PGD through each surrogate and each path, beside the ensemble.

All runs are ``pgd``: the same steps, step size and starts. They differ in the gradient estimator
alone, so that it is the cause of every difference between two runs. The cells have one ε, and are
kept in a store of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.architectures import PlasticFlexLayer
from robench.attacks import SurrogateEnsemble
from robench.datasets import Dataset, find_dataset
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.evaluation import Plan, Request, make_plan
from robench.registry import Model, ModelEntry, find_attack
from robench.results import ROBUST, CellResult, ResultStore
from robench.results.metrics import bootstrap
from robench.spiking import PATHS, STBP, Surrogate, surrogate_names

NORM = "linf"
ENSEMBLE = "spgd"
OWN, WORST = "own", "worst"
COLUMNS: dict[str, type] = {
    "dataset": str,
    "epsilon": str,
    "data_sha256": str,
    "samples": int,
    "seed": int,
    "model": str,
    "surrogate": str,
    "path": str,
    "attack": str,
    "version": str,
    "clean": int,
    "robust": int,
    "above": float,
    "low": float,
    "high": float,
    "verdict": str,
    "hash": str,
}
"""Of a table: counts of samples, and in ``above`` the robust accuracy minus the ensemble's."""


@dataclass(frozen=True)
class Through:
    """The gradient estimator of a run of PGD: a row of the table.

    Attributes:
        surrogate: empty if the path takes none.
        path: the gradient path.
        attack: as the command line names it.
    """

    surrogate: str
    path: str
    attack: str


def _through(surrogate: str, path: str) -> Through:
    name = f"{SurrogateEnsemble.name}[paths=[{path}],surrogates=[{surrogate}]]"
    return Through(surrogate, path, name)


def all_gradients() -> tuple[Through, ...]:
    """The model's own gradient, a surrogate of each family along ``stbp``, and each other path.

    A path that takes a surrogate gets the first one.
    """
    surrogates = [str(Surrogate.parse(name)) for name in surrogate_names()]
    paths = [path for path in PATHS.values() if path != STBP]
    return (
        Through(OWN, OWN, "pgd"),
        *(_through(surrogate, STBP.name) for surrogate in surrogates),
        *(_through(surrogates[0] if path.takes_surrogate else "", path.name) for path in paths),
    )


@dataclass(frozen=True)
class Comparison:
    """The runs on the models of one data set.

    Attributes:
        epsilon: at which all of them attack.
        plan: a cell for each model and run, and one for the ensemble.
    """

    dataset: Dataset
    epsilon: Epsilon
    plan: Plan

    def table(self, results: Sequence[CellResult], store: ResultStore) -> pd.DataFrame:
        """The numbers of those results that are done, by :data:`COLUMNS`.

        The rows of a model are the runs in order, their worst case per sample, and the ensemble.
        """
        found = {(cell.model, cell.attack): cell for cell in results if cell.outcome is not None}
        models = dict.fromkeys(planned.cell.model.id for planned in self.plan.cells)
        rows: list[dict[str, Any]] = []
        for model in models:
            here = {attack: cell for (name, attack), cell in found.items() if name == model}
            rows += self._rows(here, store)
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _rows(self, cells: dict[str, CellResult], store: ResultStore) -> list[dict[str, Any]]:
        robust = {attack: _robust(cell, store) for attack, cell in cells.items()}
        ensemble = robust.get(ENSEMBLE)
        runs = [through for through in all_gradients() if through.attack in cells]
        rows = [self._row(cells[r.attack], r, robust[r.attack], ensemble) for r in runs]
        if runs:
            together = np.logical_and.reduce([robust[run.attack] for run in runs])
            row = self._row(cells[runs[0].attack], Through("", "", WORST), together, ensemble)
            rows.append(row | {"version": "", "verdict": "", "hash": ""})
        if ensemble is not None:
            through = Through("", "", ENSEMBLE)
            rows.append(self._row(cells[ENSEMBLE], through, ensemble, ensemble))
        return rows

    def _row(
        self,
        cell: CellResult,
        through: Through,
        robust: NDArray[np.bool_],
        ensemble: NDArray[np.bool_] | None,
    ) -> dict[str, Any]:
        assert cell.outcome is not None
        who = cell.outcome.identity
        above, low, high = np.nan, np.nan, np.nan
        if ensemble is not None:
            more = robust.astype(np.float64) - ensemble
            interval = bootstrap(more)
            above, low, high = float(more.mean()), interval.low, interval.high
        return {
            "dataset": self.dataset.name,
            "epsilon": self.epsilon.text,
            "data_sha256": who.data_sha256[:16],
            "samples": who.samples,
            "seed": who.seed,
            "model": cell.model,
            "surrogate": through.surrogate,
            "path": through.path,
            "attack": through.attack,
            "version": who.attack_version,
            "clean": cell.outcome.curve[0].robust,
            "robust": int(robust.sum()),
            "above": above,
            "low": low,
            "high": high,
            "verdict": cell.outcome.verdict,
            "hash": cell.hash[:16],
        }


def _robust(cell: CellResult, store: ResultStore) -> NDArray[np.bool_]:
    """Which samples stay robust, in the order of the data."""
    rows = store.rows(cell)
    robust: NDArray[np.bool_] = rows["minimal_position"].to_numpy() == ROBUST
    return robust


def gradient_comparisons(
    entries: Sequence[ModelEntry],
    request: Request,
    store: ResultStore,
    models_dir: Path | None = None,
) -> list[Comparison]:
    """The runs on every spiking model among the entries, by data set.

    A run that cannot differ from another is left out: all of them on a network without spikes, and
    the path past the adaptation on a network without adaptation.

    Args:
        entries: the models; one without spikes is left out, unless the user named it.
        request: everything else; without ``eps`` the headline ε of each data set.
        store: where the cells go.
        models_dir: where checkpoints are looked for first.

    Raises:
        UsageError: there is more than one ε or no headline ε, or a model that was named, or every
            model, has no spikes.
        RobenchError: a model that was named cannot run.
    """
    names = [*(through.attack for through in all_gradients()), ENSEMBLE]
    attacks = [find_attack(name) for name in names]
    detached = {t.attack for t in all_gradients() if _past_plasticity(t.path)}
    named = {entry.id for entry in entries if entry.named}
    found = []
    for name in sorted({entry.dataset for entry in entries}):
        here = [entry for entry in entries if entry.dataset == name]
        dataset = find_dataset(name)
        epsilon = _epsilon(dataset, request)
        asked = replace(request, eps=(epsilon,), grid=None)
        plan = make_plan(here, attacks, asked, store, models_dir)
        cells = []
        for planned in plan.cells:
            model = planned.cell.model
            if not model.spiking:
                if model.id in named:
                    raise UsageError(
                        f"model {model.id} has no spikes, so it has one gradient; leave it out"
                    )
            elif planned.cell.attack.name not in detached or _has_plasticity(model):
                cells.append(planned)
        found.append(Comparison(dataset, epsilon, Plan(tuple(cells), plan.skipped)))
    if not any(one.plan.cells or one.plan.skipped for one in found):
        raise UsageError("none of these models has spikes, so there is one gradient for each")
    return found


def _epsilon(dataset: Dataset, request: Request) -> Epsilon:
    if request.eps is not None:
        if len(request.eps) != 1:
            raise UsageError(f"--eps {','.join(map(str, request.eps))}: all runs attack at one ε")
        return request.eps[0]
    if NORM not in dataset.protocol.headline:
        raise UsageError(f"data set {dataset.name} has no headline ε for {NORM}; give --eps")
    return dataset.protocol.headline[NORM]


def _past_plasticity(path: str) -> bool:
    return path in PATHS and not PATHS[path].through_plasticity


def _has_plasticity(model: Model) -> bool:
    layers = model.module.modules()
    return any(isinstance(layer, PlasticFlexLayer) and layer.config.plasticity for layer in layers)
