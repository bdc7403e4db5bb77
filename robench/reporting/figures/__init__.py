"""Figures in one style: how they are saved and labelled, and their colours."""

from robench.reporting.figures.labels import (
    LINE,
    Label,
    Shown,
    add_legend,
    invalid_entry,
    label_ends,
    spread,
)
from robench.reporting.figures.names import row_names, short_names, shortened, text_width, wrapped
from robench.reporting.figures.saving import FigureFormat, save_figure

__all__ = [
    "LINE",
    "FigureFormat",
    "Label",
    "Shown",
    "add_legend",
    "invalid_entry",
    "label_ends",
    "row_names",
    "save_figure",
    "short_names",
    "shortened",
    "spread",
    "text_width",
    "wrapped",
]
