"""The page about the checks names each check and reason."""

from __future__ import annotations

import re

import pytest

from robench.checks import OF_CELLS, OF_CELLS_IN_FULL, OF_MODELS
from tests.checks.test_caught import BY_A_CHECK
from tests.checks.test_models import FAULTS
from tests.support.checkpoints import ROOT

PAGE = (ROOT / "docs" / "checks.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([\w-]+)`( \*)? \|(.*)\|$", PAGE, re.M)


@pytest.mark.parametrize("check", [*OF_MODELS, *OF_CELLS, *OF_CELLS_IN_FULL], ids=lambda c: c.name)
def test_a_check_has_a_row(check) -> None:
    assert check.name in {name for name, *_ in ROWS}


def test_every_row_is_a_check() -> None:
    known = {check.name for check in (*OF_MODELS, *OF_CELLS, *OF_CELLS_IN_FULL)}
    between = {"surrogate-gap", "weaker-attack"}
    assert {name for name, *_ in ROWS} == known | between | {"draws"}


def test_every_reason_of_a_model_is_explained() -> None:
    known = set().union(*(expected for _, expected in (*FAULTS.values(), *BY_A_CHECK.values())))
    assert known <= set(re.findall(r"`([\w-]+)`", PAGE))
