"""How the time of a cell grows with images, time steps and ε."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from performance.checkpoints import available, load_images, load_model
from performance.options import Options
from performance.robench_side import timesteps_of
from performance.sweep import cell_of, evaluate, request
from performance.timing import isolated, median
from robench import Cell


def exponent(sizes: list[int], times: list[float]) -> float:
    """The p of the power law time = c·sizeᵖ that fits best on logarithmic axes."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def growth(model_id: str, what: str, sizes: list[int], options: Options) -> dict[str, Any]:
    """Median seconds of ``pgd`` cells of several sizes; call it in a fresh process."""
    model = load_model(model_id)
    attack = request("pgd", options.steps)
    cells: list[tuple[int, Cell]] = []
    for size in sizes:
        part = options
        if what == "ε":
            grid = options.grid[1:]
            chosen = {round(k) for k in np.linspace(len(grid) - 1, 0, size)}
            part = replace(options, grid=("0", *(grid[k] for k in sorted(chosen))))
        sized = replace(model, timesteps=size) if what == "time steps" else model
        cells.append((size, cell_of(sized, attack, part, size if what == "images" else None)))

    def run(size: int, cell: Cell) -> float:
        with timesteps_of(model, size if what == "time steps" else model.timesteps or 1):
            return evaluate(cell)[0]

    times: dict[int, list[float]] = {size: [] for size in sizes}
    for size, cell in cells:
        run(size, cell)  # compiles
    for _ in range(max(2, options.repetitions // 3)):
        for size, cell in cells:
            times[size].append(run(size, cell))
    torch.set_flush_denormal(True)  # a cell leaves it off
    seconds = [median(times[size]) for size in sizes]
    return {
        "what": what,
        "model": model_id,
        "sizes": sizes,
        "seconds": seconds,
        "exponent": exponent(sizes, seconds),
    }


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each quantity."""
    model_id = available(options.stbp)
    images = len(load_images(model_id, options.images)[1])
    plans = {
        "images": sorted({max(1, images // part) for part in (8, 4, 2, 1)}),
        "time steps": [1, 2, 4] if options.quick else [2, 4, 8, 16],
        "ε": sorted({max(1, (len(options.grid) - 1) // part) for part in (8, 4, 2, 1)}),
    }
    # cells of half the images for T and ε: the exponent needs no more
    smaller = replace(options, images=max(1, images // 2))
    rows: list[dict[str, Any]] = []
    for what, sizes in plans.items():
        part = options if what == "images" else smaller
        rows.append(isolated(options.threads, growth, model_id, what, sizes, part))
        yield {"rows": rows}
