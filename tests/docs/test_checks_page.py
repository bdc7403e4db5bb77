"""The page about the checks names each check and reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from torch import nn

import robench
from robench.checks import OF_CELLS, OF_CELLS_IN_FULL, OF_MODELS, Examined
from tests.checks.test_caught import BY_A_CHECK
from tests.checks.test_models import FAULTS
from tests.support.checkpoints import ROOT
from tests.support.model_checks import IMAGES

PAGE = (ROOT / "docs" / "checks.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([\w-]+)`( \*+)? \|(.*)\|$", PAGE, re.M)


@pytest.mark.parametrize("check", [*OF_MODELS, *OF_CELLS, *OF_CELLS_IN_FULL], ids=lambda c: c.name)
def test_a_check_has_a_row(check) -> None:
    assert check.name in {name for name, *_ in ROWS}


def test_every_row_is_a_check() -> None:
    known = {check.name for check in (*OF_MODELS, *OF_CELLS, *OF_CELLS_IN_FULL)}
    between = {"surrogate-gap", "estimator-spread", "single-step", "weaker-attack"}
    assert {name for name, *_ in ROWS} == known | between | {"draws"}


def test_every_reason_of_a_model_is_explained() -> None:
    known = {"own-gradient-is-no-derivative"}.union(
        *(expected for _, expected in (*FAULTS.values(), *BY_A_CHECK.values()))
    )
    assert known <= set(re.findall(r"`([\w-]+)`", PAGE))


def test_the_check_of_the_page_about_plugins_is_one() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    (code,) = re.findall(r"^## Checks$.*?^```python\n(.*?)^```$", page, re.M | re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    for scale, verdict in ((1, "valid"), (1e4, "suspect")):
        net[1].weight.data *= scale
        model = robench.Model(net, dataset="digits")
        subject = Examined(model, IMAGES.tensor(), IMAGES.targets())
        assert names["CONFIDENT"].measure(subject).verdict == verdict
