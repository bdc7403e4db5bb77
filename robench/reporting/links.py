"""Links of a document to files."""

from __future__ import annotations

import os
from pathlib import Path


def link(path: Path, document: Path) -> str:
    """The path as a link in a document."""
    try:
        return Path(os.path.relpath(path, document.parent)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.resolve().as_uri()


def page_of_checks(document: Path) -> str:
    """The page about the checks as a link in a document of a checkout; empty without one."""
    page = document.parent / "docs" / "checks.md"
    return link(page, document) if page.is_file() else ""
