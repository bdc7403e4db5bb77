"""The pages made from a store: whether they are those that it gives today."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from robench.reporting import Format, Report, is_stale, link, page_of_checks, render
from robench.reporting.leaderboard import figures_of, page_of
from robench.reporting.plots import areas_name, curves_name
from robench.validation.findings import Finding, attempt


def pages_beside(results: Path) -> list[Path]:
    """The pages of the leaderboard beside a folder of results."""
    return [page for form in get_args(Format) if (page := page_of(results, form)).exists()]


def check_page(
    page: Path, report: Callable[[bool, bool], Report], results: Path
) -> Iterator[Finding]:
    """What is stale or missing of a page.

    Args:
        page: of the leaderboard, in the format of its ending; Markdown for any other ending.
        report: makes that of its store, with or without older runs and published rows.
        results: the folder of the results.
    """
    form: Format = next((form for form in get_args(Format) if page.suffix == f".{form}"), "md")
    figures = figures_of(results, page)
    shown = report(False, False)
    if not page.is_file():
        yield Finding("page-stale", page, "there is no such file")
    else:
        found = attempt("page-stale", page, lambda: _made_from(page, report, form, figures))
        if isinstance(found, Finding):
            yield found
        elif found is None:
            yield Finding("page-stale", page, "it is not what the results give")
        else:
            shown = found
    if form in ("md", "html"):
        for table in shown.newest().tables:
            for name in (curves_name(table), areas_name(table)) if table.rows else ():
                if not (figures / name).is_file():
                    yield Finding("figure-missing", figures / name, f"{page} shows it")


def _made_from(
    page: Path, report: Callable[[bool, bool], Report], form: Format, figures: Path
) -> Report | None:
    """The report that a page shows; None if it is another one."""
    links = {"figures": link(figures, page), "checks": page_of_checks(page)}
    for published in (False, True):
        for old in (False, True):
            made = report(old, published)
            if not is_stale(page, render(made, form, **links, all_runs=old)):
                return made
    return None
