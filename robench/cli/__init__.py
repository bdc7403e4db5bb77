"""The command line: each command parses, calls and prints.

Heavy imports wait until a command needs them, so that ``robench --help`` answers at once.
"""

from robench.cli.app import main

__all__ = ["main"]
