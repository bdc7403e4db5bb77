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


def page_of(results: Path, form: str = "md") -> Path:
    """The leaderboard of a folder of results: beside it if it is called ``results``, else in it."""
    folder = results.parent if results.name == "results" else results
    return folder / f"leaderboard.{form}"


def figures_of(results: Path, page: Path) -> Path:
    """The folder of the figures of a page: beside the page, unless it is that of the results."""
    if page.absolute() == page_of(results.absolute(), page.suffix.removeprefix(".")):
        return results / "figures"
    return page.with_name(f"{page.stem}-figures")
