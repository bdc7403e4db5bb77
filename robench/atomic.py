"""Writing a file at once: a reader sees the old file or the new one, whoever else writes it."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FORGOTTEN = 24 * 60 * 60
"""Seconds after which a temporary file that nobody has touched is nobody's, on any machine."""
_NAME = re.compile(r"\..+\.robench-(?P<host>[0-9a-f]{8})-(?P<process>\d+)-\d+\.tmp")
_count = itertools.count()
_mine: set[Path] = set()


def temporary_path(path: Path) -> Path:
    """A path in the folder of ``path`` that no other process and no other thread has."""
    name = f".{path.name}.robench-{_host()}-{os.getpid()}-{next(_count)}.tmp"
    return path.with_name(name)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of ``path`` when the block ends.

    Where the block raises, or is interrupted, the temporary file goes and ``path`` stays as it was.

    Yields:
        The :func:`temporary_path`.
    """
    temporary = temporary_path(path)
    _mine.add(temporary.absolute())
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        _mine.discard(temporary.absolute())


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove the temporary files of processes that were killed; others' files stay.

    Args:
        folder: where :func:`replacing` has written; it need not exist.
        below: look into all folders below it too.
    """
    pattern = ".*.robench-*.tmp"
    for path in list(folder.rglob(pattern) if below else folder.glob(pattern)):
        match = _NAME.fullmatch(path.name)
        if match is None or path.absolute() in _mine:
            continue
        with suppress(OSError):  # another process may remove it at the same time
            here = match["host"] == _host()
            old = time.time() - path.stat().st_mtime > FORGOTTEN
            if old or (here and not _runs(int(match["process"]))):
                path.unlink()


def _host() -> str:
    """The machine in eight digits: its processes are not those of others on a shared disk."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _runs(process: int) -> bool:
    """Whether a process of this machine runs; our own number on a file that is not ours does not.

    A killed process may have had the number that this one has now.
    """
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True
