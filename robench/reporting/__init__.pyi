from .beside import beside
from .export import frame, others_frame
from .leaderboard import (
    FIGURES,
    Format,
    figures_of,
    is_stale,
    link,
    page_of,
    page_of_checks,
    render,
    write,
)
from .plots import write_figures
from .report import Entry, Estimate, OtherRun, Report, Row, Table
from .tables import build_report

__all__ = [
    "FIGURES",
    "Entry",
    "Estimate",
    "Format",
    "OtherRun",
    "Report",
    "Row",
    "Table",
    "beside",
    "build_report",
    "figures_of",
    "frame",
    "is_stale",
    "link",
    "others_frame",
    "page_of",
    "page_of_checks",
    "render",
    "write",
    "write_figures",
]
