"""The outcome of a command of robench."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest


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


def runner(
    main: Callable[[], None], patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
) -> Cli:
    """A function that runs a command line in this process with some arguments.

    Args:
        main: the entry point of the command line.
        patch: for ``sys.argv``.
        capture: of the output.
    """

    def call(*arguments: object) -> Finished:
        patch.setattr(sys, "argv", ["command", *map(str, arguments)])
        capture.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capture.readouterr()
        return Finished(int(stop.value.code or 0), captured.out, captured.err)

    return call
