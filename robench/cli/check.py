"""``robench check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import DataDir, Device, Json, Limit, look_in


def check(
    model: Annotated[str, typer.Argument(help="A model's id, or its folder or function.")],
    attack: Annotated[str, typer.Option(help="Attacks in L∞ with commas.")] = "spgd",
    eps: Annotated[
        str | None, typer.Option(help="Radius of the balls; the grid's largest ε by default.")
    ] = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(min=0, metavar="<int>", help="Of the points.")] = 0,
    device: Device = "auto",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Plant adversarial examples in a model, and see whether an attack finds them."""
    import robench

    look_in(None, data_dir)
    name = Path(model).as_posix() if Path(model).is_dir() else model
    tests = robench.planted(name, attack, eps=eps, limit=limit, seed=seed, device=device)
    print(tests.to_frame().to_json(orient="records", indent=1) if json else tests)
    if any(test.verdict == "invalid" for test in tests.tests):
        raise typer.Exit(1)
