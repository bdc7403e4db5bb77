"""The page of the command line names what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import robench.errors
from robench.cli.exits import PIPE_CLOSED
from robench.cli.interrupts import INTERRUPTED, TERMINATED
from robench.datasets import files
from robench.errors import RobenchError
from robench.registry import locations
from robench.spiking import kernels

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def test_every_exit_code_is_in_the_table() -> None:
    errors = [e for e in vars(robench.errors).values() if isinstance(e, type)]
    codes = {e.exit_code for e in errors if issubclass(e, RobenchError)}
    codes |= {0, INTERRUPTED, TERMINATED, PIPE_CLOSED}
    rows = re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE)
    named = {int(code) for row in rows for code in row.split(",")}
    assert named == codes


def test_every_variable_is_in_the_table() -> None:
    for variable in (files.VARIABLE, locations.VARIABLE, kernels.SWITCH):
        assert f"| `{variable}` |" in PAGE
