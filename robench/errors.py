"""The errors that robench raises, and the exit codes that they end a command with.

::

    RobenchError
    ├── UsageError        2   a name, a flag or a number that the user gave
    ├── ContentError      2   a card, a weight file or a data file that is not what it should be
    │   └── MissingDataError  2   images that are nowhere at hand
    ├── PluginError       2   a plug-in that cannot be loaded
    ├── DownloadError     1   a data set that did not come
    ├── TrainingError     1   a training that cannot go on
    └── EvaluationError   1   something that went wrong while a cell was computed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RobenchError(Exception):
    """The base of all errors of robench; its text is one line for the user."""

    exit_code = 1


class UsageError(RobenchError):
    """A name, a flag or a number from the user that cannot be used."""

    exit_code = 2


class ContentError(RobenchError):
    """A card, a weight file or a data file that is missing, damaged or not what it should be."""

    exit_code = 2


class MissingDataError(ContentError):
    """Images that are nowhere at hand; the text says where they were looked for.

    A run over all models skips those that need them; it does not fail.
    """


class PluginError(RobenchError):
    """A plug-in that cannot be loaded; the text names its distribution and version."""

    exit_code = 2


class DownloadError(RobenchError):
    """A data set that did not come: no network, no room, or other files than the published ones."""


class TrainingError(RobenchError):
    """A training that cannot go on; what was saved of it stays."""


class EvaluationError(RobenchError):
    """Something that went wrong while a cell was computed: the cell is failed, others go on."""


def plainly(message: str) -> str:
    """What a validator says of a value, without the prefix that pydantic gives it."""
    return message.removeprefix("Value error, ")


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A clause that offers the known names nearest to ``name``, or nothing where none is near.

    Each is written behind the prefix, which takes no part in the comparison.
    """
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(prefix + found for found in close)}?" if close else ""
