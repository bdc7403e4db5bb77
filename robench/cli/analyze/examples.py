"""The adversarial examples that an analysis needs: those not stored are computed first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from robench.analysis.attacked import Attacked
from robench.cli.console import carry_out
from robench.cli.options import require_one_epsilon
from robench.datasets import find_dataset
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.evaluation import Plan, Planned, Request, make_plan
from robench.registry import ModelEntry, find_attack
from robench.results import ResultStore


def attacked(
    entries: Sequence[ModelEntry],
    attack: str,
    eps: str | None,
    request: Request,
    folder: Path,
    models_dir: Path | None = None,
    *,
    quiet: bool = False,
) -> Attacked:
    """The adversarial examples of an attack on models, each model at one ε.

    Args:
        entries: the models.
        attack: its name, as for ``--attacks``.
        eps: the ε; None for the headline ε of each data set.
        request: the settings of the cells; its grid is not used.
        folder: of the cells, with their adversarial examples.
        models_dir: where checkpoints are looked for first.
        quiet: print nothing.

    Raises:
        UsageError: the attack is unknown, there is more than one ε, or a data set has no headline ε
            for the norm of the attack.
        RobenchError: a model that was named cannot run.
    """
    named, store = find_attack(attack), ResultStore(folder)
    store.require_writable()
    given = None if eps is None else require_one_epsilon(eps)
    cells: list[Planned] = []
    for name in dict.fromkeys(entry.dataset for entry in entries):
        here = [entry for entry in entries if entry.dataset == name]
        epsilon = given or _headline(name, named.attack.norm)
        whole = replace(request, eps=(epsilon,), grid=None, examples=True)
        cells += make_plan(here, [named], whole, store, models_dir).cells
    carry_out(Plan(tuple(cells), ()), store, quiet=quiet)
    return Attacked({planned.cell.model.id: planned for planned in cells}, store)


def _headline(dataset: str, norm: str) -> Epsilon:
    headline = find_dataset(dataset).protocol.headline
    if norm not in headline:
        raise UsageError(f"data set {dataset} has no headline ε for {norm}; give one with --eps")
    return headline[norm]
