"""Damaged files, records without a digest, and several runs at the same time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robench.results import Damaged, ResultStore, chunks
from tests.support.made_up import Builder, fall


def damage_values(parquet: Path) -> None:
    """Write other values in the same number of rows, in a valid file."""
    rows = pd.read_parquet(parquet)
    rows["minimal_position"] = rows["minimal_position"].to_numpy()[::-1]
    rows.to_parquet(parquet, index=False)


def test_rows_that_are_not_those_of_the_record_are_damaged(builder: Builder) -> None:
    cell = builder.add("digits/a", "pgd", fall(40))
    path = builder.store.path(cell.model, cell.attack, cell.hash)
    assert builder.store.find("digits/a", "pgd", cell.hash) == cell
    damage_values(path.with_suffix(".parquet"))
    found = builder.store.find("digits/a", "pgd", cell.hash)
    assert isinstance(found, Damaged)
    assert found.path == path.with_suffix(".parquet")
    assert "SHA-256" in found.reason


def test_missing_rows_are_reported_with_their_path_once(builder: Builder) -> None:
    cell = builder.add("digits/a", "pgd", fall(40))
    path = builder.store.path(cell.model, cell.attack, cell.hash).with_suffix(".parquet")
    path.unlink()
    assert builder.store.find("digits/a", "pgd", cell.hash) == Damaged(
        path, "No such file or directory", "rows-damaged"
    )


def test_a_done_record_without_a_digest_is_damaged(builder: Builder) -> None:
    cell = builder.add("digits/a", "pgd", fall(40))
    path = builder.store.path(cell.model, cell.attack, cell.hash)
    record = json.loads(path.read_text("utf-8"))
    assert len(record.pop("rows_sha256")) == 64
    path.write_text(json.dumps(record), "utf-8")
    assert isinstance(builder.store.find("digits/a", "pgd", cell.hash), Damaged)


def test_a_failed_attempt_leaves_the_done_cell_of_another_run(builder: Builder) -> None:
    done = builder.add("digits/a", "pgd", fall(40))
    update: dict[str, Any] = {"status": "failed", "outcome": None, "error": "no memory"}
    builder.store.write(done.model_copy(update=update))
    assert builder.store.find("digits/a", "pgd", done.hash) == done


def test_a_chunk_is_written_while_another_run_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing, rivals = chunks.replacing, iter(range(9))

    def with_rival(path: Path) -> AbstractContextManager[Path]:
        if next(rivals) == 0:
            shutil.rmtree(path.parent)
        return replacing(path)

    monkeypatch.setattr(chunks, "replacing", with_rival)
    place = "digits/a", "pgd", "f" * 64
    rows = pd.DataFrame({"index": [0, 1]})
    ResultStore(tmp_path).chunks(*place).write(0, rows)
    found = ResultStore(tmp_path).chunks(*place).rows(0)
    assert found is not None
    assert found.equals(rows)


def test_the_start_of_a_run_removes_old_temporary_files(tmp_path: Path) -> None:
    left = tmp_path / "digits" / "a" / "pgd" / ".0.json.robench-0123456789ab.tmp"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (0, 0))
    ResultStore(tmp_path).require_writable()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


THREADS = """
import os
import sys
from pathlib import Path

from robench.results.files import read_frame, read_table

data = Path(sys.argv[1]).read_bytes()
before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    read_table(data)
    read_frame(data)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_no_thread_reads_rows(builder: Builder) -> None:
    # one that still holds a buffer of Python when the interpreter ends aborts the process
    cell = builder.add("digits/a", "pgd", fall(40))
    path = builder.store.path(cell.model, cell.attack, cell.hash).with_suffix(".parquet")
    done = subprocess.run(
        [sys.executable, "-c", THREADS, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
