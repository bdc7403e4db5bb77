"""The store: one JSON and one Parquet file for each cell, written at once and read as they are.

On demand the adversarial images of a cell, its *witnesses*, lie beside them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

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


WITNESSES = ".witnesses.safetensors"


@dataclass(frozen=True)
class Damaged:
    """A file of the store that cannot be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Witnesses:
    """What broke the samples of a cell, each at its smallest ε.

    Attributes:
        index: of each broken sample among the data set's test images, ``(B,)``, int64.
        images: the adversarial image of each, ``(B, C, H, W)``, float32 in [0, 1].
    """

    index: np.ndarray
    images: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Witnesses]) -> Witnesses:
        """Those of all chunks, in order."""
        index, images = ([getattr(part, name) for part in parts] for name in ("index", "images"))
        return cls(np.concatenate(index), np.concatenate(images))


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

    def write(
        self,
        cell: CellResult,
        rows: pd.DataFrame | None = None,
        witnesses: Witnesses | None = None,
    ) -> Path:
        """Store a cell and drop its chunks; returns the path of the JSON.

        Witnesses of an earlier run go: they need not be those of these rows.
        """
        path = self.path(cell.model, cell.attack, cell.hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        if rows is not None:
            _write_witnesses(witnesses, path)
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

    def witnesses(self, cell: CellResult) -> Witnesses | None:
        """The adversarial images of a done cell; None where it was run without ``--witnesses``.

        They are in the order of the Parquet file, whose column ``index`` theirs refers to.
        """
        return _read_witnesses(self.path(cell.model, cell.attack, cell.hash))

    def has_witnesses(self, cell: CellResult) -> bool:
        """Whether the adversarial images of a cell are there and whole; reads none of them."""
        path = self.path(cell.model, cell.attack, cell.hash)
        try:
            with safe_open(path.with_suffix(WITNESSES), "numpy") as file:
                return set(file.keys()) == {"index", "images"}
        except (OSError, SafetensorError):
            return False

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

    def chunk_witnesses(
        self, model: str, attack: str, digest: str, number: int
    ) -> Witnesses | None:
        """The adversarial images of a finished chunk, or None."""
        return _read_witnesses(self._chunk_path(model, attack, digest, number))

    def write_chunk(
        self,
        model: str,
        attack: str,
        digest: str,
        number: int,
        rows: pd.DataFrame,
        witnesses: Witnesses | None = None,
    ) -> None:
        """Keep a finished chunk until its cell is stored."""
        path = self._chunk_path(model, attack, digest, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_witnesses(witnesses, path)
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
        except OSError as error:
            return Damaged(path, error.strerror or type(error).__name__)
        if cell.status == "done":
            try:
                rows = pd.read_parquet(path.with_suffix(".parquet"), columns=["index"])
            except (OSError, ValueError) as error:
                return Damaged(path.with_suffix(".parquet"), str(error).splitlines()[0])
            if cell.outcome is None or len(rows) != cell.outcome.identity.samples:
                return Damaged(path, "the JSON and the Parquet file do not belong together")
        return cell


def _read_witnesses(beside: Path) -> Witnesses | None:
    """The witnesses beside a file; None where they are absent, or damaged: computed again."""
    try:
        found = load(beside.with_suffix(WITNESSES).read_bytes())
        return Witnesses(found["index"], found["images"])
    except (OSError, SafetensorError, KeyError):
        return None


def _write_witnesses(witnesses: Witnesses | None, beside: Path) -> None:
    path = beside.with_suffix(WITNESSES)
    if witnesses is None:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_suffix(".safetensors.tmp")
    temporary.write_bytes(save({"index": witnesses.index, "images": witnesses.images}))
    temporary.replace(path)


def _write_parquet(rows: pd.DataFrame, path: Path) -> None:
    temporary = path.with_suffix(".parquet.tmp")
    rows.to_parquet(temporary, index=False)
    temporary.replace(path)
