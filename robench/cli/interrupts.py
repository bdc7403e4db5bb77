"""Ctrl-C or SIGTERM at any time: one line, and the exit code of an interrupt.

An import that is interrupted may fail with another error, or be taken for a missing library. So an
interrupt waits until the import is over; if that takes too long, the process ends without clean-up.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
PATIENCE = 3.0
"""Seconds that an interrupt waits for an import."""
_AGAIN = 0.02
_deadline: float | None = None
"""Until when the interrupt waits."""
_terminated = False
"""Whether SIGTERM was sent, as a job scheduler does; it ends a command as Ctrl-C does."""


def defer_in_imports() -> None:
    """Install the handler, unless the caller of the command ignores the signals."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _deadline, _terminated
    _terminated = _terminated or number == signal.SIGTERM
    now = time.monotonic()
    if _importing(frame):
        _deadline = _deadline or now + PATIENCE
        if now >= _deadline:
            code = end_interrupted("robench")
            sys.stderr.flush()
            os._exit(code)
        later = threading.Timer(_AGAIN, _signal_again)
        later.daemon = True
        later.start()
        return
    _deadline = None
    raise KeyboardInterrupt


def _signal_again() -> None:
    """Interrupt the main thread; where the system can, also in a call that waits."""
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def end_interrupted(name: str, left: str = "") -> int:
    """Say that a command was interrupted, and what it leaves behind; returns the exit code."""
    what = "terminated" if _terminated else "interrupted"
    print("; ".join(filter(None, [f"{name}: {what}", left])), file=sys.stderr)
    return TERMINATED if _terminated else INTERRUPTED


def _quietly(number: int, frame: FrameType | None) -> None:
    os._exit(TERMINATED if number == signal.SIGTERM else INTERRUPTED)


def exit_quietly() -> None:
    """Let an interrupt while the interpreter shuts down end it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _quietly)
