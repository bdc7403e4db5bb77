"""Figures as files: the same bytes for the same picture."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from robench.atomic import replacing
from robench.errors import UsageError
from robench.reporting.figures.style import COMMON

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
FigureFormat = Literal["png", "svg", "pdf"]
DPI = 150
_MOST_PIXELS = 60_000
"""The longest side that matplotlib can draw is 2¹⁶."""
_NO_DATE: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save_figure(draw: Callable[[T], Figure], data: T, path: Path) -> Path:
    """Draw a figure in the common style and write it atomically; returns the path.

    Equal data gives equal bytes under one version of matplotlib.

    Args:
        draw: makes the figure.
        data: what it shows.
        path: whose ending is the format: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: the folder cannot be written to.
    """
    from matplotlib import rc_context

    form = path.suffix.removeprefix(".")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context(COMMON), _no_collection():
            figure = draw(data)
            with replacing(path) as temporary:
                if form == "png":
                    _save_png(figure, temporary)
                else:
                    figure.savefig(temporary, format=form, metadata=_NO_DATE[form])
    except OSError as error:
        raise UsageError(f"cannot write figures to {path.parent}: {error.strerror}") from None
    return path


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: each one visits all objects of torch, and drawing causes several."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _save_png(figure: Figure, path: Path) -> None:
    """Draw once, and encode once; without metadata, so that the bytes depend on the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    dpi = min(DPI, int(_MOST_PIXELS / max(figure.get_size_inches())))
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call] # it has no types
    size = canvas.get_width_height()
    drawn = bytes(canvas.buffer_rgba())  # type: ignore[no-untyped-call] # it has no types
    picture = Image.frombuffer("RGBA", size, drawn, "raw", "RGBA", 0, 1)
    # the best compression takes four times as long, for two hundredths of the size
    picture.convert("RGB").save(path, format="PNG", dpi=(dpi, dpi))
