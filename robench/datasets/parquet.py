"""Reading images from Parquet files in the layout of the Hugging Face image data sets."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.datasets.base import Images
from robench.datasets.layout import Layout, damaged

_MODES = {1: "L", 3: "RGB"}
"""Pillow's modes of images with 8 bits a channel, by the number of channels."""


def read_parquet(layout: Layout, paths: tuple[Path, ...]) -> Images:
    """The images and labels of the files.

    The columns are ``img`` or ``image`` (a struct of ``bytes`` and ``path``) and ``label``.

    Raises:
        ContentError: a file has other columns, or an image is damaged or of another shape.
    """
    encodings: Counter[str] = Counter()
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    for path in paths:
        try:
            encoded, classes = _columns(path)
        except (OSError, ValueError, OverflowError) as error:
            what = "not a Parquet file with a column img or image (a struct with bytes) and label"
            raise damaged(path, f"{what}: {error}", layout.name) from None
        labels.append(classes)
        for row, data in enumerate(encoded):
            try:
                image, kind = _read_image(layout, data)
            except ValueError as error:
                raise damaged(f"{path}, row {row}", f"the image {error}", layout.name) from None
            images.append(image)
            encodings[kind] += 1
    one = next(iter(encodings)) if len(encodings) == 1 else ""
    parts = (f"{count} {kind}" for kind, count in sorted(encodings.items()))
    array = np.stack(images) if images else np.empty((0, *layout.shape), np.uint8)
    return Images(array, np.concatenate(labels), one or ", ".join(parts))


def _columns(path: Path) -> tuple[list[bytes | None], NDArray[np.int64]]:
    """The encoded images and the labels of a file; raises ValueError for other columns."""
    import pyarrow as pa  # slow to import
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    for name in ("img", "image", "label"):
        if table.column_names.count(name) > 1:
            raise ValueError(f"there are two columns {name}")
    name = next((name for name in ("img", "image") if name in table.column_names), "")
    if not name or "label" not in table.column_names:
        raise ValueError(f"its columns are {', '.join(table.column_names)}")
    image, label = table.schema.field(name).type, table.schema.field("label").type
    fields = {field.name: field.type for field in image} if pa.types.is_struct(image) else {}
    kind = fields.get("bytes", pa.null())
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise ValueError(f"{name} is {image}")
    if not pa.types.is_integer(label) or table.column("label").null_count:
        raise ValueError("label does not have an integer in each row")
    encoded = [row and row["bytes"] for row in table.column(name).to_pylist()]
    return encoded, np.array(table.column("label").to_pylist(), np.int64)


def _read_image(layout: Layout, data: bytes | None) -> tuple[NDArray[np.uint8], str]:
    """An image ``(C, H, W)`` and its file format; raises ValueError if it has another shape."""
    from PIL import Image, UnidentifiedImageError

    channels, height, width = layout.shape
    try:
        with Image.open(io.BytesIO(data or b"")) as image:
            if image.size != (width, height):
                raise ValueError(f"is {image.height}×{image.width}, not {height}×{width}")
            if image.mode != _MODES[channels]:
                raise ValueError(f"is {image.mode}, not {_MODES[channels]}")
            array, kind = np.asarray(image), image.format or "unknown"
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise ValueError("cannot be decoded: its format is unknown") from None
    except (OSError, SyntaxError) as error:  # raised by pillow for damaged files
        raise ValueError(f"cannot be decoded: {error}") from None
    return array.reshape(height, width, channels).transpose(2, 0, 1), kind
