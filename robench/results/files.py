"""The files of the store: how rows and examples are kept and read, and their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow.parquet import ParquetFile, read_metadata
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from robench.atomic import temporary_file
from robench.errors import ContentError, plainly
from robench.results.consistency import Columns

T = TypeVar("T")
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
FINDER = "found_by"
NUMBERS = [name for name in ROWS if name != FINDER]
_WHOLE = frozenset(ROWS) - {FINDER, "minimal_epsilon", "linf", "l2"}
EXAMPLES = ".examples.safetensors"
CONTENT = ".content-"
"""In the name of a file beside one of the same cell with other content."""
LARGEST = 2**24
"""Bytes of a record."""
LONGEST_NAME = 1000
"""Characters of the name of a finder."""
LARGEST_ROWS = 2**30
"""Bytes of the columns of a cell; a few bytes of Parquet may be that of any number."""


@dataclass(frozen=True)
class Damaged:
    """A file of the store that is not believed, why, and by which rule."""

    path: Path
    reason: str
    rule: str = "result-damaged"


def without_damaged(found: Iterable[T | Damaged]) -> tuple[list[T], list[Damaged]]:
    """What was read, and the files that are not believed."""
    good: list[T] = []
    bad: list[Damaged] = []
    for each in found:
        if isinstance(each, Damaged):
            bad.append(each)
        else:
            good.append(each)
    return good, bad


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

    @classmethod
    def unpack(cls, data: bytes | None) -> AdversarialExamples | None:
        """Those of a safetensors file; None without data, or if they are damaged."""
        try:
            found = load(data) if data is not None else {}
            return cls(found["index"], found["images"])
        except (SafetensorError, KeyError):
            return None

    def pack(self) -> bytes:
        """As a safetensors file."""
        return bytes(save({"index": self.index, "images": self.images}))


def sha256(data: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(data).hexdigest()


def read_file(path: Path, largest: int | None = None) -> bytes:
    """The content of a regular file: a pipe would be waited for.

    Raises:
        OSError: it cannot be read, or is larger than ``largest`` bytes.
    """
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not S_ISREG(found.st_mode):
            raise OSError(0, "it is no regular file")
        if largest is not None and found.st_size > largest:
            raise OSError(0, f"it is larger than {largest} bytes")
        return file.read()


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def why(error: BaseException) -> str:
    """An exception on one line, without the path, which str() of an OSError contains."""
    text = getattr(error, "strerror", None) or plainly(str(error))
    return next(iter(text.splitlines()), "") or type(error).__name__


def first_error(error: ValidationError) -> str:
    """The first thing that does not fit a schema, and where it is."""
    found = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, found["loc"]))
    return f"{place}: {plainly(found['msg'])}" if place else plainly(found["msg"])


def _beside(path: Path, digest: str) -> Path:
    name, _, ending = path.name.partition(".")
    return path.with_name(f"{name}{CONTENT}{digest[:16]}.{ending}")


def keep(data: bytes, path: Path) -> str:
    """Write a file whose content never changes; returns its SHA-256.

    Several runs may store the same cell, with rows that differ in rounding. A record names its rows
    by their digest, so no run may replace those of another: if the path exists with other content,
    the file gets a name with its digest.
    """
    digest = sha256(data)
    for place in (path, _beside(path, digest)):
        with suppress(OSError):
            if read_file(place) == data:
                os.utime(place)  # it is in use again
                return digest
    with temporary_file(path) as temporary:
        temporary.write_bytes(data)
        try:
            path.hardlink_to(temporary)  # in one step, and only if there is no such file
        except OSError:
            temporary.replace(_beside(path, digest))
    return digest


def kept_at(path: Path, digest: str | None) -> Path:
    """Where the file of a digest is, as :func:`keep` returned it.

    Args:
        path: where it is if no other run has stored the cell.
        digest: of the file; None if there is none.
    """
    other = _beside(path, digest or "")
    return other if digest is not None and other.exists() else path


def read_kept(path: Path, digest: str | None) -> bytes:
    """The content of a file that has a digest.

    Raises:
        ContentError: it has another one.
        OSError: it cannot be read.
    """
    data = read_file(path)
    if sha256(data) != digest:
        raise ContentError("its SHA-256 is not the one in the JSON")
    return data


def read_table(
    data: bytes, samples: int | None = None, columns: list[str] | None = None
) -> pa.Table:
    """The rows of a Parquet file, with the finders as codes: a few bytes may be a long text.

    Args:
        data: the file.
        samples: the number of rows that it has to have.
        columns: of interest; None for all.

    Raises:
        ContentError: a column is missing, there is another number of rows, or they need too much
            memory.
        ArrowException: it is no Parquet file.
    """
    found = read_metadata(BytesIO(data))
    if samples is not None and found.num_rows != samples:
        raise ContentError(f"it has {found.num_rows} rows, and the cell {samples} samples")
    names = found.schema.names
    if missing := [name for name in ROWS if name not in names]:
        raise ContentError(f"there is no column {missing[0]}")
    groups = (found.row_group(k) for k in range(found.num_row_groups))
    if max(found.num_rows * len(names) * 8, sum(g.total_byte_size for g in groups)) > LARGEST_ROWS:
        raise ContentError(f"its columns are larger than {LARGEST_ROWS} bytes")
    return _read(data, columns, metadata=found, read_dictionary=[FINDER])


def read_frame(data: bytes) -> pd.DataFrame:
    """The rows of a Parquet file that nothing is required of.

    Raises:
        ArrowException: it is no Parquet file.
    """
    frame: pd.DataFrame = _read(data).to_pandas(use_threads=False)
    return frame


def _read(data: bytes, columns: list[str] | None = None, **options: Any) -> pa.Table:
    """Read a file without pyarrow's threads.

    One that still has a part of ``data`` when the interpreter ends aborts the process; and they
    slow the reading of few rows down.
    """
    with ParquetFile(BytesIO(data), pre_buffer=False, **options) as file:
        return file.read(columns, use_threads=False)


def columns_of(table: pa.Table) -> Columns:
    """The numbers of rows as arrays, in data order.

    Raises:
        ContentError: a column is of another type.
    """
    columns = {}
    for name in NUMBERS:
        column = table.column(name)
        kind = column.type
        whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
        if name in _WHOLE and (not whole or column.null_count):
            raise ContentError(f"column {name} is no whole number in each row")
        if not (whole or pa.types.is_floating(kind)):
            raise ContentError(f"column {name} is no number")
        columns[name] = column.to_numpy()
    order = np.argsort(columns["index"], kind="stable")
    return {name: column[order] for name, column in columns.items()}


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Rows as a frame, with the finders as texts.

    Raises:
        ContentError: the name of a finder is too long.
    """
    place = table.schema.get_field_index(FINDER)
    finders = table.column(place).combine_chunks()
    if pa.types.is_dictionary(finders.type):
        names = finders.dictionary
        if any(len(name) > LONGEST_NAME for name in names.to_pylist() if name is not None):
            raise ContentError("the name of a finder is too long")
        table = table.set_column(place, FINDER, finders.cast(pa.string()))
    frame: pd.DataFrame = table.to_pandas(use_threads=False)
    return frame
