"""The figure of adversarial examples beside the clean images, with the perturbation enlarged."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from robench.analysis.robustness.examples import Array, Gallery
from robench.file_names import file_name
from robench.reporting.figures import FigureFormat, save_figure
from robench.reporting.figures.style import NOTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 12
"""Images side by side that can still be seen."""
_WIDTH, _NAMES = 9.0, 1.25
"""Of the figure and of the column of names, in inches."""
_LINE = 15
"""Characters on a line of a name."""
_TILE = 1.1
"""The largest size of an image."""
_CAPTION, _TITLE, _SPACE = 0.2, 0.3, 0.04


def write_gallery(gallery: Gallery, folder: Path, form: FigureFormat = "png") -> Path:
    """Draw a gallery as a file of a format; returns its path.

    Raises:
        UsageError: the folder cannot be written to.
    """
    names = map(file_name, (gallery.table.dataset.name, gallery.attack))
    path = folder / f"{'-gallery-'.join(names)}.{form}"
    return save_figure(draw_gallery, gallery, path)


def draw_gallery(gallery: Gallery) -> Figure:
    """A row of clean images, and for each model one of adversarial examples and of perturbations.

    Below a clean image is its class, below an adversarial example its minimal ε, the true and the
    predicted class. A perturbation is enlarged around grey.
    """
    from matplotlib.figure import Figure

    count = len(gallery.labels)
    tile = min(_TILE, (_WIDTH - _NAMES) / count - _SPACE)
    group = 2 * tile + _CAPTION + 3 * _SPACE
    top = 2 * _TITLE + tile + _CAPTION + 2 * _SPACE
    width = max(_NAMES + count * (tile + _SPACE) + _SPACE, 6.0)
    height = top + group * len(gallery.examples)
    figure = Figure(figsize=(width, height))

    def write(x: float, y: float, text: str, **options: Any) -> None:
        figure.text(x / width, 1 - y / height, text, va="top", **options)

    def draw(images: Array, y: float) -> None:
        for number, image in enumerate(images):
            x = _NAMES + number * (tile + _SPACE)
            ax = figure.add_axes((x / width, 1 - (y + tile) / height, tile / width, tile / height))
            ax.imshow(
                np.clip(image.transpose(1, 2, 0), 0, 1), cmap="gray", vmin=0, vmax=1,
                interpolation="nearest",
            )  # fmt: skip
            ax.set_axis_off()

    def caption(texts: list[str], y: float) -> None:
        for number, text in enumerate(texts):
            x = _NAMES + number * (tile + _SPACE) + tile / 2
            write(x, y + tile + 0.03, text, ha="center", fontsize="small" if count < 9 else 6)

    write(0.08, 0.08, f"{gallery.table.title}, {gallery.attack}", fontweight="bold", fontsize=11)
    still = "mean over time;  " if gallery.table.dataset.frames else ""
    write(
        0.08, 0.08 + _TITLE * 0.8,
        f"{still}below: minimal ε, true class → predicted class;  perturbation × {gallery.factor}, "
        "grey is 0", color=NOTE,
    )  # fmt: skip
    y = 2 * _TITLE
    draw(gallery.clean, y)
    write(0.08, y + 0.03, "clean image", fontweight="bold")
    caption([f"class {label}" for label in gallery.labels], y)
    for number, one in enumerate(gallery.examples):
        y = top + number * group
        draw(one.images, y)
        write(0.08, y + 0.03, fill(one.name, _LINE), fontweight="bold")
        if one.verdict != "valid":
            write(0.08, y + tile - 0.15, one.verdict.partition(" ")[0], color=NOTE)
        predicted = one.predictions or ("?",) * count
        each = zip(one.epsilons, gallery.labels, predicted, strict=True)
        caption([f"{epsilon}: {label} → {guess}" for epsilon, label, guess in each], y)
        below = y + tile + _CAPTION + _SPACE
        draw(0.5 + gallery.factor * (one.images - gallery.clean), below)
        write(0.08, below + 0.03, f"perturbation × {gallery.factor}", color=NOTE)
    return figure


def shown_line(gallery: Gallery) -> str:
    """What a gallery shows, on one line."""
    names = ", ".join(one.name for one in gallery.examples)
    return f"{gallery.table.title}, {gallery.attack}: {len(gallery.labels)} images of {names}"
