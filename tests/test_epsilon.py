"""ε as a number and as a text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import robench
from robench.epsilon import Epsilon, text_of


def net() -> nn.Module:
    """The same untrained network each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 10))


@pytest.mark.parametrize(
    ("value", "text"),
    [(8 / 255, "8/255"), (0.25 / 255, "0.25/255"), (0.2, "0.2"), (0.03, "0.03"), (1e-9, "1e-09")],
)
def test_the_text_of_a_number_is_short_and_read_as_it(value: float, text: str) -> None:
    assert text_of(value) == text
    assert Epsilon.parse(text).value == value


@pytest.mark.parametrize("value", np.random.default_rng(0).random(50).tolist())
def test_no_digit_of_a_number_is_lost(value: float) -> None:
    assert Epsilon.parse(text_of(value)).value == value


@pytest.mark.parametrize("eps", ["4/255", 4 / 255, torch.tensor([4 / 255]), (4 / 255,)])
def test_epsilon_is_a_number_a_text_or_several(eps: object) -> None:
    found = robench.evaluate(net(), "fgsm", dataset="digits", limit=4, eps=eps)  # type: ignore[arg-type]
    assert found.to_frame()["epsilon"].tolist() == pytest.approx([0, 4 / 255])


def test_epsilon_is_the_same_as_a_number_and_as_a_text() -> None:
    of_texts, of_numbers = (
        robench.evaluate(net(), ["fgsm", "spgd"], dataset="digits", limit=12, eps=eps)
        for eps in (["4/255", "8/255", "16/255"], [4 / 255, 8 / 255, 16 / 255])
    )
    assert [cell.outcome for cell in of_texts.cells] == [cell.outcome for cell in of_numbers.cells]
    pd.testing.assert_frame_equal(of_texts.to_frame(), of_numbers.to_frame())


def test_the_limit_of_the_area_is_found_by_its_value() -> None:
    result = robench.evaluate(net(), "fgsm", dataset="digits", limit=4, eps=[4 / 255, 16 / 255])
    outcome = result.cells[0].outcome
    assert outcome is not None
    *points, last = outcome.curve
    otherwise = last.epsilon.model_copy(update={"text": "0.06274509803921569"})
    last = last.model_copy(update={"epsilon": otherwise})
    assert outcome.model_copy(update={"curve": (*points, last)}).limit == last
