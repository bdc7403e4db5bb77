"""Folders for compiled code, in which no other user of the machine can write."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PREFIX = "robench-"


def is_own(found: os.stat_result) -> bool:
    """Whether a file or folder is the user's, and nobody else can write to it.

    Always, on a system whose files have no such modes.
    """
    if not hasattr(os, "geteuid"):  # Windows, whose folders of a user are the user's own
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


@contextmanager
def private_folder(folder: Path, levels: int) -> Iterator[Path]:
    """A folder for files that are loaded as code.

    Args:
        folder: where they are kept, if it is the user's own. If others can write there, they no
            longer can, and its files are removed.
        levels: how many folders have to be private: ``folder`` and those above it.

    Yields:
        The folder; or a temporary one, where a folder cannot be made or belongs to somebody else.
    """
    try:
        _make_private(folder, levels)
    except OSError:
        with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)
    else:
        yield folder


def _make_private(folder: Path, levels: int) -> None:
    """Make a folder and those above it private; raises OSError if that is not possible."""
    exposed = False
    for part in reversed([folder, *folder.parents][:levels]):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)  # whatever the umask is
        found = part.stat()
        if is_own(found):
            continue
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{part} belongs to another user")
        part.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
        exposed = True
    for path in folder.iterdir() if exposed else ():
        if not path.is_dir():
            path.unlink()


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A temporary folder in ``folder``, for this process; those of killed processes are removed.

    A process holds a lock on its own, which ends with the process.
    """
    with ExitStack() as stack:
        with _lock(folder, wait=True):  # others see a new folder after it was locked
            for left in folder.glob("*/"):
                with _lock(left) as free:
                    if free:
                        shutil.rmtree(left, ignore_errors=True)
            temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
            stack.enter_context(_lock(temporary))
        yield temporary


@contextmanager
def _lock(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock a folder until the end of the block.

    Yields:
        Whether no other process has locked it; False also where folders cannot be locked.
    """
    opened = None
    try:
        if sys.platform == "win32":
            raise OSError("there are no locks of folders")
        opened = os.open(folder, os.O_RDONLY)
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        yield False
    else:
        yield True
    finally:
        if opened is not None:
            os.close(opened)
