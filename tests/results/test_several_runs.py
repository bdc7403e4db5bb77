"""Several processes on one folder: no result is lost, doubled or torn."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robench.atomic import FORGOTTEN, temporary_file
from robench.reporting import build_report
from robench.results import AdversarialExamples, CellResult, Damaged, ResultStore, files
from tests.support.made_up import Builder, agreeing, fall
from tests.support.stored import without_links

SPAWN = get_context("spawn")
CELL = "digits/a", "pgd", "a" * 64


def forever(root: Path, hash_of: tuple[str, str, str], worker: int, stop: Any) -> None:
    """Store the same cell again and again, as a run of another batch size would."""
    store = ResultStore(root)
    cell = store.find(*hash_of)
    assert isinstance(cell, CellResult)
    rows = store.rows(cell)
    number = 0
    while not stop.is_set():
        number += 1
        passes = 100 * worker + number % 3
        other, new = agreeing(cell, rows.assign(forwards=passes))
        store.write(other, new, examples(passes))


def examples(value: float) -> AdversarialExamples:
    return AdversarialExamples(np.arange(2), np.full((2, 1, 8, 8), value, np.float32))


def add_cells(root: Path, worker: int, stop: Any) -> None:
    builder = Builder(root)
    number = 0
    while not stop.is_set():
        number += 1
        builder.add(f"digits/m{worker}", "pgd", fall(40), seed=0, fingerprint=f"{number:064x}")


def write_chunks(root: Path, worker: int, stop: Any) -> None:
    store = ResultStore(root)
    rows = Builder(root.parent / f"own-{worker}").add("digits/a", "pgd", fall(40))
    table = Builder(root.parent / f"own-{worker}").store.rows(rows)
    while not stop.is_set():
        for number in range(3):
            store.chunks(*CELL).write(number, table.assign(forwards=worker), examples(worker))
        if worker == 2:
            store.chunks(*CELL).drop()


@contextmanager
def running(target: Callable[..., None], *arguments: Any, workers: int = 2) -> Iterator[Any]:
    """Processes that do something until the end of the block."""
    stop = SPAWN.Event()
    started: list[BaseProcess] = [
        SPAWN.Process(target=target, args=(*arguments, k + 1, stop)) for k in range(workers)
    ]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        stop.set()
        for process in started:
            process.join(60)
    assert {process.exitcode for process in started} <= {0, -signal.SIGKILL}


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end


def test_two_runs_that_store_the_same_cell_never_tear_it(builder: Builder) -> None:
    store, first = builder.store, builder.add("digits/a", "pgd", fall(40))
    place = first.model, first.attack, first.hash
    seen: set[float] = set()

    def look() -> bool:
        cell = store.find(*place)
        assert isinstance(cell, CellResult), cell
        assert cell.outcome is not None
        passes = cell.outcome.forwards
        assert set(store.rows(cell)["forwards"]) == {passes}
        if (kept := store.examples(cell)) is not None:
            assert kept.images.max() == kept.images.min() == passes
        seen.add(passes)
        return len(seen) >= 6

    with running(forever, store.root, place):
        until(look)
    assert not list(store.root.rglob("*.tmp"))
    assert len(list(store.paths())) == 1
    assert isinstance(store.find(*place), CellResult)


def test_a_killed_run_leaves_the_cell_of_another_one(builder: Builder) -> None:
    store, first = builder.store, builder.add("digits/a", "pgd", fall(40))
    place = first.model, first.attack, first.hash
    path = store.path(*place)
    for delay in (0.0, 0.01, 0.03):
        before = path.stat().st_mtime_ns
        with running(forever, store.root, place, workers=1) as (process,):
            until(lambda before=before: path.stat().st_mtime_ns != before)
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            process.join(60)
        assert isinstance(store.find(*place), CellResult)


def test_the_leaderboard_is_made_while_runs_go_on(tmp_path: Path) -> None:
    root = tmp_path / "results"
    root.mkdir()
    counts = [0]

    def look() -> bool:
        report = build_report(ResultStore(root), all_runs=False)
        assert report.damaged == ()
        counts.append(report.older + sum(len(t.rows) for t in report.tables))
        assert counts[-1] >= counts[-2]
        return counts[-1] > 8

    with running(add_cells, root):
        until(look)


def test_chunks_of_two_runs_are_never_mixed(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results")
    seen: set[int] = set()

    def look() -> bool:
        for number in range(3):
            kept = store.chunks(*CELL).examples(number)
            rows = store.chunks(*CELL).rows(number)
            if rows is not None:
                (worker,) = set(rows["forwards"])
                seen.add(worker)
            if kept is not None:
                assert kept.images.max() == kept.images.min()
        return seen == {1, 2}

    with running(write_chunks, store.root):
        until(look)
    assert not list(store.root.rglob("*.tmp"))


def test_rows_are_never_replaced_by_others(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    digests = [files.keep(data, path) for data in (b"one", b"two", b"one", b"two")]
    for digest, data in zip(digests, (b"one", b"two") * 2, strict=True):
        assert files.read_kept(files.kept_at(path, digest), digest) == data
    assert len(list(tmp_path.iterdir())) == 2
    assert path.read_bytes() == b"one"


def test_a_file_system_without_links_keeps_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    path = tmp_path / "0.parquet"
    for data in (b"one", b"two"):
        digest = files.keep(data, path)
        assert files.read_kept(files.kept_at(path, digest), digest) == data
    assert len(list(tmp_path.iterdir())) == 2


def age(path: Path, seconds: float = 2 * FORGOTTEN) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_what_no_record_names_is_removed_when_it_is_old(builder: Builder) -> None:
    store, first = builder.store, builder.add("digits/a", "pgd", fall(40))
    second = builder.change(first, examples(0.5), forwards=7)
    third = builder.change(first, examples(0.25), forwards=9)
    rows = sorted(path.name for path in store.root.rglob("*.parquet"))
    assert len(rows) == 3
    store.require_writable()  # another run may be about to name them
    assert sorted(path.name for path in store.root.rglob("*.parquet")) == rows
    assert len(store.unused()) == 3
    for path in store.root.rglob("*.*"):
        age(path)
    store.require_writable()
    assert len(list(store.root.rglob("*.parquet"))) == 1
    assert len(list(store.root.rglob("*.safetensors"))) == 1
    assert store.find(first.model, first.attack, first.hash) == third
    assert store.has_examples(third)
    assert not store.has_examples(second)


def test_a_machine_whose_clock_is_ahead_removes_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = time.time() + 9 * FORGOTTEN
    monkeypatch.setattr(time, "time", lambda: ahead)
    with temporary_file(tmp_path / "0.json") as temporary:
        ResultStore(tmp_path).require_writable()
        assert temporary.exists()


def test_a_failed_cell_is_replaced_and_replaces_none(builder: Builder) -> None:
    done = builder.add("digits/a", "pgd", fall(40))
    failed = done.model_copy(
        update={"status": "failed", "outcome": None, "rows_sha256": None, "reason": "x\udcff"}
    )
    builder.store.write(failed)
    assert builder.store.find("digits/a", "pgd", done.hash) == done
    path = builder.store.path("digits/a", "pgd", done.hash)
    path.unlink()
    builder.store.write(CellResult.model_validate(failed.model_dump(by_alias=True)))
    found = builder.store.find("digits/a", "pgd", done.hash)
    assert not isinstance(found, Damaged)
    assert found is not None
    assert found.status == "failed"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_failed_cell_replaces_none_that_is_stored_at_the_same_time(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, earlier: bool, links: bool
) -> None:
    if not links:
        without_links(monkeypatch)
    store, done = builder.store, builder.add("digits/a", "pgd", fall(40))
    rows, place = store.rows(done), (done.model, done.attack, done.hash)
    failed = done.model_copy(
        update={"status": "failed", "outcome": None, "rows_sha256": None, "reason": "a"}
    )
    store.path(*place).unlink()
    for reason in ("a long reason", "a") if earlier else ():
        store.write(failed.model_copy(update={"reason": reason}))
        found = store.find(*place)
        assert isinstance(found, CellResult)
        assert (found.status, found.reason) == ("failed", reason)
    find = store.find

    def slowly(*asked: str) -> CellResult | Damaged | None:
        found = find(*asked)
        ResultStore(store.root).write(done, rows)
        return found

    monkeypatch.setattr(store, "find", slowly)
    store.write(failed)
    assert find(*place) == done
    assert not list(store.root.rglob("*.tmp"))
