"""The lines of a run: those of a model together, with verdicts that know of each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import typer

from robench.cli import console
from robench.cli.console import Progress, require_yes
from robench.results import CellResult
from tests.support.made_up import Builder, fall


def printed(builder: Builder, cells: list[tuple[CellResult, bool]]) -> list[str]:
    """What is printed of finished cells, in the order in which they finish."""
    lines: list[str] = []
    bar: Any = SimpleNamespace(learn=lambda cell: None, bar=SimpleNamespace(say=lines.append))
    planned = [
        SimpleNamespace(
            digest=cell.hash,
            done=not new,
            cell=SimpleNamespace(model=SimpleNamespace(id=cell.model)),
        )
        for cell, new in cells
    ]
    chosen: Any = planned
    progress = Progress(bar, chosen, builder.store, quiet=False)
    for cell, new in cells:
        progress.finish(cell, new)
    progress.finish_all()
    return lines


def test_a_cell_has_the_verdict_that_later_cells_give_it(builder: Builder) -> None:
    pgd = builder.add("digits/a", "pgd", fall(90))
    other = builder.add("digits/b", "pgd", fall(50))
    spgd = builder.add("digits/a", "spgd", fall(10))
    lines = printed(builder, [(pgd, True), (other, True), (spgd, True)])
    rows = [line.split() for line in lines if " at 16/255 " in line]
    assert [(row[-4], row[-3]) for row in rows] == [
        ("valid", "pgd"), ("invalid", "pgd"), ("valid", "spgd"),
    ]  # fmt: skip
    assert sum("points of AUC lower" in line for line in lines) == 1


def test_models_of_which_nothing_is_computed_are_left_out(builder: Builder) -> None:
    kept = builder.add("digits/a", "pgd", fall(90))
    new = builder.add("digits/b", "pgd", fall(50))
    assert not any("digits/a" in line for line in printed(builder, [(kept, False), (new, True)]))
    lines = printed(builder, [(kept, False), (new, False)])
    assert sum(line.endswith("kept") for line in lines) == 2


@pytest.mark.parametrize(("terminal", "answer", "goes_on"), [
    (True, "y", True), (True, "n", False), (False, "n", True),
])  # fmt: skip
def test_a_long_run_of_everything_is_asked_about_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, answer: str, goes_on: bool
) -> None:
    stream = SimpleNamespace(isatty=lambda: terminal)
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdin=stream, stdout=stream))
    monkeypatch.setattr(typer, "confirm", lambda text: answer == "y")
    if goes_on:
        require_yes("go on?")
    else:
        with pytest.raises(typer.Exit):
            require_yes("go on?")
