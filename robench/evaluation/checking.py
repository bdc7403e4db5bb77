"""Which checks a cell gets, before its sweep and after it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robench import checks
from robench.errors import EvaluationError
from robench.evaluation.cell import Cell
from robench.evaluation.chunks import chunk_of
from robench.evaluation.preparation import at_work, prepare
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import choose_rows
from robench.runtime.threads import Workers

CHECKED = 256
"""The most images that the checks of a model look at."""


def checks_of_model(cell: Cell, batch: int) -> list[Check]:
    """The checks of the model of a cell, measured once for the model and the slice.

    Those of the network's own gradient are left out for an attack that does not follow it. Without
    checks, the gradients of a model that depend on the batch are found all the same.

    Args:
        cell: the cell, at work.
        batch: number of images in a call.
    """
    model = cell.model
    if cell.settings.checks == "off":
        chunk = chunk_of(cell, range(min(CHECKED, len(cell.images))))
        take_by_row(model, checks.batch_gradient(model, chunk.x, chunk.y))
        return []
    known = _known(cell, batch)
    of_batch = (check for check in known if check.name == checks.BATCH_GRADIENT)
    take_by_row(model, next(of_batch, None))
    gradients = cell.attack.attack.gradients
    follows = "own" if gradients == "chosen" and not model.spiking else gradients
    of_others = {"own": checks.OF_CHOSEN_GRADIENT, "chosen": checks.OF_OWN_GRADIENT}
    left_out = of_others.get(follows, checks.OF_GRADIENTS)
    return [check for check in known if check.name not in left_out]


def _known(cell: Cell, batch: int) -> list[Check]:
    """All checks of the model of a cell."""
    model, settings, identity = cell.model, cell.settings, cell.identity
    of = identity.fingerprint, identity.architecture_version, identity.timesteps
    key = (*of, identity.data_sha256, len(cell.images), batch, settings.device, settings.reference)
    if key not in model.checked:
        chunk = chunk_of(cell, range(min(CHECKED, len(cell.images))))
        subject = checks.Examined(model, chunk.x, chunk.y, batch)
        registered = checks.with_plugins(checks.OF_MODELS, checks.ModelCheck)
        model.checked[key] = checks.measured(registered, subject)
    found: list[Check] = model.checked[key]
    return found


def take_by_row(model: Model, found: Check | None) -> None:
    """Take the gradients of a model row by row if they depend on the batch."""
    model.row_by_row = found is not None and found.verdict != "valid"


def checks_of_cell(cell: Cell, rows: pd.DataFrame, workers: Workers, batch: int) -> list[Check]:
    """The checks of a cell after its sweep.

    Args:
        cell: the cell, at work.
        rows: of all samples.
        workers: threads that share the rows of a call.
        batch: number of images in a call.
    """
    model, settings = cell.model, cell.settings
    if settings.checks == "off":
        return []
    own_timesteps = model.card.get("timesteps", model.timesteps) == model.timesteps
    whole = settings.split == "test" and len(cell.images) == cell.dataset.protocol.slice
    subject = checks.Attacked(
        model=model,
        attack=cell.bound,
        chunk=chunk_of(cell, range(min(CHECKED, len(cell.images)))),
        rows=rows,
        grid=settings.grid,
        limit=next(iter(cell.auc_limits.values()), settings.grid[-1].value),
        seed=settings.seed,
        sources=cell.sources,
        published=whole and own_timesteps,
        eot=settings.eot,
        workers=workers,
        batch=batch,
    )
    known = [*checks.OF_CELLS]
    if settings.checks == "full":
        known += checks.OF_CELLS_IN_FULL
    return checks.measured(checks.with_plugins(known, checks.CellCheck), subject)


def checks_alone(cell: Cell) -> list[Check]:
    """The checks of the model of a cell, without an attack.

    Raises:
        RobenchError: the network cannot be called. Its own exceptions are not caught.
    """
    with at_work(cell) as first:
        prepare(cell.model, first.x)
        return _known(cell, cell.settings.batch_size or choose_rows(cell.model, first.x))


def refuse_hopeless(found: Sequence[Check]) -> None:
    """Refuse a model that is invalid whatever the attack finds.

    Raises:
        EvaluationError: the text has the reasons.
    """
    if without_hope := hopeless(found):
        reasons = ", ".join(check.reason for check in without_hope if check.reason)
        raise EvaluationError(
            f"the model is invalid ({reasons}) before any attack; leave out --fail-fast to attack "
            "it all the same"
        )


def hopeless(found: Sequence[Check]) -> list[Check]:
    """Those checks of the model of a cell that make it invalid whatever the attack finds."""
    return [
        check
        for check in found
        if check.verdict == "invalid" or (check.reason == checks.UNAVAILABLE and check.value == 1)
    ]
