"""The outcome of a command of robench."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finished:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def refused(done: Finished, *texts: object) -> None:
    """Exit code 2 and one line on stderr with these texts."""
    assert done.code == 2
    assert len(done.err.splitlines()) == 1, done.err
    assert "Traceback" not in done.err + done.out
    for text in texts:
        assert str(text) in done.err


Cli = Callable[..., Finished]
