"""A process that ends with the one that started it. It imports nothing heavy before that holds."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection


@contextmanager
def without_interrupt() -> Iterator[None]:
    """Children that are started in this thread get no Ctrl-C; the process that started them does.

    Windows has no such thing, and its children print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(pipe: Connection, call: bytes) -> None:
    """Call a function in a child process, which ends at once if its parent does.

    Args:
        pipe: to the parent, the first argument of the function.
        call: the pickled function and the tuple of its other arguments, whose modules are imported
            here.
    """
    threading.Thread(target=_follow, daemon=True).start()
    function, arguments = pickle.loads(call)
    function(pipe, *arguments)


def _follow() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
