"""What a reader must not do with any input: start a program, leave its folder, or never end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10
"""That one input may take."""
_PLACES = (ROOT, sys.prefix, sys.base_prefix, "/usr/lib", "/lib", "/usr/share", "/proc", "/sys")
_LIBRARIES = tuple(str(Path(path).resolve()) for path in (*_PLACES, *filter(None, sys.path)))
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
             "os.forkpty", "pty.spawn", "socket.connect")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
            "os.truncate", "shutil.rmtree", "shutil.move")  # fmt: skip


class Escape(BaseException):
    """A reader did what no input may make it do."""


_folder: str | None = None
_seen: list[str] = []


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """The programs that are started and the paths outside a folder that are used, meanwhile."""
    global _folder
    _install()
    _seen.clear()
    _folder = str(folder.resolve())
    try:
        yield _seen
    finally:
        _folder = None


def _install(done: list[bool] = []) -> None:  # noqa: B006  # a hook cannot be removed
    if not done:
        sys.addaudithook(_audit)
        done.append(True)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _folder is None:
        return
    if event in _PROGRAMS:
        _refuse(f"{event} {arguments[:2]!r:.200}")
    elif event == "open" and isinstance(arguments[0], str | bytes):
        path, mode, flags = os.fsdecode(arguments[0]), arguments[1] or "", arguments[2] or 0
        writes = any(sign in mode for sign in "wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        if not _inside(path, (_folder,) if writes else (_folder, *_LIBRARIES)):
            _refuse(f"open {path} {mode}")
    elif event in _CHANGES:
        for path in arguments:
            if isinstance(path, str | bytes) and not _inside(os.fsdecode(path), (_folder,)):
                _refuse(f"{event} {os.fsdecode(path)}")


def _inside(path: str, folders: tuple[str, ...]) -> bool:
    real = os.path.realpath(path)
    return path == os.devnull or any(real == f or real.startswith(f + os.sep) for f in folders)


def _refuse(what: str) -> None:
    _seen.append(what)
    raise Escape(what)


@contextmanager
def alarm() -> Iterator[None]:
    """Raise an :class:`Escape` after :data:`SECONDS`, and end the process if that does not help."""

    def late(*_: object) -> None:
        raise Escape(f"longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
