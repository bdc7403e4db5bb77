"""The errors of robench, with the exit codes of commands.

::

    RobenchError
    ├── UsageError        2   an invalid name, flag or number of the user
    ├── ContentError      2   a missing or damaged card, weight file or data file
    │   └── MissingDataError  2   images that are not on this machine
    ├── PluginError       2   a plug-in that cannot be loaded
    ├── DownloadError     1   a data set that cannot be downloaded
    ├── TrainingError     1   a training that cannot continue
    └── EvaluationError   1   a cell that cannot be computed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from robench.text import one_line

LONGEST = 2000
"""Most characters of an error."""
LONGEST_NAME = 200
"""Most characters of a name that is compared with others."""


class RobenchError(Exception):
    """The base class of robench's errors; the text is one line for the user."""

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__(), LONGEST)


class UsageError(RobenchError):
    """A name, a flag or a number of the user is invalid."""

    exit_code = 2


class ContentError(RobenchError):
    """A card, a weight file or a data file is missing, damaged or inconsistent."""

    exit_code = 2


class MissingDataError(ContentError):
    """Images are not on this machine; the text says where they were searched.

    A run over all models skips the models that need them.
    """


class PluginError(RobenchError):
    """A plug-in cannot be loaded; the text names its distribution and version."""

    exit_code = 2


class DownloadError(RobenchError):
    """A download failed: no network, no space, or other files than the published ones."""


class TrainingError(RobenchError):
    """A training cannot continue; its saved progress is kept."""


class EvaluationError(RobenchError):
    """A cell cannot be computed: it is stored as failed, and the next one follows."""


def plainly(message: str) -> str:
    """The message of a validator without the prefix of pydantic."""
    return message.removeprefix("Value error, ")


def whole(name: str, value: Any, least: int) -> int:
    """An integer from ``least``.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name}={value!r}: give an integer from {least}")
    return value


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A clause with the known names nearest to ``name``; empty if none is near.

    The prefix is written before each name and is not compared.
    """
    if len(name) > LONGEST_NAME:  # the time grows with its square
        return ""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(prefix + found for found in close)}?" if close else ""
