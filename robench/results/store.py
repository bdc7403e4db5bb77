"""The store: one JSON and one Parquet file for each cell, written atomically.

On demand, the adversarial examples of a cell are stored beside them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import ArrowException
from pyarrow.parquet import read_metadata
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from robench.atomic import remove_leftovers, replacing, temporary_path
from robench.errors import UsageError, plainly
from robench.file_names import file_name
from robench.results.schema import CellResult

ROWS = (
    "index",
    "label",
    "clean_prediction",
    "minimal_position",
    "minimal_epsilon",
    "linf",
    "l2",
    "found_by",
    "forwards",
    "backwards",
    "reverified",
)


EXAMPLES = ".examples.safetensors"
ATTEMPTS = 3
"""To write a chunk, whose folder another run may remove."""


@dataclass(frozen=True)
class Damaged:
    """A file of the store that cannot be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class AdversarialExamples:
    """The adversarial examples of a cell at the minimal ε of each sample.

    Attributes:
        index: index of each sample in the data set's test images, ``(B,)``, int64.
        images: the adversarial examples, ``(B, C, H, W)``, or frames, ``(B, T, C, H, W)``, float32
            in [0, 1].
    """

    index: np.ndarray
    images: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[AdversarialExamples]) -> AdversarialExamples:
        """The adversarial examples of all chunks, in order."""
        index, images = ([getattr(part, name) for part in parts] for name in ("index", "images"))
        return cls(np.concatenate(index), np.concatenate(images))


