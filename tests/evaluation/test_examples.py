from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import robench.evaluation.chunks
from robench.datasets import DIGITS
from robench.engine.sweep import ChunkSweep
from robench.registry import select_models
from robench.results import AdversarialExamples, CellResult, ResultStore
from tests.support.commands import Finished
from tests.support.interrupts import interrupt_chunk

Cli = Callable[..., Finished]
COMMAND = ("run", "--models", "smallmodels:small", "--limit", "30", "--attacks", "pgd[steps=4]")
COMMAND += ("--checks", "off")  # which sweep too
EPS = ("--eps", "8/255,16/255,32/255")
AGAIN = "done without the examples that were asked for, computed again: 1 cell\n"

pytestmark = pytest.mark.usefixtures("small_models")


def run(cli: Cli, root: Path, *options: str, eps: tuple[str, ...] = EPS) -> Finished:
    done = cli(*COMMAND, *eps, "--output", root, *options)
    assert done.code == 0, done.err
    return done


def only(root: Path) -> tuple[ResultStore, CellResult]:
    store = ResultStore(root)
    (cells, damaged) = store.cells()
    assert not damaged
    (cell,) = cells
    return store, cell


def kept(root: Path) -> AdversarialExamples:
    store, cell = only(root)
    found = store.examples(cell)
    assert found is not None
    assert store.has_examples(cell)
    return found


def equal(a: AdversarialExamples, b: AdversarialExamples) -> bool:
    return np.array_equal(a.index, b.index) and np.array_equal(a.images, b.images)


def test_each_example_is_misclassified_at_the_stored_distance(cli: Cli, tmp_path: Path) -> None:
    run(cli, tmp_path, "--keep-examples")
    store, cell = only(tmp_path)
    rows = store.rows(cell)
    attacked = rows[rows["minimal_position"] > 0]
    assert 0 < len(attacked) < len(rows)
    found = kept(tmp_path)
    assert found.images.dtype == np.float32
    assert found.images.shape == (len(attacked), *DIGITS.load("test").tensor().shape[1:])
    assert found.index.tolist() == attacked["index"].tolist()

    (entry,) = select_models(["smallmodels:small"])
    images = torch.from_numpy(found.images)
    clean = DIGITS.load("test").tensor()[found.index]
    with torch.no_grad():
        prediction = entry.load().logits(images).argmax(1)
    assert (prediction.numpy() != attacked["label"].to_numpy()).all()
    distance = (images - clean).double().abs().flatten(1).amax(1).numpy()
    assert np.array_equal(distance, attacked["linf"].to_numpy())


def test_examples_change_neither_hash_nor_result(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cli, tmp_path / "with", "--keep-examples")
    run(cli, tmp_path / "without")
    monkeypatch.setattr(robench.evaluation.chunks, "CHUNK", 7)
    run(cli, tmp_path / "parts", "--keep-examples")
    (_, a), (store, b), (_, c) = (only(tmp_path / name) for name in ("with", "without", "parts"))
    assert a.outcome == b.outcome == c.outcome
    assert store.examples(b) is None
    assert not store.has_examples(b)
    assert equal(kept(tmp_path / "with"), kept(tmp_path / "parts"))


def test_no_examples(cli: Cli, tmp_path: Path) -> None:
    run(cli, tmp_path, "--keep-examples", eps=("--eps", "0.001/255"))
    found = kept(tmp_path)
    assert found.index.shape == (0,)
    assert found.images.shape[0] == 0
    assert run(cli, tmp_path, "--keep-examples", eps=("--eps", "0.001/255")).err == ""


def stopped(cli: Cli, root: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """A run that is interrupted in its third chunk."""
    with monkeypatch.context() as patch:
        interrupt_chunk(patch, 2)
        assert cli(*COMMAND, *EPS, "--output", root, *options).code == 130


@pytest.mark.parametrize(("before", "computed"), [(("--keep-examples",), 3), ((), 5)])
def test_examples_survive_an_interruption(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[str, ...],
    computed: int,
) -> None:
    """Five chunks; the two finished ones are reused if they have their examples."""
    monkeypatch.setattr(robench.evaluation.chunks, "CHUNK", 6)
    run(cli, tmp_path / "whole", "--keep-examples")
    stopped(cli, tmp_path / "stopped", monkeypatch, *before)
    sweep, calls = ChunkSweep.run, []
    with monkeypatch.context() as patch:
        patch.setattr(ChunkSweep, "run", lambda *all_: calls.append(1) or sweep(*all_))
        run(cli, tmp_path / "stopped", "--keep-examples")
    assert len(calls) == computed
    assert equal(kept(tmp_path / "whole"), kept(tmp_path / "stopped"))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".chunks")]


def test_a_done_cell_is_computed_again_for_its_examples_once(cli: Cli, tmp_path: Path) -> None:
    run(cli, tmp_path)
    _, before = only(tmp_path)
    done = run(cli, tmp_path, "--keep-examples")
    assert done.err == AGAIN
    _, after = only(tmp_path)
    assert after.outcome == before.outcome
    assert after.run != before.run
    for options in (("--keep-examples",), ()):
        done = run(cli, tmp_path, *options)
        assert done.err == ""
        assert "1 of them done already" in done.out
        assert only(tmp_path)[1] == after
        kept(tmp_path)


def test_a_damaged_file_is_written_again(cli: Cli, tmp_path: Path) -> None:
    run(cli, tmp_path, "--keep-examples")
    whole = kept(tmp_path)
    (path,) = tmp_path.rglob("*.examples.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    store, cell = only(tmp_path)
    assert store.examples(cell) is None
    assert run(cli, tmp_path, "--keep-examples").err == AGAIN
    assert equal(kept(tmp_path), whole)


def test_a_new_run_of_the_same_rows_keeps_their_examples(cli: Cli, tmp_path: Path) -> None:
    run(cli, tmp_path, "--keep-examples")
    whole = kept(tmp_path)
    run(cli, tmp_path, "--force")
    assert equal(kept(tmp_path), whole)
