from __future__ import annotations

import numpy as np
import pytest

from robench.epsilon import Epsilon, parse_grid
from robench.errors import UsageError
from robench.results import metrics

POSITIONS = np.array([0, 1, 2, 2, -1, 3, -1, 1])
GRID = parse_grid(["0.1", "0.2", "0.4"])


def test_wilson_has_the_published_values() -> None:
    # Newcombe, Statistics in Medicine 1998, table I
    for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        interval = metrics.wilson(successes, n)
        assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)
    assert metrics.wilson(0, 20).low == 0
    assert metrics.wilson(20, 20).high == 1


def test_the_curve_counts_robust_samples() -> None:
    curve = metrics.curve(POSITIONS, GRID)
    assert [point.robust for point in curve] == [7, 5, 3, 2]
    assert [point.epsilon.value for point in curve] == [0, 0.1, 0.2, 0.4]


def test_the_area_uses_the_true_spacing() -> None:
    accuracies = np.array([1.0, 0.5, 0.5, 0.0])
    grid = [epsilon.value for epsilon in GRID]
    assert metrics.area(accuracies, grid, 0.4) == pytest.approx((0.075 + 0.05 + 0.05) / 0.4)
    assert metrics.area(accuracies, grid, 0.1) == pytest.approx(0.75)


def test_the_mean_of_the_samples_areas_is_the_area_of_the_curve() -> None:
    grid = [epsilon.value for epsilon in GRID]
    accuracies = np.array([point.accuracy for point in metrics.curve(POSITIONS, GRID)])
    for limit in grid[1:]:
        areas = metrics.sample_areas(POSITIONS, grid, limit)
        assert areas.mean() == pytest.approx(metrics.area(accuracies, grid, limit))


def test_a_limit_outside_the_grid_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0\.3"):
        metrics.area(np.ones(4), [0, 0.1, 0.2, 0.4], 0.3)


def test_the_bootstrap_covers_the_mean_and_repeats() -> None:
    values = np.random.default_rng(1).random(200)
    interval = metrics.bootstrap(values)
    assert interval.low < values.mean() < interval.high
    assert interval == metrics.bootstrap(values)
    width = 2 * 1.96 * values.std() / np.sqrt(200)
    assert interval.high - interval.low == pytest.approx(width, rel=0.15)


def test_the_bootstrap_of_many_samples_is_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(203)
    whole = metrics.bootstrap(values)
    for block in (1, 5000, 203 * 7):
        monkeypatch.setattr(metrics, "_BLOCK", block)
        assert metrics.bootstrap(values) == whole


NOT_AN_EPSILON = [
    "-1/255",
    "abc",
    "1/0",
    "1e400",
    "",
    "nan",
    "1/x",
    "1/4/2",
    "-1/-255",
    "1e-99999999999",
]


@pytest.mark.parametrize("text", NOT_AN_EPSILON)
def test_a_text_that_is_not_an_epsilon_is_refused(text) -> None:
    with pytest.raises(UsageError):
        Epsilon.parse(text)


@pytest.mark.parametrize("text", ["0", ".5", "1.", "0.25/255", "1e-3", "+1/2.5", "2E-1/4", "0.1"])
def test_an_epsilon_is_a_number_or_a_fraction(text) -> None:
    assert Epsilon.parse(text).value == pytest.approx(eval(text))


def test_a_grid_ascends_from_zero_without_repetition() -> None:
    grid = parse_grid(["8/255", "0.5/255", "8/255"])
    assert [epsilon.text for epsilon in grid] == ["0", "0.5/255", "8/255"]
    assert grid[2].value == 8 / 255
    with pytest.raises(UsageError, match="empty"):
        parse_grid(["", " "])
