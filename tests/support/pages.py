"""The pages of docs as programs: their blocks of Python, and the output that they show.

``python -m tests.support.pages docs/your-network/snntorch.md …`` runs pages and writes their output
into them.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

BLOCK = re.compile(r"(?:`(\w+\.py)`[^\n`]*:\n\n)?^```(python|text)\n(.*?)^```$", re.M | re.S)


def run(page: Path, cuts: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """Run the blocks of a page in the current folder, one after the other.

    A block below a line that begins with the name of a file, ``name.py``, and ends with a colon is
    written into that file. The others are run, each with names of its own.

    Args:
        page: the page.
        cuts: texts of the blocks, and what is run instead, to save time.

    Returns:
        The text that the page shows and the text that was printed, for each block of output.
    """
    shown, printed = [], ""
    for name, kind, text in BLOCK.findall(page.read_text("utf-8")):
        if kind == "text":
            shown.append((text, printed))
            continue
        for old, new in (cuts or {}).items():
            text = text.replace(old, new)
        if name:
            Path(name).write_text(text, "utf-8")
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, str(page), "exec"), {"__name__": "__main__"})
        printed = "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
    return shown


def main() -> None:
    for page in map(Path.absolute, map(Path, sys.argv[1:])):
        with TemporaryDirectory() as folder, contextlib.chdir(folder):
            sys.path.insert(0, folder)
            outputs, text = run(page), page.read_text("utf-8")
            for old, new in outputs:
                text = text.replace(f"```text\n{old}```", f"```text\n{new}```", 1)
            page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
