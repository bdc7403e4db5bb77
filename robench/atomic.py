"""Atomic writing of files: a reader sees the old file or the new one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

TEMPORARY = ".*.robench-*.tmp"
"""The pattern of their names."""
FORGOTTEN = 24 * 60 * 60
"""Age in seconds from which a temporary file is a leftover of a killed process."""


def temporary_path(path: Path) -> Path:
    """A path in the folder of ``path`` that no other process or thread uses."""
    return path.with_name(f".{path.name}.robench-{uuid4().hex[:12]}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces ``path`` at the end of the block.

    If the block raises or is interrupted, the temporary file is removed and ``path`` is unchanged.

    Yields:
        The :func:`temporary_path`.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove the temporary files in a folder that are older than :data:`FORGOTTEN`.

    Args:
        folder: a folder in which :func:`replacing` has written; it need not exist.
        below: also look into all folders below it.
    """
    for path in list(folder.rglob(TEMPORARY) if below else folder.glob(TEMPORARY)):
        with suppress(OSError):  # another process may remove it at the same time
            if time.time() - path.stat().st_mtime > FORGOTTEN:
                path.unlink()
