"""The whole grid of ε: robench's cells against the attack libraries, each in a fresh process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from performance import robench_side
from performance.checkpoints import available, load_images, load_model
from performance.options import Options
from performance.peers import snntorch as snntorch_peer
from performance.peers.attacks import SWEEPS, Budget
from performance.peers.plan import NotComparable
from performance.targets import OURS, THEIRS
from performance.timing import isolated, median
from robench import Cell, CellResult, Model, ResultStore, Settings, evaluate_cell, find_attack
from robench.datasets import Images
from robench.epsilon import parse_grid
from robench.spiking import kernels

ROBENCH = ("pgd", "spgd")
CARD_STEPS = 20


def cell_of(model: Model, attack: str, options: Options, images: int | None = None) -> Cell:
    """A cell on the first test images, in batches of the same size as the peers'."""
    dataset, part = load_images(model.id, images or options.images)
    settings = Settings(grid=parse_grid(options.grid), batch_size=options.batch)
    return Cell(model, find_attack(attack), dataset, part, settings)


def request(attack: str, steps: int) -> str:
    """The name of the attack with this number of steps."""
    if steps == CARD_STEPS:
        return attack
    more = f"pgd_steps={steps}," if attack == "spgd" else ""
    return f"{attack}[{more}steps={steps}]"


def evaluate(cell: Cell) -> tuple[float, CellResult]:
    """Seconds and result of a cell in an empty store, so that nothing is reused."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = evaluate_cell(cell, ResultStore(Path(folder)))
        return time.perf_counter() - start, result


def compile_kernels() -> float:
    """Seconds to compile the kernels; 0 if they cannot be compiled."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        try:
            kernels.build(Path(folder))
        except (OSError, subprocess.SubprocessError):
            return 0.0
    return time.perf_counter() - start


def robench_sweep(
    model_id: str, attack: str, options: Options, *, compiled: bool = False
) -> dict[str, Any]:
    """A sweep; call it in a fresh process.

    The time to compile its kernels is included unless they count as ``compiled``.
    """
    for library in ("pyarrow.parquet", "sklearn.metrics"):
        import_module(library)  # as the peers' libraries, before the clock starts
    model = load_model(model_id)
    cell = cell_of(model, attack, options)
    kernels.library()  # compiled again below, where it is timed alone
    compiling = 0.0 if compiled else compile_kernels()
    with robench_side.timed_checks() as checks:
        seconds, result = evaluate(cell)
    torch.set_flush_denormal(True)  # a cell leaves it off
    outcome = result.outcome
    if outcome is None:
        raise RuntimeError(f"{model_id} under {attack}: {result.error}")
    return {
        "version": cell.attack.version,
        "seconds": compiling + seconds,
        "compile_seconds": compiling,
        "check_seconds": sum(checks.values()),
        "gradients": outcome.backwards,
        "forwards": outcome.forwards,
        "accuracy": [point.accuracy for point in outcome.curve],
    }


def peer_sweep(model_id: str, peer: str, column: str, options: Options) -> dict[str, Any]:
    """A library's sweep over the grid; call it in a fresh process."""
    model = load_model(model_id)
    network = model.module
    if column == THEIRS:
        network = snntorch_peer.network(robench_side.config_of(model), model.module)
    _, images = load_images(model_id, options.images)
    return library_sweep(network, images, peer, options)


def library_sweep(
    network: nn.Module, images: Images, peer: str, options: Options
) -> dict[str, Any]:
    """A library's sweep of a network over the grid."""
    x, y = images.tensor(), images.targets()
    budgets = [epsilon.value for epsilon in parse_grid(options.grid)[1:]]
    sweep = SWEEPS[peer]
    sweep(network, x[:1], y[:1], budgets[:1], 1, 1)  # imports the library before the clock starts
    torch.manual_seed(0)
    budget = Budget()
    budget.watch(network)
    start = time.perf_counter()
    with torch.no_grad():
        clean = torch.cat([network(part).argmax(1) for part in x.split(options.batch)]) == y
    curve = sweep(network, x, y, budgets, options.steps, options.batch)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "compile_seconds": 0.0,
        "gradients": budget.gradients / len(x),
        "forwards": budget.forwards / len(x),
        "accuracy": [float(clean.float().mean()), *curve],
    }


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The tables so far, after each competitor's sweep.

    Repetitions alternate, A B C A B C, so that the load of the machine affects all equally.
    """
    tables: list[dict[str, Any]] = []
    competitors = [
        *((attack, "") for attack in ROBENCH),
        *((peer, column) for column in (THEIRS, OURS) for peer in options.peers),
    ]
    for role, asked in options.roles:
        model_id = available(asked)
        runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
        tables.append(
            {
                "role": role,
                "model": model_id,
                "asked": asked,
                "images": min(options.images, len(load_images(model_id, options.images)[1])),
                "repetitions": options.sweep_repetitions,
                "steps": options.steps,
                "grid": list(options.grid),
                "rows": [],
            }
        )
        for _ in range(options.sweep_repetitions):
            for who in competitors:
                runs.setdefault(who, []).append(_run(model_id, *who, options))
                tables[-1]["rows"] = [row_of(*one, found) for one, found in runs.items()]
                yield {"tables": tables}


def _run(model_id: str, competitor: str, column: str, options: Options) -> dict[str, Any]:
    try:
        if not column:
            attack = request(competitor, options.steps)
            return isolated(options.threads, robench_sweep, model_id, attack, options)
        return isolated(options.threads, peer_sweep, model_id, competitor, column, options)
    except (NotComparable, ImportError) as reason:
        return {"skipped": str(reason)}


def row_of(competitor: str, column: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A competitor's runs as one, with the median of their times."""
    who = {"competitor": competitor, "column": column}
    if "skipped" in runs[0]:
        return who | runs[0]
    keys = [key for key in runs[0] if key.endswith("seconds")]
    middle = {key: median([run[key] for run in runs]) for key in keys}
    return who | runs[0] | middle | {"all_seconds": [run["seconds"] for run in runs]}
