"""Figures in one style: how they are saved and labelled, and their colours."""

from robench.reporting.figures.saving import (
    LINE,
    FigureFormat,
    Label,
    label_ends,
    save_figure,
    shortened,
    spread,
    wrapped,
)

__all__ = [
    "LINE",
    "FigureFormat",
    "Label",
    "label_ends",
    "save_figure",
    "shortened",
    "spread",
    "wrapped",
]
