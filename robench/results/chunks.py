"""The finished chunks of an unfinished cell, each with a digest of what it is and contains."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from robench.atomic import replacing
from robench.results.files import AdversarialExamples, read_file, read_frame, sha256

SEAL = hashlib.sha256().digest_size
"""Bytes of a digest."""
ATTEMPTS = 3
"""To write a chunk, whose folder another run may remove."""


class Chunks:
    """The folder of the chunks of a cell.

    A file begins with a SHA-256 over its content, the cell's hash and the chunk's number, so a
    chunk that was changed, cut or moved is none: it is computed again. The digest of the
    adversarial examples covers that of their rows, so the two are of one run.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        """The chunks of the cell with a hash; the folder need not exist."""
        self.folder, self.digest = folder, digest

    def rows(self, number: int) -> pd.DataFrame | None:
        """The rows of a chunk, or None."""
        data = self._read(number, "rows")
        try:
            return None if data is None else read_frame(data)
        except (ValueError, ArrowException):  # of another version of the library
            return None

    def examples(self, number: int) -> AdversarialExamples | None:
        """The adversarial examples of a chunk, or None."""
        rows = self._read(number, "rows")
        if rows is None:
            return None
        return AdversarialExamples.unpack(self._read(number, "examples", sha256(rows)))

    def write(
        self, number: int, rows: pd.DataFrame, examples: AdversarialExamples | None = None
    ) -> None:
        """Store a chunk; another run that stores the same cell may remove it at any time."""
        data = rows.to_parquet(index=False)
        parts: list[tuple[tuple[str, ...], bytes]] = [(("rows",), data)]
        if examples is not None:
            parts.insert(0, (("examples", sha256(data)), examples.pack()))
        for attempt in range(ATTEMPTS):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for of, content in parts:
                    with replacing(self._path(number, of[0])) as temporary:
                        temporary.write_bytes(self._seal(number, of, content) + content)
            except FileNotFoundError:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def drop(self) -> None:
        """Remove all chunks."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:04d}.{kind}"

    def _read(self, number: int, *of: str) -> bytes | None:
        """The content of a file; None if it is missing or its digest is another."""
        with suppress(OSError):
            data = read_file(self._path(number, of[0]))
            seal, content = data[:SEAL], data[SEAL:]
            if seal == self._seal(number, of, content):
                return content
        return None

    def _seal(self, number: int, of: tuple[str, ...], content: bytes) -> bytes:
        """The digest of a content, and of what it is."""
        what = json.dumps([self.digest, number, *of]).encode()
        return hashlib.sha256(what + b"\n" + content).digest()
