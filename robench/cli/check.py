"""``robench check``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from robench.cli.options import DataDir, DatasetName, Device, Json, Limit, look_in
from robench.errors import EvaluationError, RobenchError, UsageError
from robench.text import terminal


def check(
    model: Annotated[str, typer.Argument(help="A model's id, or its folder or function.")],
    attack: Annotated[
        str | None, typer.Option(help="Attacks in L∞, with commas, that have to find examples.")
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="With --attack: the ε; the grid's largest by default.")
    ] = None,
    dataset: DatasetName = None,
    limit: Limit = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="<int>", help="Seed of the planted points.")
    ] = 0,
    device: Device = "auto",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Check a model, or whether an attack finds planted examples.

    With --attack, examples are planted in the model, and the attack has to find them.
    """
    import robench

    look_in(dataset, data_dir)
    if eps is not None and attack is None:
        raise UsageError("--eps is that of planted examples: give it with --attack")
    name = Path(model).as_posix() if Path(model).is_dir() else model
    if attack is None:
        with _failures_as_lines():
            found = robench.check(name, dataset=dataset, limit=limit, device=device)
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        frame = found.to_frame()
        text = frame.to_json(orient="records", indent=1) if json else found.text(colours=colours)
        print(text, file=terminal(sys.stdout))
        if found.verdict == "invalid":
            raise typer.Exit(1)
        return
    with _failures_as_lines():
        tests = robench.planted(
            name, attack, dataset=dataset, eps=eps, limit=limit, seed=seed, device=device
        )
    print(tests.to_frame().to_json(orient="records", indent=1) if json else tests)
    if any(test.verdict == "invalid" for test in tests.tests):
        raise typer.Exit(1)


@contextmanager
def _failures_as_lines() -> Iterator[None]:
    """Say what a model or an attack raises on one line, as for a cell that fails."""
    from robench.evaluation.failure import short_reason

    try:
        yield
    except (RobenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EvaluationError(f"the check failed: {short_reason(error)}") from error
