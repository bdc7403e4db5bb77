"""Ctrl-C at any time: one line, and the exit code of an interrupt.

An import that is interrupted may fail with another error, or be taken for a missing library. So an
interrupt waits until the import is over, unless that takes too long.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType

INTERRUPTED = 130
PATIENCE = 3.0
"""Seconds that an interrupt waits for an import."""
_AGAIN = 0.02
_deadline: float | None = None
"""When the interrupt that waits is raised at the latest."""


def defer_in_imports() -> None:
    """Install the handler, unless the caller of the command ignores interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _deadline
    now = time.monotonic()
    if _importing(frame) and now < (_deadline or now + PATIENCE):
        _deadline = _deadline or now + PATIENCE
        later = threading.Timer(_AGAIN, _thread.interrupt_main)
        later.daemon = True
        later.start()
        return
    _deadline = None
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def end_interrupted(name: str, left: str = "") -> int:
    """Say that a command was interrupted, and what it leaves behind; returns the exit code."""
    print("; ".join(filter(None, [f"{name}: interrupted", left])), file=sys.stderr)
    return INTERRUPTED


def _quietly(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def exit_quietly() -> None:
    """Let an interrupt while the interpreter shuts down end it at once."""
    signal.signal(signal.SIGINT, _quietly)
