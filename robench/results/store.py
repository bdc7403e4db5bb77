"""The store: one JSON and one Parquet file for each cell, written atomically.

On demand, the adversarial examples of a cell are stored beside them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from glob import escape
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from robench.atomic import (
    forgotten,
    remove_leftovers,
    replacing,
    temporary_file,
    version,
    write_over,
)
from robench.errors import ContentError, UsageError
from robench.file_names import file_name
from robench.results.chunks import Chunks
from robench.results.files import (
    CONTENT,
    EXAMPLES,
    LARGEST,
    AdversarialExamples,
    Damaged,
    first_error,
    frame_of,
    keep,
    kept_at,
    read_file,
    read_kept,
    read_table,
    why,
    without_damaged,
)
from robench.results.reading import ERRORS, Sound, inspect
from robench.results.schema import CellResult, attack_name, cell_hash, model_id


@lru_cache(4096)
def _folder(root: Path, model: str, attack: str) -> Path:
    return root.joinpath(*map(file_name, (*model.split("/"), attack)))


def _pattern(name: str) -> str:
    """The pattern of a folder name."""
    return escape(file_name(name))


def _file(digest: str) -> str:
    return f"{digest[:16]}.json"


class ResultStore:
    """Cells under ``root/<dataset>/<model>/<attack>/<hash>.json`` with their rows beside them.

    The folders are named by :func:`~robench.file_names.file_name`.

    The JSON is written last: a cell exists if its JSON does, and that of a done one is never half
    written. It names the other files by their SHA-256, and none of them is ever replaced by another
    content, so a record and its rows are always those of one run. Finished chunks of an unfinished
    cell are in ``<hash>.chunks/``. Several processes may write at the same time; if two compute the
    same cell, the result of the later one stays.

    No stored file is taken at its word: every reader gets a cell from :meth:`load`, which compares
    it with its place, its digests and its rows.
    """

    def __init__(self, root: Path) -> None:
        """Open a store in a folder, which need not exist."""
        self.root = root
        self._outside: dict[Path, bool] = {}

    def require_writable(self) -> None:
        """Remove what killed runs left; raise a UsageError if the store cannot be written to."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with temporary_file(self.root / "write-test"):
                remove_leftovers(self.root, below=True)
                for path in forgotten(self.unused(), self.root):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write to the output folder {self.root}: {error.strerror}"
            ) from None

    def unused(self) -> list[Path]:
        """The rows and examples of cells of which another run has stored others."""
        found: set[Path] = set()
        for path in self.root.glob(f"*/*/*/*{CONTENT}*"):
            name, _, rest = path.name.partition(".")
            plain = path.with_name(f"{name}.{rest.partition('.')[2]}")
            cell = self.record(path.with_name(f"{name}.json"))
            if isinstance(cell, CellResult):
                rows = plain.suffix == ".parquet"
                named = cell.rows_sha256 if rows else cell.examples_sha256
                found |= {path, plain} - {kept_at(plain, named)}
        return sorted(path for path in found if path.exists())

    def path(self, model: str, attack: str, digest: str) -> Path:
        """The path of the JSON of a cell.

        A cell that an earlier version of robench stored in a folder of another name stays there.

        Raises:
            UsageError: one of them is none, and the path might lie outside the store.
        """
        try:
            model, attack, digest = model_id(model), attack_name(attack), cell_hash(digest)
        except ValueError as error:
            raise UsageError(str(error)) from None
        file = _file(digest)
        path = _folder(self.root, model, attack) / file
        former = self.root / model / attack.replace("/", "~") / file
        if former == path or attack in (".", "..") or "\\" in attack or path.exists():
            return path
        return former if former.exists() or self._chunk_folder(former).exists() else path

    def write(
        self,
        cell: CellResult,
        rows: pd.DataFrame | None = None,
        examples: AdversarialExamples | None = None,
    ) -> CellResult:
        """Store a cell and remove its chunks; returns the record with the digests of its files.

        A failed cell does not replace a done one, which another run may store at the same time, and
        the adversarial examples of the same rows stay.
        """
        path = self.path(cell.model, cell.attack, cell.hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = version(path)
        known = self.find(cell.model, cell.attack, cell.hash)
        known = known if isinstance(known, CellResult) and known.status == "done" else None
        if cell.status == "failed" and known is not None:
            return cell
        if rows is not None:
            files: dict[str, str | None] = {
                "rows_sha256": keep(rows.to_parquet(index=False), path.with_suffix(".parquet"))
            }
            if examples is not None:
                files["examples_sha256"] = keep(examples.pack(), path.with_suffix(EXAMPLES))
            elif known is not None and known.rows_sha256 == files["rows_sha256"]:
                files["examples_sha256"] = known.examples_sha256
            cell = cell.model_copy(update=files)
        text = cell.sealed_text()
        if cell.status == "failed":
            write_over(path, text.encode(), before)
        else:
            with replacing(path) as temporary:
                temporary.write_text(text, "utf-8", newline="\n")
        if cell.status == "done":
            shutil.rmtree(self._chunk_folder(path), ignore_errors=True)
        return CellResult.model_validate_json(text)

    def find(self, model: str, attack: str, digest: str) -> CellResult | Damaged | None:
        """The stored cell, None without one, or why it is not believed."""
        path = self.path(model, attack, digest)
        return self.read(path) if path.exists() else None

    def rows(self, cell: CellResult) -> pd.DataFrame:
        """The rows of a done cell, one for each sample, in data order.

        Raises:
            ContentError: they are missing, or not those of the record.
        """
        path = self.path(cell.model, cell.attack, cell.hash).with_suffix(".parquet")
        path = kept_at(path, cell.rows_sha256)
        try:
            rows = frame_of(read_table(read_kept(path, cell.rows_sha256)))
        except (OSError, *ERRORS) as error:
            raise ContentError(f"{path}: {why(error)}") from None
        return rows.sort_values("index", ignore_index=True)

    def examples(self, cell: CellResult) -> AdversarialExamples | None:
        """The adversarial examples of a done cell, in the order of its rows.

        None if it was run without ``--keep-examples``, or if they are damaged.
        """
        path = self.path(cell.model, cell.attack, cell.hash).with_suffix(EXAMPLES)
        try:
            if cell.sha256 is None:  # of an earlier version, which kept no digest of them
                return AdversarialExamples.unpack(read_file(path))
            place = kept_at(path, cell.examples_sha256)
            return AdversarialExamples.unpack(read_kept(place, cell.examples_sha256))
        except (OSError, ContentError):
            return None

    def has_examples(self, cell: CellResult) -> bool:
        """Whether the adversarial examples of a cell are stored."""
        return self.examples(cell) is not None

    def paths(self, *, model: str | None = None, attack: str | None = None) -> Iterator[Path]:
        """The paths of all records, sorted; or of those of a model or an attack."""
        of_model = "*/*" if model is None else "/".join(map(_pattern, model.split("/")))
        of_attack = "*" if attack is None else _pattern(attack)
        for folder in sorted(self.root.glob(f"{of_model}/{of_attack}")):
            if folder.is_dir():  # names are sorted faster than paths
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
                yield from (folder / name for name in names)

    def cells(self) -> tuple[list[CellResult], list[Damaged]]:
        """All sound cells, sorted by path, and the files that are not believed."""
        return without_damaged(map(self.read, self.paths()))

    def read(self, path: Path) -> CellResult | Damaged:
        """The cell of a JSON file, or which of its files is damaged and why."""
        found = self.load(path)
        return found if isinstance(found, Damaged) else found.cell

    def load(self, path: Path) -> Sound | Damaged:
        """The cell of a JSON file with its rows, or which of its files is damaged and why."""
        found = next(self.inspect(path))
        if isinstance(found, Damaged) and found.path != path:
            found = next(self.inspect(path))  # another run stored the cell between its two files
        return found

    def inspect(self, path: Path) -> Iterator[Damaged | Sound]:
        """Everything that is wrong with a cell; at last the cell, if it could be read."""
        cell = self.record(path)
        if isinstance(cell, Damaged):
            yield cell
        else:
            yield from inspect(cell, path)

    def record(self, path: Path) -> CellResult | Damaged:
        """A record that fits the schema and its place; nothing else of it was compared."""
        if self._leads_outside(path.parent) or path.is_symlink():
            return Damaged(path, "it is a link, and may lead out of the folder of the results")
        try:
            cell = CellResult.model_validate_json(read_file(path, LARGEST))
            place = _folder(self.root, cell.model, cell.attack) / _file(cell.hash)
            if place != path:  # one of an earlier version, or misplaced
                place = self.path(cell.model, cell.attack, cell.hash)
        except ValidationError as error:
            return Damaged(path, first_error(error))
        except (OSError, *ERRORS) as error:
            return Damaged(path, why(error))
        if place != path:
            return Damaged(path, f"by its record its place is {place}", "result-misplaced")
        return cell

    def _leads_outside(self, folder: Path) -> bool:
        """Whether a folder of the store is below a link; the root may be one."""
        if folder not in self._outside:
            self._outside[folder] = not folder.resolve().is_relative_to(self.root.resolve())
        return self._outside[folder]

    def chunks(self, model: str, attack: str, digest: str) -> Chunks:
        """The finished chunks of an unfinished cell."""
        return Chunks(self._chunk_folder(self.path(model, attack, digest)), digest)

    @staticmethod
    def _chunk_folder(path: Path) -> Path:
        return path.with_suffix(".chunks")
