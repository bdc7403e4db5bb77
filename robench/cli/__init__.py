"""The command line: each command parses, calls and prints.

Heavy imports are made inside the commands, so that ``robench --help`` is fast.
"""

from robench.cli.interrupts import defer_in_imports, end_interrupted


def main() -> None:
    """Run a command; an error of robench is one line and its exit code."""
    try:
        defer_in_imports()
        from robench.cli.app import main as run

        run()
    except KeyboardInterrupt:
        raise SystemExit(end_interrupted("robench")) from None


__all__ = ["main"]
