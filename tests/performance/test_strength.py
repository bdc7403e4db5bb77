"""Robust accuracy against wall time: which runs are compared, a quick run, and the figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from performance import strength
from performance.__main__ import main, with_others
from performance.checkpoints import weights_of
from performance.options import Options
from performance.report import render
from performance.robench_side import at_length
from performance.strength_page import FIGURE, SPAN, draw, strength_rows
from performance.targets import AUTHORS, FOOLBOX_PGD, SCALED
from robench import find_attack
from robench.attacks.sapgd import SAPGD
from tests.performance.made_up import results

OPTIONS = Options(threads=1)


@pytest.mark.parametrize("name", ["spgd", "apgd-ce", "sapgd[surrogate=assg_scaled(0.425)]"])
def test_a_length_changes_the_steps_alone(name: str) -> None:
    whole = find_attack(name).attack
    for factor in (0.5, 1, 2):
        specification, steps = at_length(name, factor)
        sized = find_attack(specification).attack
        changed = {key for key, value in sized if value != getattr(whole, key)}
        assert changed == (set(whole.lengths) if factor != 1 else set())
        assert steps == factor * sum(getattr(whole, key) for key in whole.lengths)


def test_a_length_has_at_least_one_step() -> None:
    assert at_length("pgd", 0.001) == ("pgd[steps=1]", 1)


def test_robenchs_attacks_run_at_half_once_and_twice_their_steps() -> None:
    found = strength.runs("STBP", OPTIONS)
    steps = {label: [run.steps for run in found if run.label == label] for label in _labels(found)}
    assert steps == {
        "spgd": [70, 140, 280],
        AUTHORS: [50, 100, 200],
        SCALED: [70, 140, 280],
        "apgd-ce": [50, 100, 200],
        FOOLBOX_PGD: [20, 40, 80, 160],
    }
    defaults = {run.label: run for run in found if run.default}
    assert {label: run.steps for label, run in defaults.items()} == {
        "spgd": 140, AUTHORS: 100, SCALED: 140, "apgd-ce": 100, FOOLBOX_PGD: 40,
    }  # fmt: skip
    for name in ("spgd", "apgd-ce"):
        assert find_attack(defaults[name].attack) == find_attack(name)
    authors = find_attack(defaults[AUTHORS].attack).attack
    assert authors == SAPGD(steps=100, surrogate="assg(0.425)")


def test_competitors_alternate() -> None:
    found = strength.runs("STBP", OPTIONS)[:-1]  # Foolbox has one run more
    assert all(one.label != other.label for one, other in pairwise(found))


def test_a_surrogate_is_not_compared_without_spikes() -> None:
    assert _labels(strength.runs("ANN", OPTIONS)) == {"spgd", AUTHORS, "apgd-ce", FOOLBOX_PGD}


def _labels(runs: list[strength.Run]) -> set[str]:
    return {run.label for run in runs}


@pytest.mark.parametrize(
    ("model", "given", "epsilon"),
    [
        ("cifar10/vgg16-stbp", "", "1/255"),
        ("cifar10/vgg16-stbp-at", "8/255", "8/255"),
        ("digits/vgg16-stbp", "", "16/255"),
        ("digits/vgg16-stbp", "0.02", "0.02"),
    ],
)
def test_the_epsilon_leaves_images_robust(model: str, given: str, epsilon: str) -> None:
    assert strength.epsilon_of(model, Options(threads=1, strength_eps=given)) == epsilon


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the part in this process, and read its results."""

    def directly(threads: int, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return function(*args, **options)

    monkeypatch.setattr(strength, "isolated", directly)
    monkeypatch.setattr("performance.__main__.prepare", lambda threads: None)  # of the process
    monkeypatch.setattr("torch.set_flush_denormal", lambda on: True)  # of the process too

    def run(*arguments: str) -> dict[str, Any]:
        given = ("--quick", "--threads", "1", "--output", str(tmp_path), *arguments)
        monkeypatch.setattr("sys.argv", ["performance", *given])
        assert main() == 0
        found: dict[str, Any] = json.loads((tmp_path / "results.json").read_text("utf-8"))
        return found

    return run


def test_a_quick_run(quick: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    at = ("strength", "--stbp", "", "--ann", "digits/vgg16-ann", "--strength-images", "2")
    (table,) = quick(*at)["strength"]["tables"]
    assert (table["model"], table["images"], table["epsilon"]) == ("digits/vgg16-ann", 2, "16/255")
    assert {row["label"] for row in table["rows"]} == {"spgd", AUTHORS, "apgd-ce", FOOLBOX_PGD}
    for row in table["rows"]:
        assert len(row["accuracy"]) == 2  # clean, and at ε
        assert 0 < row["gradients"] <= row["steps"]
        assert row["compile_seconds"] == 0
        assert 0 <= row.get("check_seconds", 0) < row["seconds"]
    assert len({row["accuracy"][0] for row in table["rows"]}) == 1  # the same images
    page, figure = tmp_path / "README.md", tmp_path / FIGURE
    assert f"]({FIGURE})" in page.read_text("utf-8")
    drawn = figure.read_bytes()
    figure.unlink()
    quick("--render")
    assert figure.read_bytes() == drawn


def test_another_epsilon_is_another_table() -> None:
    model = {"model": "digits/vgg16-ann", "weights": weights_of("digits/vgg16-ann"), "images": 2}
    options = {"steps": 20, "batch": 64, "search_images": 1}
    first, second = (
        {"tables": [model | {"epsilon": epsilon, "rows": []}], "options": options}
        for epsilon in ("1/255", "8/255")
    )
    both = with_others("strength", second, first)
    assert [table["epsilon"] for table in both["tables"]] == ["1/255", "8/255"]
    assert with_others("strength", second, second) == second


@pytest.fixture(scope="module")
def figure() -> Figure:
    return draw(results()["strength"])


def test_each_attack_has_its_own_line_in_grey_too(figure: Figure) -> None:
    first, second = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["spgd", AUTHORS, SCALED, "apgd-ce", FOOLBOX_PGD]
    for ax in (first, second):
        assert ax.get_xscale() == "log"
        curves = [line for line in ax.lines if len(line.get_xdata()) > 1]  # type: ignore[arg-type]
        assert len(curves) == len(labels)
        assert len({line.get_marker() for line in curves}) == len(labels)
        assert len({str(line._dash_pattern) for line in curves}) == len(labels)  # type: ignore[attr-defined]


def test_the_default_number_of_steps_has_a_filled_marker(figure: Figure) -> None:
    filled = [line for line in figure.axes[0].lines if line.get_markerfacecolor() != "white"]
    (table, _) = results()["strength"]["tables"]
    default = {(row["seconds"], row["accuracy"][-1]) for row in table["rows"] if row["default"]}
    assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in filled} == default  # type: ignore[index]


@pytest.mark.parametrize("seconds", [3.0, 0.4, 1700.0])
def test_a_short_time_axis_has_ticks(seconds: float) -> None:
    part = results()["strength"]
    part["tables"] = part["tables"][:1]
    for row in part["tables"][0]["rows"]:
        row["seconds"] = seconds * (1 + row["steps"] / 1000)
    (ax,) = draw(part).axes
    low, high = ax.get_xlim()
    assert high / low == pytest.approx(SPAN)
    assert sum(low <= tick <= high for tick in ax.get_xticks()) >= 2


def test_the_table_shows_an_attack_after_the_other() -> None:
    (table, _) = results()["strength"]["tables"]
    header, lines = strength_rows(table)
    assert [line[:2] for line in lines[:3]] == [
        ("spgd, version 7", "70"), ("spgd, version 7", "**140**"), ("spgd, version 7", "280"),
    ]  # fmt: skip
    assert {len(line) for line in lines} == {len(header)}
    assert lines[1][-2:] == ("40.0", "29 to 53")


def test_the_page_has_no_figure_without_the_part() -> None:
    without = {key: value for key, value in results().items() if key != "strength"}
    assert FIGURE not in render(without)
    assert f"]({FIGURE})" in render(results())
