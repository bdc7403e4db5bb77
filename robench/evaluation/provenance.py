"""The record of a cell: its outcome, and how it was computed."""

from __future__ import annotations

import datetime
import platform
import socket
import time
from functools import cache
from importlib.metadata import version

import torch

from robench.evaluation.cell import Cell
from robench.results import CellResult, Outcome, RunRecord
from robench.results.schema import Status
from robench.runtime import memory
from robench.spiking import kernels

_LIBRARIES = ("robench", "torch", "numpy", "pandas", "scikit-learn")


def record(
    cell: Cell,
    digest: str,
    status: Status,
    started: float,
    *,
    outcome: Outcome | None = None,
    reason: str = "",
    error: str | None = None,
    batch_size: int | None = None,
) -> CellResult:
    """The record of a cell.

    Args:
        cell: the cell.
        digest: its hash.
        status: ``done``, ``failed`` or ``not-applicable``.
        started: when its evaluation began, on the monotonic clock.
        outcome: of a done cell.
        reason: why there is no outcome, on one line.
        error: the same in full.
        batch_size: rows of one call.
    """
    compiled = None  # nothing was computed, and to find out would compile the kernels
    if status != "not-applicable":
        compiled = not cell.settings.reference and kernels.available(cell.settings.device)
    return CellResult(
        status=status,
        model=cell.model.id,
        attack=cell.attack.name,
        dataset=cell.dataset.name,
        hash=digest,
        outcome=outcome,
        reason=reason,
        error=error,
        run=run_record(cell, started, batch_size=batch_size, compiled=compiled),
    )


def run_record(
    cell: Cell, started: float, *, batch_size: int | None = None, compiled: bool | None = None
) -> RunRecord:
    """How and where something was computed; the arguments are those of :func:`record`.

    Args:
        cell: the cell.
        started: see :func:`record`.
        batch_size: see :func:`record`.
        compiled: whether compiled kernels were available.
    """
    return RunRecord(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - started,
        host=socket.gethostname(),
        device=cell.settings.device,
        threads=torch.get_num_threads(),
        batch_size=batch_size,
        kernels=compiled,
        peak_memory_mb=memory.peak() / 2**20,
        versions=dict(_versions()),
    )


@cache
def _versions() -> dict[str, str]:
    """Of Python and of the libraries; read once, while nothing changes the import path."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
