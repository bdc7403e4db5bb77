"""A finished chunk is used as it was written, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.results import AdversarialExamples, ResultStore
from tests.support.made_up import GRID, fall, rows_of

CELL = "digits/a", "pgd", "a" * 64
OTHER = "digits/a", "pgd", "b" * 64


def rows() -> pd.DataFrame:
    return rows_of(fall(40), GRID, 20, 20)


def examples(value: float = 0.5) -> AdversarialExamples:
    return AdversarialExamples(np.arange(3), np.full((3, 1, 8, 8), value, np.float32))


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "results")
    for number in (0, 1):
        store.chunks(*CELL).write(number, rows(), examples())
    return store


@pytest.fixture
def folder(store: ResultStore) -> Path:
    (folder,) = store.root.rglob("*.chunks")
    return folder


def found(store: ResultStore, number: int = 0) -> tuple[bool, bool]:
    """Whether rows and examples of a chunk are used; if they are, they are the written ones."""
    of_rows, of_examples = store.chunks(*CELL).rows(number), store.chunks(*CELL).examples(number)
    assert of_rows is None or of_rows.equals(rows())
    if of_examples is not None:
        assert np.array_equal(of_examples.images, examples().images)
        assert np.array_equal(of_examples.index, examples().index)
    return of_rows is not None, of_examples is not None


def test_a_whole_chunk_is_used(store: ResultStore) -> None:
    assert found(store) == (True, True)
    assert store.chunks(*CELL).rows(2) is None
    assert store.chunks(*OTHER).rows(0) is None
    store.chunks(*CELL).write(2, rows())
    assert found(store, 2) == (True, False)


@pytest.mark.parametrize(("kind", "of"), [("rows", (False, False)), ("examples", (True, False))])
def test_no_flipped_bit_of_a_chunk_is_used(
    store: ResultStore, folder: Path, kind: str, of: tuple[bool, bool]
) -> None:
    path = folder / f"0000.{kind}"
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 150).astype(int).tolist():
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        )
        assert found(store) == of, place
    path.write_bytes(whole)
    assert found(store) == (True, True)


@pytest.mark.parametrize("kind", ["rows", "examples"])
def test_no_cut_or_longer_chunk_is_used(store: ResultStore, folder: Path, kind: str) -> None:
    path = folder / f"0000.{kind}"
    whole = path.read_bytes()
    for data in (*(whole[:n] for n in (0, 1, 31, 32, 33, 500, len(whole) - 1)), whole + b"\0"):
        path.write_bytes(data)
        assert not all(found(store))


def test_no_moved_chunk_is_used(store: ResultStore, folder: Path) -> None:
    for kind in ("rows", "examples"):
        shutil.copy(folder / f"0000.{kind}", folder / f"0001.{kind}")
        assert not all(found(store, 1))
    store.chunks(*OTHER).write(0, rows(), examples())
    (other,) = (path for path in store.root.rglob("*.chunks") if path != folder)
    for kind in ("rows", "examples"):
        shutil.copy(other / f"0000.{kind}", folder / f"0000.{kind}")
        assert not all(found(store))


def test_examples_belong_to_the_rows_of_their_run(store: ResultStore, folder: Path) -> None:
    kept = (folder / "0000.examples").read_bytes()
    store.chunks(*CELL).write(0, rows().assign(forwards=21), examples(0.25))
    (folder / "0000.examples").write_bytes(kept)  # that of another run with the same cell
    assert store.chunks(*CELL).rows(0) is not None
    assert store.chunks(*CELL).examples(0) is None


def test_files_of_an_earlier_version_are_none(store: ResultStore, folder: Path) -> None:
    rows().to_parquet(folder / "0002.parquet", index=False)
    assert store.chunks(*CELL).rows(2) is None
    rows().to_parquet(folder / "0002.rows", index=False)
    assert store.chunks(*CELL).rows(2) is None


def test_a_folder_or_a_pipe_is_no_chunk(store: ResultStore, folder: Path) -> None:
    (folder / "0000.rows").unlink()
    (folder / "0000.rows").mkdir()
    assert found(store) == (False, False)
