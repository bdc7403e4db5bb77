"""The pages made from a store: whether they are those that it gives today."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from robench.reporting import Format, Report, is_stale, link, page_of_checks, render
from robench.reporting.plots import areas_name, curves_name
from robench.validation.findings import Finding, fault

PAGE = "leaderboard"


def pages_beside(results: Path) -> list[Path]:
    """The pages of the leaderboard beside a folder of results."""
    named = (results.parent / f"{PAGE}.{form}" for form in get_args(Format))
    return [path for path in named if path.exists()]


def check_page(page: Path, report: Callable[[bool], Report], figures: Path) -> Iterator[Finding]:
    """What is stale or missing of a page.

    Args:
        page: of the leaderboard, in the format of its ending; Markdown for any other ending.
        report: makes that of its store, with or without older runs.
        figures: the folder of its figures.
    """
    form: Format = next((form for form in get_args(Format) if page.suffix == f".{form}"), "md")
    yield from fault("page-stale", page, lambda: _stale(page, report, form, figures))
    if form in ("md", "html"):
        for table in report(False).tables:
            for name in (curves_name(table), areas_name(table)) if table.rows else ():
                if not (figures / name).is_file():
                    yield Finding("figure-missing", figures / name, f"{page} shows it")


def _stale(page: Path, report: Callable[[bool], Report], form: Format, figures: Path) -> str:
    """Whether a page has to be made again; empty if not."""
    if not page.is_file():
        return "there is no such file"
    links = {"figures": link(figures, page), "checks": page_of_checks(page)}
    texts = (render(report(old), form, **links, all_runs=old) for old in (False, True))
    return "it is not what the results give" if all(is_stale(page, text) for text in texts) else ""
