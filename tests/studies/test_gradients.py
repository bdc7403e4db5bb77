from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robench.attacks import PGD, SurrogateEnsemble
from robench.datasets import DIGITS
from robench.evaluation import Request
from robench.registry import find_attack, select_models
from robench.results import ResultStore
from robench.spiking import PATHS, surrogate_names
from studies.gradients import COLUMNS, ENSEMBLE, WORST, all_gradients, gradient_comparisons
from studies.gradients_report import GRADIENTS
from studies.pages import write_table
from tests.support.commands import Finished, refused

Cli = Callable[..., Finished]


def made_up(models: int) -> pd.DataFrame:
    """A table of several models: run k leaves 10 + 5k of 200 images robust, the ensemble 10."""
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
        attack = find_attack(run.attack).attack
        assert isinstance(attack, SurrogateEnsemble)
        (finder,) = attack.finders
        assert finder == "/".join(part for part in (run.surrogate, run.path) if part)
        shared = PGD().model_dump()
        assert {key: attack.model_dump()[key] for key in shared} == shared


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
    assert comparison.epsilon == DIGITS.protocol.headline["linf"]


def test_the_page_marks_the_gradient_that_hides_most(tmp_path: Path) -> None:
    write_table(made_up(2), tmp_path / "digits-gradients.csv")
    section = GRADIENTS.page(tmp_path / "digits-gradients.csv")
    lines = section.splitlines()
    assert "| (no attack) |  | 95.0 | 95.0 |" in lines
    assert "| own | own | 90.0† (+85.0) | 90.0† (+85.0) |" in lines
    weakest = 10 + 5 * (len(all_gradients()) - 1)
    bold = f"**{weakest / 2:.1f} ({(weakest - 10) / 2:+.1f})**"
    assert f"| — | cba | {bold} | {bold} |" in lines
    assert any(line.startswith("| atan(2) | eta-detached |") and "| — |" in line for line in lines)
    assert "| `spgd` |  | 5.0 | 5.0 |" in lines
    assert "(digits-gradients.png)" in section


def test_the_figure_is_drawn_from_the_table(tmp_path: Path) -> None:
    write_table(made_up(4), tmp_path / "digits-gradients.csv")
    figure = GRADIENTS.draw(tmp_path / "digits-gradients.csv")
    assert figure.name == "digits-gradients.png"
    assert 5_000 < figure.stat().st_size < 200_000


def test_the_page_is_written_from_tables_and_reported_when_stale(
    study: Cli, tmp_path: Path
) -> None:
    command = ("gradients", "--output", tmp_path)
    refused(study(*command, "--no-run"), "no tables", str(tmp_path))
    write_table(made_up(1), tmp_path / "digits-gradients.csv")
    stale = study(*command, "--check")
    assert (stale.code, stale.out) == (1, "")
    assert "python -m studies gradients --no-run" in stale.err
    assert study(*command, "--no-run").code == 0
    assert study(*command, "--check").code == 0
    (tmp_path / "digits-gradients.csv").write_text("dataset\ndigits\n", "utf-8")
    refused(study(*command, "--check"), "digits-gradients.csv", "is missing")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--models", "digits/vgg16-ann"), "no spikes"),
        (("--models", "digits/*-ann"), "none of these models has spikes"),
        (("--models", "digits/*", "--eps", "8/255,16/255"), "one ε"),
    ],
)
def test_what_cannot_be_compared_is_one_line(study: Cli, tmp_path: Path, options, says) -> None:
    refused(study("gradients", "--results", tmp_path, "--limit", "2", *options), says)
