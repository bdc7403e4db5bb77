"""No stored record is taken at its word: its place, its digests and its rows are compared."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench import load_results
from robench.errors import UsageError
from robench.reporting import build_report, render
from robench.results import CellResult, Damaged, ResultStore, files, store
from tests.support.made_up import Builder, fall

Record = dict[str, Any]


def edit(path: Path, change: Callable[[Record], object], *, sealed: bool = True) -> None:
    """Change a record as someone would who knows its format: with the digests that belong to it."""
    record = json.loads(path.read_text("utf-8"))
    change(record)
    if sealed:
        record.pop("sha256", None)
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        record["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(record), "utf-8")


@pytest.fixture
def cell(builder: Builder) -> CellResult:
    return builder.add("digits/a", "pgd", fall(40))


@pytest.fixture
def path(builder: Builder, cell: CellResult) -> Path:
    return builder.store.path(cell.model, cell.attack, cell.hash)


def not_believed(at: ResultStore, path: Path, reason: str = "") -> None:
    """Every reader leaves the file out, names it once and goes on."""
    found = at.read(path)
    assert isinstance(found, Damaged)
    assert reason in found.reason
    assert len(found.reason.splitlines()) == 1
    report = build_report(at)
    assert [damaged.path for damaged in report.damaged] == [found.path]
    assert "digits/a" not in render(report, "json")
    results = load_results(at.root)
    assert not [cell for cell in results.cells if cell.model == "digits/a"]
    assert results.damaged == (found,)


@pytest.mark.parametrize("model", ["../outside", "digits/../..", "/etc", "digits/a/b", "", "a\0/b"])
def test_a_name_that_is_no_model_builds_no_path(
    builder: Builder, cell: CellResult, path: Path, model: str
) -> None:
    with pytest.raises(UsageError, match="model id"):
        builder.store.path(model, "pgd", cell.hash)
    edit(path, lambda record: record.update(model=model))
    not_believed(builder.store, path, "model")


@pytest.mark.parametrize("digest", ["../../../../etc/passwd", "", "F" * 64, "0" * 63, "\0" * 64])
def test_a_hash_that_is_none_builds_no_path(builder: Builder, path: Path, digest: str) -> None:
    with pytest.raises(UsageError, match="SHA-256"):
        builder.store.path("digits/a", "pgd", digest)
    edit(path, lambda record: record.update(hash=digest))
    not_believed(builder.store, path, "hash")


@pytest.mark.parametrize("attack", ["..", ".", "../..", "/tmp/x", "..\\.."])
def test_an_attack_is_never_a_path(tmp_path: Path, attack: str) -> None:
    here = ResultStore(tmp_path / "results")
    found = here.path("digits/a", attack, "f" * 64)
    assert found.parent.parent == tmp_path / "results" / "digits" / "a"
    assert ".." not in found.parts
    with pytest.raises(UsageError, match="attack"):
        here.path("digits/a", f"{attack}\0", "f" * 64)


def test_rows_outside_the_store_are_not_read(
    builder: Builder, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = builder.store.root.parent / "outside"
    shutil.copytree(path.parents[2], outside)
    read: list[Path] = []
    real = files.read_file

    def watched(path: Path, *largest: int) -> bytes:
        read.append(path)
        return real(path, *largest)

    for module in (files, store):
        monkeypatch.setattr(module, "read_file", watched)
    for name in ("../outside/a", "digits/../../outside"):
        edit(path, lambda record, name=name: record.update(model=name))
        assert isinstance(builder.store.read(path), Damaged)
    build_report(builder.store)
    assert read
    assert all(builder.store.root in place.parents for place in read)


def test_a_cell_that_is_copied_to_another_place_is_not_done(builder: Builder, path: Path) -> None:
    other = builder.store.root / "digits" / "b" / "pgd"
    shutil.copytree(path.parent, other)
    found = builder.store.read(other / path.name)
    assert isinstance(found, Damaged)
    assert found.rule == "result-misplaced"
    assert builder.store.find("digits/b", "pgd", "0" * 64) is None
    renamed = other / f"{'0' * 16}.json"
    (other / path.name).rename(renamed)
    assert isinstance(builder.store.find("digits/b", "pgd", "0" * 64), Damaged)
    assert len(build_report(builder.store).damaged) == 1


def rename(record: Record) -> None:
    record["model"] = record["outcome"]["identity"]["model"] = "digits/b"


def test_a_cell_under_the_name_of_another_model_is_not_believed(
    builder: Builder, path: Path
) -> None:
    edit(path, rename)
    other = builder.store.root / "digits" / "b"
    path.parents[1].rename(other)
    found = builder.store.read(other / "pgd" / path.name)
    assert isinstance(found, Damaged)
    assert "by its identity" in found.reason


def outcome(**values: object) -> Callable[[Record], object]:
    return lambda record: record["outcome"].update(values)


def point(number: int, **values: object) -> Callable[[Record], object]:
    return lambda record: record["outcome"]["curve"][number].update(values)


def of_identity(**values: object) -> Callable[[Record], object]:
    return lambda record: record["outcome"]["identity"].update(values)


LIES = {
    "a better accuracy": point(3, accuracy=1.0),
    "a larger count": point(3, robust=225),
    "a narrower interval": point(3, interval={"low": 0.5, "high": 0.5}),
    "a larger area": outcome(auc={"16/255": 0.99}),
    "an area up to another ε": outcome(auc={"5/255": 0.9}),
    "the interval of another area": outcome(auc_interval={"16/255": {"low": 0.9, "high": 1.0}}),
    "no interval": outcome(auc_interval={}),
    "another clean accuracy": outcome(clean_accuracy=1.0),
    "fewer passes": outcome(forwards=1.0),
    "all examples confirmed": outcome(reverified=0.5),
    "another verdict": outcome(verdict="suspect"),
    "a reason more": outcome(reasons=["few-steps"]),
    "no checks": outcome(checks=[]),
    "another seed": of_identity(seed=1),
    "other weights": of_identity(fingerprint="0" * 64),
    "another data set": lambda record: record.update(dataset="mnist"),
    "a failed cell with an outcome": lambda record: record.update(status="failed"),
    "a done cell without": lambda record: record.update(outcome=None),
    "a shorter curve": lambda record: record["outcome"]["curve"].pop(),
    "other ε": point(2, epsilon={"value": 0.5, "text": "0.5"}),
    "ε that is not its text": point(2, epsilon={"value": 4 / 255, "text": "0.5"}),
    "a grid that does not ascend": lambda record: record["outcome"]["curve"].reverse(),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_record_that_says_other_than_its_rows_is_not_believed(
    builder: Builder, path: Path, lie: Callable[[Record], object]
) -> None:
    builder.add("digits/c", "pgd", fall(30))
    edit(path, lie)
    not_believed(builder.store, path)


BAD = [float("nan"), float("inf"), -float("inf"), -0.1, 2, 1e308, "x", None, [], 10**400]
NUMBERS: dict[str, Callable[[object], Callable[[Record], object]]] = {
    "accuracy": lambda bad: point(1, accuracy=bad),
    "interval": lambda bad: point(1, interval={"low": bad, "high": bad}),
    "robust": lambda bad: point(1, robust=-3 if bad == 2 else bad),
    "ε": lambda bad: point(1, epsilon={"value": bad, "text": "0"}),
    "auc": lambda bad: outcome(auc={"16/255": bad}),
    "clean": lambda bad: outcome(clean_accuracy=bad),
    "raw": lambda bad: outcome(raw_accuracy=[bad] * 9),
    "seconds": lambda bad: lambda record: record["run"].update(seconds=-1 if bad == 2 else bad),
}


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_none_ends_no_reader(
    builder: Builder, path: Path, name: str, bad: object
) -> None:
    if (name, bad) == ("seconds", 1e308):
        return  # a number as any other
    edit(path, NUMBERS[name](bad), sealed=False)
    not_believed(builder.store, path)


def test_an_integer_of_thousands_of_digits_is_one_line(builder: Builder, path: Path) -> None:
    text = path.read_text("utf-8")
    path.write_text(text.replace('"steps": 20', f'"steps": {"9" * 5000}', 1), "utf-8")
    not_believed(builder.store, path)


def test_no_flipped_bit_of_a_record_is_silent(builder: Builder, path: Path) -> None:
    whole = path.read_bytes()
    good = builder.store.read(path)
    assert isinstance(good, CellResult)
    silent = []
    for place in np.linspace(0, len(whole) - 1, 120).astype(int):
        for bit in (0, 5):
            path.write_bytes(flipped(whole, int(place), bit))
            found = builder.store.read(path)
            if not isinstance(found, Damaged) and found != good:
                silent.append((int(place), bit))
    assert silent == []


def test_no_flipped_bit_of_the_rows_is_silent(builder: Builder, path: Path) -> None:
    rows = path.with_suffix(".parquet")
    whole = rows.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 80).astype(int):
        rows.write_bytes(flipped(whole, int(place), int(place) % 8))
        assert isinstance(builder.store.read(path), Damaged)
    for length in (0, 1, 100, len(whole) - 1):
        rows.write_bytes(whole[:length])
        assert isinstance(builder.store.read(path), Damaged)


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def test_a_record_of_an_earlier_version_has_no_digest_and_is_compared_with_its_rows(
    builder: Builder, cell: CellResult, path: Path
) -> None:
    def older(record: Record) -> None:
        del record["sha256"], record["examples_sha256"]

    edit(path, older, sealed=False)
    found = builder.store.read(path)
    assert found == cell.model_copy(update={"sha256": None})
    edit(path, outcome(clean_accuracy=1.0), sealed=False)
    not_believed(builder.store, path, "clean accuracy")


def test_rows_of_any_size_are_not_read(builder: Builder, path: Path) -> None:
    """A few kilobytes of Parquet that are gigabytes in memory."""
    rows = pd.read_parquet(path.with_suffix(".parquet"))
    rows["found_by"] = "x" * 10**6
    rows.to_parquet(path.with_suffix(".parquet"), index=False, compression="zstd")
    digest = hashlib.sha256(path.with_suffix(".parquet").read_bytes()).hexdigest()
    edit(path, lambda record: record.update(rows_sha256=digest))
    found = builder.store.read(path)
    if isinstance(found, CellResult):
        with pytest.raises(Exception, match="too long"):
            builder.store.rows(found)


def test_a_pipe_is_no_record(builder: Builder, path: Path) -> None:
    import os

    path.unlink()
    os.mkfifo(path)
    not_believed(builder.store, path, "regular")


def test_one_who_would_hide_a_result_by_a_newer_date_fails(builder: Builder) -> None:
    positions = fall(40)
    good = builder.add("digits/a", "pgd", positions)
    new = builder.add(
        "digits/a", "pgd", positions, seed=0, created="2027", architecture_version="9"
    )
    path = builder.store.path(new.model, new.attack, new.hash)
    edit(path, outcome(clean_accuracy=1.0))
    report = build_report(builder.store, all_runs=False)
    (table,) = report.tables
    assert table.rows[0].entries["pgd"].hash == good.hash
    assert [damaged.path for damaged in report.damaged] == [path]
