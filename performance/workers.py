"""Runs with one and with two workers: processes, and nodes of a Ray on this machine.

Every worker has one thread, and every run computes the benchmark of digits into an empty folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from performance.options import Options
from robench import ResultStore
from robench.results import CellResult

COMMAND = (sys.executable, "-m", "robench", "run", "--dataset", "digits")
WORKERS = ("executor", "workers", "seconds", "× one worker", "same bytes as local")
MOST = 225
"""Test images of digits."""


@contextmanager
def cluster(nodes: int) -> Iterator[dict[str, str]]:
    """A Ray of nodes with one core each; yields the environment in which a run finds it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes - 1):
            found.add_node(num_cpus=1)
        yield {"RAY_ADDRESS": found.address}
    finally:
        found.shutdown()


def run(output: Path, options: Options, executor: str, workers: int) -> float:
    """Seconds of a run in a process of its own, with its imports."""
    models = "digits/vgg16-ann" if options.quick else "all"
    attacks = "fgsm,pgd" if options.quick else "fgsm,pgd,spgd"
    images = str(min(options.images, MOST))
    command = [*COMMAND, "--models", models, "--attacks", attacks, "--limit", images]
    command += ["--executor", executor, "--output", str(output)]
    if executor != "local":
        command += ["--jobs", str(workers)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if executor == "ray":
        with cluster(workers) as address:
            return _seconds(command, environment | address)
    return _seconds(command, environment)


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def content(folder: Path) -> dict[str, tuple[str | None, object]]:
    """The SHA-256 of the rows and the outcome of each cell."""
    cells, damaged = ResultStore(folder).cells()
    assert not damaged
    return {cell.hash: _content(cell) for cell in cells}


def _content(cell: CellResult) -> tuple[str | None, object]:
    return cell.rows_sha256, cell.outcome and cell.outcome.model_dump()


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each run; all results have to be those of the first."""
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        first = Path(folder) / "local-1"
        runs = (("local", 1), ("process", 1), ("process", 2), ("ray", 1), ("ray", 2))
        for executor, workers in runs:
            output = Path(folder) / f"{executor}-{workers}"
            taken = run(output, options, executor, workers)
            same = content(output) == content(first)
            row = {"model": "", "executor": executor, "workers": workers}
            row |= {"cells": len(content(first)), "images": min(options.images, MOST)}
            rows.append(row | {"seconds": taken, "same": same})
            yield {"rows": rows}


def worker_rows(part: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The rows of the page's table."""
    alone = {row["executor"]: row["seconds"] for row in part["rows"] if row["workers"] == 1}
    for row in part["rows"]:
        times = alone[row["executor"]] / row["seconds"]
        same = "yes" if row["same"] else "no"
        yield row["executor"], f"{row['workers']}", f"{row['seconds']:.0f}", f"{times:.2f}", same
