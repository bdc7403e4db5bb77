"""How a command line ends: what an error or an interrupt prints, and the exit code."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOWrapper
from typing import NoReturn, TextIO, cast

import typer

from robench.cli.interrupts import INTERRUPTED, end_interrupted, exit_quietly
from robench.errors import RobenchError, UsageError
from robench.text import Visible, one_line

_STDOUT, _STDERR = 1, 2
PIPE_CLOSED = 141
"""What a shell reports of a program that wrote into a closed pipe."""
CELLS_KEPT = "finished cells are kept"


def _keep_stdout() -> None:
    """Reserve stdout for robench: what a library prints below Python goes to stderr."""
    stream = sys.__stdout__
    if stream is None or sys.stdout is not stream or stream.fileno() != _STDOUT:
        return  # it was replaced, as in a test
    own = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    sys.stdout = open(own, "w", encoding=stream.encoding, buffering=1)  # noqa: PTH123, SIM115


def run_app(app: typer.Typer, command: str, kept: Mapping[str, str]) -> NoReturn:
    """Run a command line and exit with its code; an error of robench is one line.

    Args:
        app: the commands.
        command: how the user calls it, e.g. ``robench``.
        kept: what an interrupted command leaves behind, by its first words.
    """
    _keep_stdout()
    for stream in (sys.stdout, sys.stderr):  # a terminal without ε prints a substitute
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    stdout, stderr = (cast(TextIO, Visible(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(stdout), redirect_stderr(stderr):
        code = _run(app, command, kept)
    try:
        sys.stdout.flush()
    except ConnectionError:  # nobody reads, as in: robench list models | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    atexit.register(exit_quietly)
    sys.exit(code if isinstance(code, int) else 0)


def _run(app: typer.Typer, command: str, kept: Mapping[str, str]) -> object:
    """Run a command line; returns its exit code."""
    name = command.split()[-1]
    try:
        _require_text(sys.argv[1:])
        code = app(standalone_mode=False, prog_name=command)
    except RobenchError as error:
        print(f"{name}: {one_line(error)}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except ConnectionError:  # nobody reads on
        code = PIPE_CLOSED
    except SystemExit as stop:  # click's own answer to that
        code = PIPE_CLOSED if isinstance(stop.__context__, ConnectionError) else stop.code
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"{name}: {error.strerror or error}{where}", file=sys.stderr)
        code = UsageError.exit_code
    except Exception as error:
        # click's own errors have it: a wrong flag, a missing argument
        text = getattr(error, "format_message", None)
        if text is None:
            raise
        # a group without a command shows its help, which is not an error message
        said = text()
        print(said if said.startswith("Usage:") else f"{name}: {said}", file=sys.stderr)
        code = UsageError.exit_code
    if code == INTERRUPTED:  # typer itself turns an interrupt into this code
        given = " ".join([*sys.argv[1:3], ""])
        left = [text for words, text in kept.items() if given.startswith(f"{words} ")]
        code = end_interrupted(name, *left)
    return code


def _require_text(arguments: Sequence[str]) -> None:
    """Refuse arguments that are no text: the system gives each byte of them as a surrogate."""
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= sign <= "\udfff" for sign in argument):
            raise UsageError(f"the argument {argument!r} is no text in UTF-8; write it in UTF-8")
