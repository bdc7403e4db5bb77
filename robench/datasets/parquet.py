"""Reading images from Parquet files in the layout of the Hugging Face image data sets."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robench.datasets.base import Images
from robench.datasets.layout import Layout, damaged

if TYPE_CHECKING:  # slow to import
    from pyarrow import Schema
    from pyarrow.parquet import FileMetaData

_FORMATS = ("PNG", "JPEG")
"""Pillow also knows formats that it starts another program for."""
_AT_ONCE = 256
"""Rows that are read at once."""
_LEAST = 2**16
_RATIO = 16
"""Images are compressed already, so those of a file take at most 16 times its size, or 64 KiB; and
one of them at most 64 KiB and 16 bytes for each of its numbers."""
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
    labels: list[int] = []
    for path in paths:
        try:
            for row, (data, label) in enumerate(_rows(layout, path, layout.samples - len(images))):
                try:
                    image, kind = _read_image(layout, data)
                except ValueError as error:
                    where = f"{path}, row {row}"
                    raise damaged(where, f"the image {error}", layout.name) from None
                images.append(image)
                labels.append(label)
                encodings[kind] += 1
        except (OSError, ValueError) as error:
            what = "not a Parquet file with a column img or image (a struct with bytes) and label"
            raise damaged(path, f"{what}: {error}", layout.name) from None
    one = next(iter(encodings)) if len(encodings) == 1 else ""
    parts = (f"{count} {kind}" for kind, count in sorted(encodings.items()))
    array = np.stack(images) if images else np.empty((0, *layout.shape), np.uint8)
    return Images(array, np.array(labels, np.int64), one or ", ".join(parts))


def _rows(layout: Layout, path: Path, most: int) -> Iterator[tuple[bytes | None, int]]:
    """The encoded image and the label of each row; raises ValueError for another file.

    The metadata are compared with the data set before a row is read. The images are read as a
    dictionary, because a file may store one long value for all of its rows.
    """
    import pyarrow as pa  # slow to import
    import pyarrow.parquet as pq
    from pyarrow.compute import binary_length
    from pyarrow.compute import max as largest

    try:
        metadata = pq.read_metadata(path)
        name = _column_of_images(metadata.schema.to_arrow_schema())
        columns = f"{name}.bytes", "label"
        _require_fitting(metadata, columns, path.stat().st_size, most)
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=[columns[0]]) as file:
            # a batch has one dictionary, and each group of rows has its own
            groups = ([group] for group in range(metadata.num_row_groups))
            batches = (file.iter_batches(_AT_ONCE, rows, list(columns)) for rows in groups)
            for batch in chain.from_iterable(batches):
                encoded = batch.column(name).field("bytes")
                length = largest(binary_length(encoded.dictionary)).as_py() or 0
                if length > _LEAST + _RATIO * layout.pixels:
                    raise ValueError(f"an image of {layout.pixels} numbers takes {length} bytes")
                labels = batch.column("label")
                if labels.null_count:
                    raise ValueError("label does not have an integer in each row")
                yield from zip(
                    encoded.to_pylist(), labels.cast(pa.int64()).to_pylist(), strict=True
                )
    except pa.ArrowException as error:
        raise ValueError(str(error).partition("\n")[0]) from None


def _column_of_images(schema: Schema) -> str:
    """The column of the images; raises ValueError if it or that of the labels is something else."""
    import pyarrow as pa

    for name in ("img", "image", "label"):
        if schema.names.count(name) > 1:
            raise ValueError(f"there are two columns {name}")
    name = next((name for name in ("img", "image") if name in schema.names), "")
    if not name or "label" not in schema.names:
        raise ValueError(f"its columns are {', '.join(schema.names)}")
    image = schema.field(name).type
    fields = {field.name: field.type for field in image} if pa.types.is_struct(image) else {}
    kind = fields.get("bytes", pa.null())
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise ValueError(f"{name} is {image}")
    if not pa.types.is_integer(schema.field("label").type):
        raise ValueError("label does not have an integer in each row")
    return name


def _require_fitting(
    metadata: FileMetaData, columns: tuple[str, ...], size: int, most: int
) -> None:
    """Raise a ValueError if a file is larger than the data set, or grows too much when read."""
    if metadata.num_rows > most:
        raise ValueError(f"it has {metadata.num_rows} rows, and the data set at most {most} more")
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    parts = (group.column(i) for group in groups for i in range(metadata.num_columns))
    needed = sum(part.total_uncompressed_size for part in parts if part.path_in_schema in columns)
    if needed > max(_LEAST, _RATIO * size):
        raise ValueError(f"it has {size} bytes and its images would take {needed}")


def _read_image(layout: Layout, data: bytes | None) -> tuple[NDArray[np.uint8], str]:
    """An image ``(C, H, W)`` and its file format; raises ValueError if it has another shape."""
    from PIL import Image, UnidentifiedImageError

    channels, height, width = layout.shape
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of its size, which is compared here
            Image.open(io.BytesIO(data or b""), formats=_FORMATS) as image,
        ):
            if image.format not in _FORMATS:
                raise ValueError(f"is {image.format}, not {' or '.join(_FORMATS)}")
            if image.size != (width, height):  # before it is decoded
                raise ValueError(f"is {image.height}×{image.width}, not {height}×{width}")
            if image.mode != _MODES[channels]:
                raise ValueError(f"is {image.mode}, not {_MODES[channels]}")
            array = np.asarray(image)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        reason = f"its format is not {' or '.join(_FORMATS)}, or it is damaged"
        raise ValueError(f"cannot be decoded: {reason}") from None
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise ValueError(f"cannot be decoded: {error}") from None
    return array.reshape(height, width, channels).transpose(2, 0, 1), image.format
