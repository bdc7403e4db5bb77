"""Comparing a new run with the published results: what passes, and what fails with a reason."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from performance import compare
from robench.results import ROBUST, CellResult, ResultStore
from tests.support.checkpoints import ROOT
from tests.support.made_up import agreeing
from tests.support.needs import needs

Change = Callable[[np.ndarray, int], np.ndarray]
"""Other minimal positions for those of a cell, and the number of ε of its grid."""
PUBLISHED = ResultStore(ROOT / "results")
JOB = {k: c for k, c in compare.read(PUBLISHED.root).items() if compare.is_of_the_main_job(c)}
ROWS = {key: PUBLISHED.rows(cell) for key, cell in JOB.items()}


def lower(chosen: np.ndarray, positions: np.ndarray, points: int) -> np.ndarray:
    """One ε lower for the chosen samples; those that are misclassified without attack stay."""
    rank = np.where(positions == ROBUST, points, positions)
    rank = np.where(chosen & (rank > 1), rank - 1, rank)
    return np.where(rank == points, ROBUST, rank)


def store(
    root: Path,
    change: Callable[[tuple[str, str]], Change | None] = lambda key: None,
    only: Callable[[tuple[str, str]], bool] = lambda key: True,
    alter: Callable[[CellResult], CellResult] = lambda cell: cell,
) -> Path:
    """A copy of the published cells of the main job, with changes."""
    for key, cell in JOB.items():
        if not only(key):
            continue
        rows, other = ROWS[key].copy(), change(key)
        if other is not None and cell.outcome is not None:
            points = len(cell.outcome.identity.grid)
            rows["minimal_position"] = other(rows["minimal_position"].to_numpy(), points)
        ResultStore(root).write(*agreeing(alter(cell), rows))
    return root


def rounding(seed: int, share: float = 0.01, *, drift: float = 0.0) -> Callable[..., Change]:
    """Samples move as on another processor: the same ones under each attack on a model.

    A share of all samples, ``drift``, moves down in addition.
    """

    def change(key: tuple[str, str]) -> Change:
        rng = np.random.default_rng([seed, *key[0].encode()])
        chosen = rng.random(225) < share
        drifting = np.random.default_rng([seed, *"".join(key).encode()]).random(225) < drift
        return lambda p, points: lower(drifting, lower(chosen, p, points), points)

    return change


def compared(
    published: Path, new: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["compare", str(published), str(new)])
    code = compare.main()
    done = capsys.readouterr()
    return code, done.out, done.err


Compared = Callable[[Path, Path], tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compared:
    return lambda published, new: compared(published, new, monkeypatch, capsys)


def test_the_published_results_agree_with_themselves(run: Compared) -> None:
    code, out, err = run(PUBLISHED.root, PUBLISHED.root)
    assert (code, err) == (0, "")
    assert ", 0 move up and 0 down (p = 1)" in out
    assert len(out.splitlines()) == len(JOB) + 3 == 21
    assert out.splitlines()[-1].startswith("the new run agrees with the published results")


@pytest.mark.parametrize("seed", range(3))
def test_two_machines_that_round_differently_agree(
    run: Compared, tmp_path: Path, seed: int
) -> None:
    one, other = (store(tmp_path / str(k), rounding(10 * seed + k)) for k in range(2))
    code, out, err = run(one, other)
    assert (code, err) == (0, "")
    assert ", 0 move up" not in out


@pytest.mark.parametrize("share", [0.01, 0.04])
def test_the_tests_have_their_level_although_the_attacks_on_a_model_move_the_same_samples(
    share: float,
) -> None:
    grid = [float(text) for text in next(iter(JOB.values())).outcome.identity.grid]  # type: ignore[union-attr]
    alarms = naive = 0
    for seed in range(50):
        pairs = []
        for key in sorted(JOB):
            positions = ROWS[key]["minimal_position"].to_numpy()
            one, other = (
                compare.sample_areas(rounding(k, share)(key)(positions, len(grid)), grid, grid[-1])
                for k in (2 * seed, 2 * seed + 1)
            )
            pairs.append(compare.Pair(*key, (other - one).round(compare.DECIMALS)))
        alarms += bool(compare.disagreements(pairs))
        whole = np.concatenate([pair.change for pair in pairs])
        naive += compare.sign_test(whole) < compare.LEVEL
    assert alarms <= 1
    assert naive > alarms  # what counting each cell on its own would do


@pytest.mark.parametrize("key", [("digits/flex-ann", "fgsm"), ("digits/vgg16-hybrid", "spgd")])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p, n: lower(np.arange(225) % 6 == 0, p, n), "up and "),
        (lambda p, n: np.zeros_like(p), "the AUC changes by -"),
        (lambda p, n: np.where(p > 0, ROBUST, p), "the AUC changes by +"),
        # one that no direction and no mean betrays
        (lambda p, n: np.random.default_rng(0).permutation(p), "of 225 samples move"),
    ],
    ids=["lower", "all misclassified", "all robust", "other samples"],
)
def test_one_cell_that_went_wrong_is_named(
    run: Compared, tmp_path: Path, key: tuple[str, str], change: Change, text: str
) -> None:
    one = store(tmp_path / "1", rounding(1))
    with_it = rounding(2)
    other = store(tmp_path / "2", lambda k: change if k == key else with_it(k))
    code, _, err = run(one, other)
    assert code == 1
    first = err.splitlines()[0]
    assert first.startswith(f"{key[0]} under {key[1]}: ")
    assert text in err


@pytest.mark.parametrize("drift", [0.02, 0.05])
def test_a_small_shift_of_all_cells_is_found(run: Compared, tmp_path: Path, drift: float) -> None:
    one = store(tmp_path / "1", rounding(1))
    other = store(tmp_path / "2", rounding(2, drift=drift))
    for published, new in ((one, other), (other, one)):
        code, _, err = run(published, new)
        assert code == 1
        assert "all cells: the samples move in one direction" in err


def test_a_few_samples_that_move_far_are_found(run: Compared, tmp_path: Path) -> None:
    def change(key: tuple[str, str]) -> Change:
        def far(positions: np.ndarray, points: int) -> np.ndarray:
            """As many up as down, but those far: one half of them by the whole grid."""
            robust = np.flatnonzero(positions == ROBUST)[:2]
            inside = np.flatnonzero((positions > 0) & (positions < points - 1))[:2]
            moved = positions.copy()
            moved[robust] = 0
            moved[inside] += 1
            return moved

        return far

    code, _, err = run(PUBLISHED.root, store(tmp_path, change))
    assert code == 1
    assert "all cells: the AUC changes by more than 0.003" in err


def test_a_missing_cell_is_named(run: Compared, tmp_path: Path) -> None:
    key = ("digits/flex-stbp", "pgd")
    code, out, err = run(PUBLISHED.root, store(tmp_path, only=lambda k: k != key))
    assert (code, err) == (1, "digits/flex-stbp under pgd is missing from the new run\n")
    assert len(out.splitlines()) == len(JOB) + 2
    assert "does not agree with the published results" in out.splitlines()[-1]


def test_an_empty_run_misses_every_cell(run: Compared, tmp_path: Path) -> None:
    code, out, err = run(PUBLISHED.root, tmp_path)
    assert (code, len(out.splitlines())) == (1, 1)
    assert err.count("is missing from the new run") == len(JOB)


def test_a_failed_cell_is_named_with_its_reason(run: Compared, tmp_path: Path) -> None:
    key = ("digits/vgg16-ann", "fgsm")
    root = store(tmp_path, only=lambda k: k != key)
    failed = {"status": "failed", "outcome": None, "rows_sha256": None, "reason": "no memory"}
    ResultStore(root).write(JOB[key].model_copy(update=failed))
    code, _, err = run(PUBLISHED.root, root)
    assert (code, err) == (1, "digits/vgg16-ann under fgsm is failed in the new run: no memory\n")


@pytest.mark.parametrize(
    ("changes", "said", "rows"),
    [
        ({"fingerprint": "0" * 64}, "has another fingerprint", len(JOB)),
        ({"attack_version": "99", "seed": 3}, "has another attack_version, seed", len(JOB)),
        ({"data_sha256": "0" * 64}, "has another data_sha256", len(JOB) - 1),
        ({"grid": ("0.0", "0.5")}, "has another grid", len(JOB) - 1),
    ],
)
def test_a_cell_of_other_weights_or_settings_is_named(
    run: Compared, tmp_path: Path, changes: dict[str, object], said: str, rows: int
) -> None:
    key = ("digits/vgg16-ann", "pgd")

    def alter(cell: CellResult) -> CellResult:
        if (cell.model, cell.attack) != key or cell.outcome is None:
            return cell
        identity = cell.outcome.identity.model_copy(update=changes)
        outcome = cell.outcome.model_copy(update={"identity": identity})
        return cell.model_copy(update={"outcome": outcome, "hash": identity.digest()})

    code, out, err = run(PUBLISHED.root, store(tmp_path, alter=alter))
    assert code == 1
    assert err == f"digits/vgg16-ann under pgd {said} in the new run\n"
    assert len(out.splitlines()) == rows + 3


def test_stores_that_cannot_be_compared(run: Compared, tmp_path: Path) -> None:
    code, _, err = run(tmp_path, PUBLISHED.root)
    assert code == 1
    assert "no done cell of digits to compare with" in err
    root = store(tmp_path / "damaged")
    path = next(root.rglob("*.parquet"))
    pd.read_parquet(path)[::-1].to_parquet(path)
    with pytest.raises(SystemExit, match=f"{path}: its SHA-256"):
        run(PUBLISHED.root, root)


def test_holm_corrects_for_the_number_of_tests() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert compare.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert compare.holm(np.array([1.0, 0.9])) == pytest.approx([1, 1])


@needs(shutil.which("make") is not None, "no make")
def test_the_benchmark_and_cleaning_keep_the_runs_of_a_user(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    tools = [tmp_path / ".venv" / "bin" / name for name in ("robench", "python")]
    mine, old = (tmp_path / "out" / name for name in ("mine/cell.json", "benchmark/results/x.json"))
    for path in chain(tools, (mine, old)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {path.name} $*\n", "utf-8")
        path.chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt", ".venv/.installed"):
        (tmp_path / name).touch()
    commands = [["make", "benchmark"], ["make", "clean"]]
    done = [
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for command in commands
    ]
    assert mine.is_file()
    assert not old.exists()
    calls = [line for line in done[0].splitlines() if line.startswith(("robench ", "python "))]
    assert [call.split()[1] for call in calls] == ["run", "leaderboard", "performance/compare.py"]
    assert calls[-1].split()[2:] == ["results", "out/benchmark/results"]
    assert all("out/benchmark/results" in call for call in calls)
