"""Settings of glibc's allocator that keep freed memory in the process.

By default glibc returns large blocks to the system as soon as they are freed and requests them
again a layer later, and the system clears every page again. On a spiking network, whose layers
allocate tensors of all time steps, this took a fifth to a half of the time of a pass on one core.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Parameters of ``mallopt``, as glibc's ``malloc.h`` numbers them."""


@cache
def keep_freed_memory() -> bool:
    """Keep freed memory from now on; returns whether the C library supports it (glibc does).

    The setting stays for the rest of the process, because glibc cannot report the setting before;
    :func:`give_back_memory` returns the memory. All threads share one arena, because the other
    arenas of glibc are too small for large blocks; allocations are too few to contend for it.
    """
    library = _glibc()
    if library is None:
        return False
    settings = (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1)
    return all([library.mallopt(parameter, value) == 1 for parameter, value in settings])


def give_back_memory() -> None:
    """Return free memory to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    library.malloc_trim.argtypes = (ctypes.c_size_t,)
    return library
