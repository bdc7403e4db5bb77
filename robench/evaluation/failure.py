"""Why a cell failed: on one line, and in full."""

from __future__ import annotations

import traceback

from robench.errors import RobenchError
from robench.isolation import EscapeError
from robench.text import one_line, visible
from robench.user_code import LONGEST, described


def full_text(error: BaseException) -> str:
    """The message of an error of robench, or the traceback of any other."""
    if isinstance(error, RobenchError):
        return visible(Exception.__str__(error))  # with its line ends
    return visible("".join(traceback.format_exception(error)))


def short_reason(error: BaseException) -> str:
    """The message of an error of robench, or type, message and place of any other, on one line."""
    if isinstance(error, RobenchError):
        return one_line(error, LONGEST)
    if isinstance(error, EscapeError) and error.__cause__ is not None:
        error = error.__cause__
    return described(error)
