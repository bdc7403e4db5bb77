"""The record of a cell: what came out, and what the run was like."""

from __future__ import annotations

import datetime
import platform
import resource
import socket
import sys
import time
from importlib.metadata import version

import torch

from robench.evaluation.cell import Cell
from robench.results import CellResult, Outcome, RunRecord
from robench.spiking import kernels

_LIBRARIES = ("robench", "torch", "numpy", "pandas", "scikit-learn")


def record(
    cell: Cell,
    digest: str,
    status: str,
    started: float,
    *,
    outcome: Outcome | None = None,
    error: str | None = None,
    batch_size: int | None = None,
) -> CellResult:
    """The record of a cell whose evaluation began at ``started``, on the monotonic clock."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    at_hand = None  # nothing was computed, so nothing is compiled for the answer
    if status != "not-applicable":
        at_hand = not cell.settings.reference and kernels.at_hand(cell.settings.device)
    return CellResult.model_validate(
        {
            "status": status,
            "model": cell.model.id,
            "attack": cell.attack.name,
            "dataset": cell.dataset.name,
            "hash": digest,
            "outcome": outcome,
            "error": error,
            "run": RunRecord(
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                seconds=time.monotonic() - started,
                host=socket.gethostname(),
                device=cell.settings.device,
                threads=torch.get_num_threads(),
                batch_size=batch_size,
                kernels=at_hand,
                peak_memory_mb=peak / (2**20 if sys.platform == "darwin" else 2**10),
                versions={
                    "python": platform.python_version(),
                    **{name: version(name) for name in _LIBRARIES},
                },
            ),
        }
    )
