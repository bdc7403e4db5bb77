"""Tables, leaderboard and figures, made from the store and from nothing else."""

from robench.reporting.beside import beside
from robench.reporting.frames import frame, others_frame
from robench.reporting.leaderboard import FIGURES, Format, is_stale, render, write
from robench.reporting.links import figures_of, link, page_of, page_of_checks
from robench.reporting.plots import write_figures
from robench.reporting.report import Entry, Estimate, OtherRun, Report, Row, Table
from robench.reporting.tables import build_report

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
