"""Finding the files of a data set and decoding them, once, into arrays that are then mapped.

Looked for in the folders that ``ROBENCH_DATA`` names (``--data-dir`` goes in front of them), then
in ``data`` of the user's cache folder. In each the folder with the data set's name holds Parquet
files in the layout of the Hugging Face image data sets, or what torchvision's downloader makes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from robench.atomic import remove_leftovers, replacing
from robench.datasets.base import Dataset, Images, Split
from robench.errors import ContentError, MissingDataError, UsageError

VARIABLE = "ROBENCH_DATA"
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
_FORMAT = 1  # of the decoded files; raised when they are to be made anew
_SHARD = re.compile(r"-of-(\d+)\.parquet$")


@dataclass(frozen=True)
class Layout:
    """How the files of a data set lie in its folder, and what has to be in them.

    Attributes:
        name: of the data set and of its folder.
        shape: ``(C, H, W)``.
        classes: labels lie in 0 … classes − 1.
        torchvision: for each split the files of torchvision's folder that have to be there.
        read: reads them: images ``(N, C, H, W)``, labels ``(N,)``.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    torchvision: Mapping[Split, tuple[str, ...]] = field(hash=False)
    read: Callable[[Path, Split], Arrays]


@dataclass(frozen=True)
class _Source:
    """The files of one split with their sizes and times: the same means the same images."""

    layout: Layout
    split: Split
    folder: Path
    files: tuple[Path, ...]
    stamps: tuple[tuple[int, int], ...]

    def key(self) -> str:
        text = repr((_FORMAT, self.split, [str(path) for path in self.files], self.stamps))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def places() -> list[Path]:
    """The folders in which a data set's folder is looked for, in order."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [Path(text).expanduser() for text in named if text] + [cache_folder()]


def cache_folder() -> Path:
    """Where downloads go unless the user names a folder."""
    return user_cache_path("robench") / "data"


def look_first_in(folder: Path) -> None:
    """Put a folder in front of all places, for this process and those that it starts.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"--data-dir {folder}: there is no such folder")
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = os.pathsep.join(filter(None, [str(folder.resolve()), before]))


def download(dataset: Dataset, place: Path | None = None) -> Path:
    """Fetch a data set with torchvision.

    Args:
        dataset: what to fetch.
        place: the folder in which its own folder is made; the cache folder by default.

    Returns:
        The data set's folder.

    Raises:
        UsageError: the data set has nothing to fetch.
        ContentError: there is no network, or what came is not what was published.
    """
    if dataset.download is None:
        raise UsageError(f"data set {dataset.name} has nothing to download")
    folder = (place or cache_folder()) / dataset.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(io.StringIO()):  # torchvision tells the story of each mirror
            dataset.download(folder)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ContentError(f"cannot download {dataset.name} into {folder}: {reason}") from None
    return folder


def load(layout: Layout, split: Split) -> Images:
    """The images of a split, in the order of the files.

    Raises:
        MissingDataError: no place has them; the text names the places and the ways to get them.
        ContentError: a file is damaged, or its images are not those of this data set.
    """
    for place in places():
        source = _find(layout, split, (place / layout.name).absolute())
        if source is not None:
            return _decoded(source)
    looked = ", ".join(str(place / layout.name) for place in places())
    raise MissingDataError(
        f"the {split} images of {layout.name} are not at hand: there is neither "
        f"{split}-*.parquet nor {layout.torchvision[split][0]} in {looked}; get them with: "
        f"robench data download {layout.name}, or name their folder with --data-dir or {VARIABLE}"
    )


def present(layout: Layout, split: Split) -> bool:
    """Whether some place has the images of a split; they are not read."""
    return any(_find(layout, split, (place / layout.name).absolute()) for place in places())


def _find(layout: Layout, split: Split, folder: Path) -> _Source | None:
    parquet = sorted(folder.glob(f"{split}-*.parquet"))
    files = parquet or [folder / name for name in layout.torchvision[split]]
    if not parquet and not all(path.is_file() for path in files):
        return None
    if parquet and (match := _SHARD.search(parquet[0].name)) and int(match[1]) != len(parquet):
        raise ContentError(
            f"{folder}: {len(parquet)} of {int(match[1])} files {split}-*.parquet are there"
        )
    stats = [path.stat() for path in files]
    stamps = tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)
    return _Source(layout, split, folder, tuple(files), stamps)


