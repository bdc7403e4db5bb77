"""Why a cell failed, on one line: what was raised, and where."""

from __future__ import annotations

import re
from pathlib import PurePath

_TRACEBACK = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.M)
_LIBRARY = re.compile(r"[\\/](?:site|dist)-packages[\\/]|^<")
LONGEST = 200
"""Characters of the message: some libraries print whole tensors."""


def short_reason(error: str) -> str:
    """The type and the message of an error with the place it came from.

    Args:
        error: a message of robench, or a traceback as Python prints it. The place is the innermost
            one outside installed libraries: the user's code and not torch's, where both took part.
    """
    _, found, last = error.rpartition(_TRACEBACK)
    if not found:
        return _one_line(error)
    raised = next((k for k, line in enumerate(last.splitlines()) if line[:1].strip()), None)
    if raised is None:
        return _one_line(last)
    message = _one_line("\n".join(last.splitlines()[raised:]))
    frames = list(_FRAME.finditer(last))
    own = [frame for frame in frames if not _LIBRARY.search(frame["file"])]
    if not frames:
        return message
    place = (own or frames)[-1]
    return f"{message} ({PurePath(place['file']).name}:{place['line']} in {place['function']})"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