class ResultStore:
    """Cells under ``root/<dataset>/<model>/<attack>/<hash>.json`` with their rows beside them.

    The folders are named by :func:`~robench.file_names.file_name`.

    The JSON is written last: a cell exists if its JSON does, and a half-written file never has that
    name. Finished chunks of an unfinished cell are in ``<hash>.chunks/``. Several processes may
    write at the same time; if two compute the same cell, the result of the later one stays.
    """

    def __init__(self, root: Path) -> None:
        """Open a store in a folder, which need not exist."""
        self.root = root

    def require_writable(self) -> None:
        """Remove old temporary files; raise a UsageError if the store cannot be written to."""
        probe = temporary_path(self.root / "write-test")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.root, below=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"cannot write to the output folder {self.root}: {error.strerror}"
            ) from None

    def path(self, model: str, attack: str, digest: str) -> Path:
        """The path of the JSON of a cell.

        A cell that an earlier version of robench stored in a folder of another name stays there.
        """
        file = f"{digest[:16]}.json"
        path = self.root.joinpath(*map(file_name, (*model.split("/"), attack)), file)
        former = self.root / model / attack.replace("/", "~") / file
        kept = map(os.path.exists, (former, self._chunk_folder(former)))
        return former if any(kept) and not path.exists() else path

    def write(
        self,
        cell: CellResult,
        rows: pd.DataFrame | None = None,
        examples: AdversarialExamples | None = None,
    ) -> CellResult:
        """Store a cell and remove its chunks; returns the cell with the digest of its rows.

        Adversarial examples of an earlier run are removed, since they need not belong to these
        rows. A failed cell does not replace a done one, which another run may have stored.
        """
        path = self.path(cell.model, cell.attack, cell.hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        if cell.status == "failed":
            known = self.find(cell.model, cell.attack, cell.hash)
            if isinstance(known, CellResult) and known.status == "done":
                return cell
        if rows is not None:
            _write_examples(examples, path)
            digest = _write_parquet(rows, path.with_suffix(".parquet"))
            cell = cell.model_copy(update={"rows_sha256": digest})
        text = json.dumps(cell.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", "utf-8", newline="\n")
        if cell.status == "done":
            shutil.rmtree(self._chunk_folder(path), ignore_errors=True)
        return cell

    def find(self, model: str, attack: str, digest: str) -> CellResult | Damaged | None:
        """The stored cell, None without one, or why its files are damaged."""
        path = self.path(model, attack, digest)
        return self.read(path) if path.exists() else None

    def rows(self, cell: CellResult) -> pd.DataFrame:
        """The rows of a done cell, one for each sample, in data order."""
        path = self.path(cell.model, cell.attack, cell.hash)
        return pd.read_parquet(path.with_suffix(".parquet"))

    def examples(self, cell: CellResult) -> AdversarialExamples | None:
        """The adversarial examples of a done cell, in the order of its rows.

        None if it was run without ``--keep-examples``.
        """
        return _read_examples(self.path(cell.model, cell.attack, cell.hash))

    def has_examples(self, cell: CellResult) -> bool:
        """Whether the adversarial examples of a cell are stored; reads only the header."""
        path = self.path(cell.model, cell.attack, cell.hash)
        try:
            with safe_open(path.with_suffix(EXAMPLES), "numpy") as file:
                return set(file.keys()) == {"index", "images"}
        except (OSError, SafetensorError):
            return False

    def cells(self) -> tuple[list[CellResult], list[Damaged]]:
        """All readable cells, sorted by path, and the files that cannot be read."""
        good: list[CellResult] = []
        bad: list[Damaged] = []
        for path in sorted(self.root.glob("*/*/*/*.json")):
            cell = self.read(path)
            (bad if isinstance(cell, Damaged) else good).append(cell)  # type: ignore[arg-type]
        return good, bad

    def chunk(self, model: str, attack: str, digest: str, number: int) -> pd.DataFrame | None:
        """The rows of a finished chunk of an unfinished cell, or None."""
        path = self._chunk_path(model, attack, digest, number)
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError, ArrowException):  # missing or damaged: computed again
            return None

    def chunk_examples(
        self, model: str, attack: str, digest: str, number: int
    ) -> AdversarialExamples | None:
        """The adversarial examples of a finished chunk, or None."""
        return _read_examples(self._chunk_path(model, attack, digest, number))

    def write_chunk(
        self,
        model: str,
        attack: str,
        digest: str,
        number: int,
        rows: pd.DataFrame,
        examples: AdversarialExamples | None = None,
    ) -> None:
        """Store a finished chunk until its cell is stored.

        Another run that stores the same cell may remove the folder of its chunks at any time.
        """
        path = self._chunk_path(model, attack, digest, number)
        for attempt in range(ATTEMPTS):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_examples(examples, path)
                _write_parquet(rows, path)
            except FileNotFoundError:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def drop_chunks(self, model: str, attack: str, digest: str) -> None:
        """Remove the chunks of a cell."""
        folder = self._chunk_folder(self.path(model, attack, digest))
        shutil.rmtree(folder, ignore_errors=True)

    def _chunk_path(self, model: str, attack: str, digest: str, number: int) -> Path:
        return self._chunk_folder(self.path(model, attack, digest)) / f"{number:04d}.parquet"

    @staticmethod
    def _chunk_folder(path: Path) -> Path:
        return path.with_suffix(".chunks")

    @staticmethod
    def read(path: Path) -> CellResult | Damaged:
        """The cell of a JSON file, or which of its files is damaged and why."""
        try:
            cell = CellResult.model_validate_json(path.read_bytes())
        except ValidationError as error:
            return Damaged(path, plainly(error.errors()[0]["msg"]))
        except OSError as error:
            return Damaged(path, error.strerror or type(error).__name__)
        if cell.status == "done":
            beside = path.with_suffix(".parquet")
            try:
                data = beside.read_bytes()
                if cell.rows_sha256 != hashlib.sha256(data).hexdigest():
                    return Damaged(beside, "its SHA-256 is not the one in the JSON")
                samples = read_metadata(BytesIO(data)).num_rows
            except (OSError, ValueError, ArrowException) as error:
                # str() of an OSError contains the path, which is in ``path`` already
                text = getattr(error, "strerror", None) or str(error)
                return Damaged(beside, next(iter(text.splitlines()), type(error).__name__))
            if cell.outcome is None or samples != cell.outcome.identity.samples:
                return Damaged(path, "the JSON and the Parquet file do not belong together")
        return cell


def _read_examples(beside: Path) -> AdversarialExamples | None:
    """The adversarial examples beside a file; None if they are missing or damaged."""
    try:
        found = load(beside.with_suffix(EXAMPLES).read_bytes())
        return AdversarialExamples(found["index"], found["images"])
    except (OSError, SafetensorError, KeyError):
        return None


def _write_examples(examples: AdversarialExamples | None, beside: Path) -> None:
    path = beside.with_suffix(EXAMPLES)
    if examples is None:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(save({"index": examples.index, "images": examples.images}))


def _write_parquet(rows: pd.DataFrame, path: Path) -> str:
    """Write the rows; returns the SHA-256 of the file."""
    data = rows.to_parquet(index=False)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