@cache
def _decoded(source: _Source) -> Images:
    """The images, mapped from the decoded file; kept in memory where that cannot be written."""
    folder = user_cache_path("robench") / "decoded"
    stem = folder / f"{source.layout.name}-{source.split}-{source.key()}"
    pixels, facts = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if (images := _mapped(source.layout, pixels, facts)) is not None:
        return images
    images = _decode(source)
    text = json.dumps({"encoding": images.encoding, "labels": images.labels.tolist()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        with replacing(facts) as temporary:
            temporary.write_text(text, "utf-8")
        with replacing(pixels) as temporary, temporary.open("wb") as file:
            np.save(file, images.images, allow_pickle=False)
    except OSError:  # a full disk or a home that is read-only costs time, not the run
        return images
    return _mapped(source.layout, pixels, facts) or images


def _mapped(layout: Layout, pixels: Path, facts: Path) -> Images | None:
    """What was decoded before; None where it is missing or damaged, so that it is made anew."""
    try:
        # copy on write: torch takes no array that is read-only, and nobody changes the file
        array = np.load(pixels, mmap_mode="c", allow_pickle=False)
        data = json.loads(facts.read_text("utf-8"))
        images = Images(array, np.array(data["labels"], np.int64), data["encoding"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return images if images.images.shape[1:] == layout.shape else None


def _decode(source: _Source) -> Images:
    layout = source.layout
    if source.files[0].suffix == ".parquet":
        images = _read_parquet(layout, source.files)
    else:
        try:
            arrays = layout.read(source.folder, source.split)
            images = Images(*arrays, encoding="raw pixels")
        except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ContentError(f"{source.folder}: cannot be read: {reason}") from None
    if images.images.shape[1:] != layout.shape:
        raise ContentError(f"{source.folder}: images are {images.images.shape[1:]}")
    labels = images.labels
    if not len(labels) or labels.min() < 0 or labels.max() >= layout.classes:
        raise ContentError(f"{source.folder}: labels are not all in 0 … {layout.classes - 1}")
    return images


def _read_parquet(layout: Layout, paths: tuple[Path, ...]) -> Images:
    """Columns ``img`` or ``image`` (struct of ``bytes`` and ``path``) and ``label``."""
    import pyarrow.parquet as pq  # heavy, so it waits until it is needed
    from pyarrow import ArrowException

    encodings: Counter[str] = Counter()
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for path in paths:
        try:
            table = pq.read_table(path)
            column = next(name for name in ("img", "image") if name in table.column_names)
            encoded = [row["bytes"] for row in table.column(column).to_pylist()]
            labels += [int(label) for label in table.column("label").to_pylist()]
        except (ArrowException, OSError, KeyError, StopIteration, TypeError, ValueError) as error:
            raise ContentError(
                f"{path}: not a Parquet file with the columns img or image (struct with bytes) "
                f"and label: {type(error).__name__} {error}".rstrip()
            ) from None
        for row, data in enumerate(encoded):
            image, kind = _read_image(layout, data, f"{path}, row {row}")
            images.append(image)
            encodings[kind] += 1
    one = next(iter(encodings)) if len(encodings) == 1 else ""
    parts = (f"{count} {kind}" for kind, count in sorted(encodings.items()))
    array = np.stack(images) if images else np.empty((0, *layout.shape), np.uint8)
    return Images(array, np.array(labels, np.int64), one or ", ".join(parts))


def _read_image(layout: Layout, data: bytes | None, where: str) -> tuple[NDArray[np.uint8], str]:
    """One image ``(C, H, W)`` and its file format."""
    from PIL import Image

    channels, height, width = layout.shape
    try:
        with Image.open(io.BytesIO(data or b"")) as image:
            kind = image.format or "unknown"
            array = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    except (OSError, ValueError, SyntaxError) as error:  # what pillow raises for broken files
        raise ContentError(f"{where}: the image cannot be decoded: {error}") from None
    if array.shape[:2] != (height, width):
        size = f"{array.shape[0]}×{array.shape[1]}"
        raise ContentError(f"{where}: the image is {size}, not {height}×{width}")
    return array.reshape(height, width, channels).transpose(2, 0, 1), kind
