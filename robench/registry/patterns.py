"""Globs over the names of models."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def is_glob(text: str) -> bool:
    """Whether a name is a glob: it contains ``*``, ``?`` or ``[``."""
    return any(sign in text for sign in "*?[")


def match(pattern: str, names: Iterable[Name]) -> list[Name]:
    """The names that a glob matches, in their order; upper and lower case differ."""
    return [name for name in names if fnmatchcase(str(name), pattern)]
