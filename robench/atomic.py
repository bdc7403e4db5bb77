"""Atomic writing of files: a reader sees the old file or the new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    found = list(folder.rglob(TEMPORARY) if below else folder.glob(TEMPORARY))
    for path in forgotten(found, folder):
        with suppress(OSError):  # another process may remove it at the same time
            path.unlink()


def forgotten(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Those of some files that nobody has written for :data:`FORGOTTEN`.

    The time is that of the folder's file system: the clocks of the machines that share it may
    differ, and one that is ahead must not remove what another is writing. A host name says nothing
    either, since containers may share one.
    """
    paths = list(paths)
    if not paths:
        return []
    probe = temporary_path(folder / "time")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:
        return []
    finally:
        with suppress(OSError):
            probe.unlink()
    return [path for path in paths if now - _written(path, now) > FORGOTTEN]


def _written(path: Path, now: float) -> float:
    """When a file was written; now if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return now
