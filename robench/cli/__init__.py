"""The command line: each command parses, calls and prints.

Heavy imports are made inside the commands, so that ``robench --help`` is fast.
"""

from robench.cli.app import main

__all__ = ["main"]
