from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from robench.datasets import MNIST
from robench.errors import UsageError
from robench.evaluation import find_grid
from tests.support.commands import Finished

Cli = Callable[..., Finished]


def test_the_figure_has_thirty_points_and_is_the_beginning_of_the_mnist_protocol() -> None:
    grid = find_grid("bioflexnet").epsilons("pgd", "linf")
    assert len(grid) == 30
    assert grid[-1].value == 0.29
    assert grid == MNIST.protocol.grids["linf"][:30]
    assert find_grid("bioflexnet").epsilons("noise", "linf") == grid


@pytest.mark.parametrize(
    ("attack", "end"),
    [
        ("fgsm", 0.64),
        ("pgd", 23 / 255),
        ("spgd", 0.5),
        ("pgd-bioflexnet", 23 / 255),
        ("spgd-bioflexnet", 0.5),
    ],
)
def test_the_code_has_23_equally_spaced_points(attack: str, end: float) -> None:
    grid = find_grid("bioflexnet-code").epsilons(attack, "linf")
    values = [point.value for point in grid]
    assert len(values) == 23
    assert values[0] == 0
    assert values[-1] == end
    assert all(b - a == pytest.approx(end / 22) for a, b in pairwise(values))


def test_an_attack_or_norm_without_points_is_an_error() -> None:
    with pytest.raises(UsageError, match="no ε for noise; it has them for fgsm, pgd, spgd"):
        find_grid("bioflexnet-code").epsilons("noise", "linf")
    with pytest.raises(UsageError, match="for linf, not for l2"):
        find_grid("bioflexnet").epsilons("pgd", "l2")


def test_help_names_every_grid(cli: Cli) -> None:
    text = "".join(cli("run", "--help").out.split())  # a line may end within a name
    for name in ("bioflexnet", "bioflexnet-code"):
        assert name in text


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--grid", "bioflexnt"), ("bioflexnt", "did you mean bioflexnet", "bioflexnet-code")),
        (("--grid", "bioflexnet", "--eps", "0.1"), ("--eps and --grid",)),
        (("--grid", "bioflexnet-code", "--attacks", "noise"), ("noise", "fgsm, pgd, spgd")),
    ],
)
def test_a_wrong_grid_is_one_line(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    command = ("run", "--models", "digits/vgg16-ann", "--limit", "2", "--output", tmp_path)
    done = cli(*command, *arguments)
    assert done.code == 2
    (line,) = done.err.splitlines()
    for text in texts:
        assert text in line


@pytest.mark.usefixtures("small_models")
def test_a_run_stores_the_curve_on_the_grid_of_each_attack(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--models", "smallmodels:small", "--attacks", "fgsm,pgd[steps=1]")
    done = cli(*command, "--grid", "bioflexnet-code", "--limit", "4", "--output", tmp_path)
    assert done.code == 0, done.err
    ends = {}
    for path in tmp_path.rglob("*.json"):
        cell = json.loads(path.read_text("utf-8"))
        curve = cell["outcome"]["curve"]
        assert len(curve) == 23
        ends[cell["attack"].partition("[")[0]] = curve[-1]["epsilon"]["text"]
    assert ends == {"fgsm": "16/25", "pgd": "23/255"}
