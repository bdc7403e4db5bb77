"""Atomic writing of files: a reader sees the old file or the new one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from uuid import uuid4

if sys.platform != "win32":
    import fcntl

TEMPORARY = ".*.robench-*.tmp"
"""The pattern of their names."""
FORGOTTEN = 24 * 60 * 60
"""Age in seconds from which a file without a lock is a leftover of a killed process."""


def temporary_path(path: Path) -> Path:
    """A path in the folder of ``path`` that no other process or thread uses."""
    return path.with_name(f".{path.name}.robench-{uuid4().hex[:12]}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces ``path`` at the end of the block.

    If the block raises or is interrupted, the temporary file is removed and ``path`` is unchanged.

    Yields:
        The :func:`temporary_path`, of an empty file.
    """
    with temporary_file(path) as temporary:
        yield temporary
        temporary.replace(path)


Version = tuple[int, int, int]
"""What is another after a file was replaced."""


def version(path: Path) -> Version | None:
    """The version of a regular file; None without one."""
    try:
        return _version(path.lstat())
    except OSError:
        return None


def _version(found: os.stat_result) -> Version | None:
    return (found.st_ino, found.st_mtime_ns, found.st_size) if S_ISREG(found.st_mode) else None


def write_over(path: Path, data: bytes, known: Version | None) -> None:
    """Write a file unless another process has written it since its version was asked for.

    A new file is whole at once where the file system has links. An old one is written in place,
    because what another process moves to the path meanwhile is another file, and stays.

    Args:
        path: of the file.
        data: its content.
        known: its version; None if it did not exist.
    """
    if known is not None:
        with suppress(FileNotFoundError), path.open("r+b") as file:
            if _version(os.fstat(file.fileno())) == known:
                file.write(data)
                file.truncate()
        return
    with temporary_file(path) as temporary, suppress(FileExistsError):
        temporary.write_bytes(data)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:
            with path.open("xb") as file:
                file.write(data)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """An empty file at :func:`temporary_path`, which is removed at the end of the block."""
    temporary = temporary_path(path)
    with _locked(temporary):
        try:
            yield temporary
        finally:
            with suppress(OSError):  # it has become another file
                temporary.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Create a file and keep a lock on it, by which others see that it is being written."""
    if sys.platform == "win32":  # which cannot rename a file that is open
        yield
        return
    while True:
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            break
        os.close(file)  # another process took it for a leftover before it was locked
    try:
        yield
    finally:
        os.close(file)


def _remove_unlocked(path: Path) -> None:
    """Remove a temporary file whose writer has ended; not if that cannot be known."""
    if sys.platform == "win32":
        return
    with suppress(OSError):  # it is locked, or gone, or the file system has no locks
        file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(file)


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove the temporary files in a folder that killed processes have left.

    Their locks say which these are, also where machines share the folder. Where a file system has
    no locks, they are those older than :data:`FORGOTTEN`.

    Args:
        folder: a folder in which :func:`replacing` has written; it need not exist.
        below: also look into all folders below it.
    """
    found = list(folder.rglob(TEMPORARY) if below else folder.glob(TEMPORARY))
    for path in found:
        _remove_unlocked(path)
    for path in forgotten([path for path in found if path.exists()], folder):
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
    try:
        with temporary_file(folder / "time") as probe:
            probe.touch()
            now = probe.stat().st_mtime
    except OSError:
        return []
    return [path for path in paths if now - _written(path, now) > FORGOTTEN]


def _written(path: Path, now: float) -> float:
    """When a file was written; now if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return now
