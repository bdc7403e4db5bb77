"""The store: one JSON and one Parquet file for each cell, written at once and read as they are."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from robench.errors import UsageError
from robench.results.schema import CellResult

ROWS = (
    "index",
    "label",
    "clean_prediction",
    "break_position",
    "break_epsilon",
    "linf",
    "l2",
    "member",
    "forwards",
    "backwards",
    "reverified",
)


@dataclass(frozen=True)
class Damaged:
    """A file of the store that cannot be read, and why."""

    path: Path
    reason: str


class ResultStore:
    """Cells under ``root/<dataset>/<model>/<attack>/<hash>.json`` with their rows beside them.

    The JSON is written last: a cell exists once its JSON does, and a half-written file never has
    that name. Finished chunks of an unfinished cell wait in ``<hash>.chunks/``.
    """

    def __init__(self, root: Path) -> None:
        """Open a store.

        Raises:
            UsageError: the folder cannot be written to.
        """
        self.root = root

    def require_writable(self) -> None:
        """Raise a UsageError where the store cannot be written to."""
        probe = self.root / f".write-test-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"cannot write to the output folder {self.root}: {error.strerror}"
            ) from None

    def path(self, model: str, attack: str, digest: str) -> Path:
        """Where the JSON of a cell lies; a model's id starts with its data set."""
        return self.root / model / attack / f"{digest[:16]}.json"

    def write(self, cell: CellResult, rows: pd.DataFrame | None = None) -> Path:
        """Store a cell and drop its chunks; returns the path of the JSON."""
        path = self.path(cell.model, cell.attack, cell.hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        if rows is not None:
            _write_parquet(rows, path.with_suffix(".parquet"))
        text = json.dumps(cell.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
        temporary = path.with_suffix(".json.tmp")
        temporary.write_text(text + "\n", "utf-8")
        temporary.replace(path)
        if cell.status == "done":
            shutil.rmtree(self._chunk_folder(path), ignore_errors=True)
        return path

    def find(self, model: str, attack: str, digest: str) -> CellResult | Damaged | None:
        """The stored cell, None where there is none, or what is wrong with its files."""
        path = self.path(model, attack, digest)
        return self._read(path) if path.exists() else None

    def rows(self, cell: CellResult) -> pd.DataFrame:
        """The per-sample rows of a done cell, in data order."""
        path = self.path(cell.model, cell.attack, cell.hash)
        return pd.read_parquet(path.with_suffix(".parquet"))

    def cells(self) -> tuple[list[CellResult], list[Damaged]]:
        """All readable cells, sorted by path, and the files that cannot be read."""
        good: list[CellResult] = []
        bad: list[Damaged] = []
        for path in sorted(self.root.glob("*/*/*/*.json")):
            cell = self._read(path)
            (bad if isinstance(cell, Damaged) else good).append(cell)  # type: ignore[arg-type]
        return good, bad

    def chunk(self, model: str, attack: str, digest: str, number: int) -> pd.DataFrame | None:
        """A finished chunk of an unfinished cell, or None."""
        path = self._chunk_path(model, attack, digest, number)
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError):  # absent, or damaged: computed again
            return None

    def write_chunk(
        self, model: str, attack: str, digest: str, number: int, rows: pd.DataFrame
    ) -> None:
        """Keep a finished chunk until its cell is stored."""
        path = self._chunk_path(model, attack, digest, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_parquet(rows, path)

    def drop_chunks(self, model: str, attack: str, digest: str) -> None:
        """Forget the chunks of a cell."""
        folder = self._chunk_folder(self.path(model, attack, digest))
        shutil.rmtree(folder, ignore_errors=True)

    def _chunk_path(self, model: str, attack: str, digest: str, number: int) -> Path:
        return self._chunk_folder(self.path(model, attack, digest)) / f"{number:04d}.parquet"

    @staticmethod
    def _chunk_folder(path: Path) -> Path:
        return path.with_suffix(".chunks")

    @staticmethod
    def _read(path: Path) -> CellResult | Damaged:
        try:
            cell = CellResult.model_validate_json(path.read_bytes())
        except ValidationError as error:
            return Damaged(path, error.errors()[0]["msg"])
        if cell.status == "done":
            try:
                rows = pd.read_parquet(path.with_suffix(".parquet"), columns=["index"])
            except (OSError, ValueError) as error:
                return Damaged(path.with_suffix(".parquet"), str(error).splitlines()[0])
            if cell.outcome is None or len(rows) != cell.outcome.identity.samples:
                return Damaged(path, "the JSON and the Parquet file do not belong together")
        return cell


def _write_parquet(rows: pd.DataFrame, path: Path) -> None:
    temporary = path.with_suffix(".parquet.tmp")
    rows.to_parquet(temporary, index=False)
    temporary.replace(path)
