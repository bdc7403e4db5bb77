"""Why a cell failed: on one line, and in full."""

from __future__ import annotations

import traceback
from pathlib import PurePath

from robench.errors import RobenchError
from robench.isolation import EscapeError
from robench.text import one_line, visible

LONGEST = 200
"""Most characters of a message: some libraries print whole tensors."""


def full_text(error: BaseException) -> str:
    """The message of an error of robench, or the traceback of any other."""
    if isinstance(error, RobenchError):
        return visible(Exception.__str__(error))  # with its line ends
    return visible("".join(traceback.format_exception(error)))


def short_reason(error: BaseException) -> str:
    """The message of an error of robench, or type, message and place of any other, on one line.

    The place is the innermost one outside installed libraries, e.g. in the user's code rather than
    in torch.
    """
    if isinstance(error, RobenchError):
        return one_line(error, LONGEST)
    if isinstance(error, EscapeError) and error.__cause__ is not None:
        error = error.__cause__
    message = one_line("".join(traceback.format_exception_only(error)), LONGEST)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _installed(frame.filename)]
    if not frames:
        return message
    place = (own or frames)[-1]
    return f"{message} ({PurePath(place.filename).name}:{place.lineno} in {place.name})"


def _installed(filename: str) -> bool:
    parts = PurePath(filename).parts
    return filename.startswith("<") or "site-packages" in parts or "dist-packages" in parts
