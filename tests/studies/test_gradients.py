from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robench.analysis import (
    all_gradients,
    gradient_comparisons,
    gradients_section,
    write_gradients_figure,
    write_table,
)
from robench.analysis.document import begin, fill
from robench.analysis.gradients import COLUMNS, ENSEMBLE, WORST
from robench.attacks import PGD, SurrogateEnsemble
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.evaluation import Request
from robench.registry import find_attack, select_models
from robench.results import ResultStore
from robench.spiking import PATHS, surrogate_names
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished, refused
from tests.support.sweeping import sweep

Cli = Callable[..., Finished]


def made_up(models: int) -> pd.DataFrame:
    """A table of so many models: the k-th run leaves 10 + k of 200 images, the ensemble 10."""
    runs = [(t.attack, t.surrogate, t.path) for t in all_gradients()]
    rows: list[dict[str, Any]] = []
    for number in range(models):
        for k, (attack, surrogate, path) in enumerate([*runs, (WORST, "", ""), (ENSEMBLE, "", "")]):
            if path == "eta-detached" and number % 2:
                continue  # a network without adaptation
            robust = 10 if attack in (WORST, ENSEMBLE) else 180 if not k else 10 + 5 * k
            rows.append(
                {
                    "dataset": "digits", "epsilon": "16/255", "data_sha256": "d" * 16,
                    "samples": 200, "seed": 0, "model": f"digits/network-{number}-stbp",
                    "surrogate": surrogate, "path": path, "attack": attack,
                    "version": "" if attack == WORST else "2", "clean": 190, "robust": robust,
                    "above": (robust - 10) / 200, "low": 0.0, "high": 0.9, "hash": "",
                    "verdict": "" if attack == WORST else "valid" if k else "invalid",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_every_family_and_every_path_has_a_run() -> None:
    runs = all_gradients()
    assert runs[0].attack == "pgd"
    families = [run.surrogate.partition("(")[0] for run in runs if run.path == "stbp"]
    assert families == list(surrogate_names())
    assert {run.path for run in runs[1:]} == set(PATHS)
    for run in runs[1:]:
        tour = find_attack(run.attack).attack
        assert isinstance(tour, SurrogateEnsemble)
        (finder,) = tour.finders
        assert finder == "/".join(part for part in (run.surrogate, run.path) if part)
        shared = PGD().model_dump()
        assert {key: tour.model_dump()[key] for key in shared} == shared


def test_a_tour_without_paths_is_recorded_as_before() -> None:
    assert "paths" not in SurrogateEnsemble().model_dump()
    assert SurrogateEnsemble(paths=("hart",)).model_dump()["paths"] == ("hart",)
    assert SurrogateEnsemble(surrogates=(), paths=("cba",)).required == {"gradient", "counterpart"}
    with pytest.raises(UsageError, match="surrogates needs at least one"):
        find_attack("tour[surrogates=[]]")


def test_a_tour_cut_to_a_budget_keeps_its_first_members() -> None:
    tour = SurrogateEnsemble(surrogates=("atan(2)", "triangle(1)"), paths=("hart", "bptr"))
    assert tour.finders == ("atan(2)/hart", "triangle(1)/hart", "bptr")
    assert tour.at_budget(40).finders == tour.finders[:2]
    assert tour.at_budget(120).restarts == 2


def test_a_tour_through_the_models_own_gradient_is_pgd() -> None:
    """``digits/vgg16-stbp`` was trained through atan(2) along ``stbp``."""
    (entry,) = select_models(["digits/vgg16-stbp"])
    data = DIGITS.load("test").first(4)
    grid = parse_grid(["16/255"])
    one, two = (
        sweep(entry.load(), attack, data.tensor(), data.targets(), grid).run()
        for attack in (
            PGD(steps=4),
            SurrogateEnsemble(steps=4, surrogates=("atan(2)",), paths=("stbp",)),
        )
    )
    assert (one["minimal_position"] == two["minimal_position"]).all()
    assert (one["backwards"] == two["backwards"]).all()


def test_assg_follows_the_neurons_over_a_run_and_begins_anew_with_the_next(linear) -> None:
    """Each run of a tour sees the memory empty at its first step and moved on afterwards."""
    seen: list[bool] = []

    class View:
        spiking = True

        def gradient(self, x, y, loss, *, surrogate, path, memory):
            seen.append(memory.entries[0] is None)
            memory.entries = [x.new_ones(1)] * len(x)
            return x - 2

    def noise(stream: str, draw: object = 0):
        return linear.x[:2] * 0 + 0.5

    tour = SurrogateEnsemble(steps=3, restarts=2, surrogates=("assg(0.4)",))
    x, y, eps = linear.x[:2], linear.y[:2], linear.x.new_full((2,), 0.1)
    state = tour.init(View(), x, y, eps, noise)
    for _ in range(6):
        state.candidate, state = tour.step(View(), x, y, eps, state, noise)
    assert seen == [True, False, False] * 2


def test_runs_that_cannot_differ_are_left_out(tmp_path: Path) -> None:
    entries = select_models(["digits/*"])
    request = Request(limit="4", device="cpu")
    (comparison,) = gradient_comparisons(entries, request, ResultStore(tmp_path))
    by_model: dict[str, set[str]] = {}
    for planned in comparison.plan.cells:
        by_model.setdefault(planned.cell.model.id, set()).add(planned.cell.attack.name)
    assert set(by_model) == {
        f"digits/{name}-{mode}" for name in ("vgg16", "flex") for mode in ("hybrid", "stbp")
    }
    past = next(run.attack for run in all_gradients() if run.path == "eta-detached")
    assert {model for model, attacks in by_model.items() if past in attacks} == {"digits/flex-stbp"}
    assert all({"pgd", ENSEMBLE} <= attacks for attacks in by_model.values())
    assert comparison.epsilon.text == DIGITS.protocol.headline["linf"]


def test_the_section_marks_what_hides_most(tmp_path: Path) -> None:
    write_table(made_up(2), tmp_path / "digits-gradients.csv")
    section = gradients_section(tmp_path, tmp_path / "page.md")
    lines = section.splitlines()
    assert "| (no attack) |  | 95.0 | 95.0 |" in lines
    assert "| own | own | 90.0† (+85.0) | 90.0† (+85.0) |" in lines
    weakest = 10 + 5 * (len(all_gradients()) - 1)
    bold = f"**{weakest / 2:.1f} ({(weakest - 10) / 2:+.1f})**"
    assert f"| — | act | {bold} | {bold} |" in lines
    assert any(line.startswith("| atan(2) | eta-detached |") and "| — |" in line for line in lines)
    assert "| `spgd` |  | 5.0 | 5.0 |" in lines
    assert "(digits-gradients.png)" in section


def test_the_figure_is_drawn_from_the_table(tmp_path: Path) -> None:
    write_table(made_up(4), tmp_path / "digits-gradients.csv")
    figure = write_gradients_figure(tmp_path / "digits-gradients.csv")
    assert figure.name == "digits-gradients.png"
    assert 5_000 < figure.stat().st_size < 200_000


def test_the_document_is_filled_from_tables_and_told_when_stale(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{begin('gradients')}\n<!-- end -->\n", "utf-8")
    command = ("analyze", "gradients", "--output", tmp_path, "--document", page)
    refused(cli(*command, "--no-run"), "no tables", str(tmp_path))
    write_table(made_up(1), tmp_path / "digits-gradients.csv")
    stale = cli(*command, "--check")
    assert (stale.code, stale.out) == (1, "")
    assert "robench analyze gradients --no-run" in stale.err
    assert cli(*command, "--no-run").code == 0
    assert cli(*command, "--check").code == 0
    (tmp_path / "digits-gradients.csv").write_text("dataset\ndigits\n", "utf-8")
    refused(cli(*command, "--check"), "digits-gradients.csv", "is missing")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--models", "digits/vgg16-ann"), "no spikes"),
        (("--models", "digits/*-ann"), "none of these models has spikes"),
        (("--models", "digits/*", "--eps", "8/255,16/255"), "one ε"),
    ],
)
def test_what_cannot_be_compared_is_one_line(cli: Cli, tmp_path: Path, options, says) -> None:
    refused(cli("analyze", "gradients", "--results", tmp_path, "--limit", "2", *options), says)


def test_the_committed_page_says_what_the_committed_tables_say() -> None:
    page = ROOT / "docs" / "attacks.md"
    text = page.read_text("utf-8")
    assert fill(text, "gradients", gradients_section(ROOT / "results" / "figures", page)) == text
