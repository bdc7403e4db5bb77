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
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from robench.atomic import remove_leftovers, replacing
from robench.datasets.base import Dataset, Images, Split
from robench.errors import ContentError, DownloadError, MissingDataError, UsageError

VARIABLE = "ROBENCH_DATA"
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
_FORMAT = 1  # of the decoded files; raised when they are to be made anew
_SHARD = re.compile(r"-(\d+)-of-(\d+)(-[0-9a-f]+)?\.parquet$")
_MODES = {1: "L", 3: "RGB"}
"""Pillow's names of images with 8 bits in each of so many channels."""


@dataclass(frozen=True)
class Layout:
    """How the files of a data set lie in its folder, and what has to be in them.

    Attributes:
        name: of the data set and of its folder.
        shape: ``(C, H, W)``.
        classes: labels lie in 0 … classes − 1.
        torchvision: for each split the files of torchvision's folder that have to be there.
        read: reads them: images ``(N, C, H, W)``, labels ``(N,)``; it raises ValueError where they
            are damaged.
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
        DownloadError: there is no network, or what came is not what was published.
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
        raise DownloadError(
            f"cannot download {dataset.name} into {folder}: {reason}; or put files from elsewhere "
            f"into a folder {dataset.name}, and name the folder above it with --data-dir"
        ) from None
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
    """The files of a split in a folder, Parquet's before torchvision's; None where none is."""
    try:
        files = _parquet(split, folder) or _torchvision(layout.torchvision[split], folder)
        if not files:
            return None
        stamps = tuple((found.st_size, found.st_mtime_ns) for found in map(os.stat, files))
    except OSError as error:  # a folder that nobody may read, a link to nowhere
        raise ContentError(
            f"{error.filename or folder}: cannot be read: {error.strerror}; mend that, or look "
            f"elsewhere for {layout.name} with --data-dir or {VARIABLE}"
        ) from None
    except ValueError as error:
        raise _damaged(folder, str(error), layout.name) from None
    return _Source(layout, split, folder, files, stamps)


def _parquet(split: Split, folder: Path) -> tuple[Path, ...]:
    """One whole set of shards, or other files of the split; raises ValueError where one lacks."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [path for path in there if fnmatch(path.name, f"{split}-*.parquet")]
    shards = [_SHARD.search(path.name) for path in paths]
    if any(shards):
        numbers = [(int(shard[1]), int(shard[2])) for shard in shards if shard]
        if len(numbers) < len(paths) or numbers != [(i, numbers[0][1]) for i in range(len(paths))]:
            told = f"{', '.join(path.name for path in paths[:4])}{', …' * (len(paths) > 4)}"
            raise ValueError(f"{told} are not one set of files")
        if len(numbers) != numbers[0][1]:
            raise ValueError(f"{len(numbers)} of {numbers[0][1]} files {split}-*.parquet are there")
    return tuple(paths)


def _torchvision(names: tuple[str, ...], folder: Path) -> tuple[Path, ...]:
    """The files of torchvision's folder; raises ValueError where there are some of them only."""
    there = [name for name in names if _exists(folder / name)]
    if not there:
        return ()
    if absent := [name for name in names if name not in there]:
        raise ValueError(f"{absent[0]} is missing beside {there[0]}")
    return tuple(folder / name for name in names)


def _exists(path: Path) -> bool:
    """Whether there is a file; raises OSError where that cannot be known."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _damaged(where: Path | str, reason: str, dataset: str) -> ContentError:
    """The error of files that are not what they should be."""
    text = " ".join(reason.split())
    return ContentError(
        f"{where}: {text}; put whole files there, or remove these and get others with: "
        f"robench data download {dataset}"
    )


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
    except (OSError, EOFError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return None if _unfit(layout, images) else images


def _unfit(layout: Layout, images: Images) -> str:
    """Why images are not those of a data set; empty where they may be."""
    if not len(images):
        return "there are no images"
    if images.images.shape[1:] != layout.shape:
        return f"images are {images.images.shape[1:]}, not {layout.shape}"
    if images.labels.min() < 0 or images.labels.max() >= layout.classes:
        return f"labels are not all in 0 … {layout.classes - 1}"
    return ""


def _decode(source: _Source) -> Images:
    layout = source.layout
    if source.files[0].suffix == ".parquet":
        images = _read_parquet(layout, source.files)
    else:
        try:
            arrays = layout.read(source.folder, source.split)
            images = Images(*arrays, encoding="raw pixels")
        except (OSError, ValueError) as error:
            raise _damaged(source.folder, f"cannot be read: {error}", layout.name) from None
    if reason := _unfit(layout, images):
        raise _damaged(source.folder, reason, layout.name)
    return images


def _read_parquet(layout: Layout, paths: tuple[Path, ...]) -> Images:
    """Columns ``img`` or ``image`` (struct of ``bytes`` and ``path``) and ``label``."""
    encodings: Counter[str] = Counter()
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    for path in paths:
        try:
            encoded, classes = _columns(path)
        except (OSError, ValueError, OverflowError) as error:
            what = "not a Parquet file with a column img or image (a struct with bytes) and label"
            raise _damaged(path, f"{what}: {error}", layout.name) from None
        labels.append(classes)
        for row, data in enumerate(encoded):
            try:
                image, kind = _read_image(layout, data)
            except ValueError as error:
                raise _damaged(f"{path}, row {row}", f"the image {error}", layout.name) from None
            images.append(image)
            encodings[kind] += 1
    one = next(iter(encodings)) if len(encodings) == 1 else ""
    parts = (f"{count} {kind}" for kind, count in sorted(encodings.items()))
    array = np.stack(images) if images else np.empty((0, *layout.shape), np.uint8)
    return Images(array, np.concatenate(labels), one or ", ".join(parts))


def _columns(path: Path) -> tuple[list[bytes | None], NDArray[np.int64]]:
    """The encoded images and the labels of a file; raises ValueError where they are no such."""
    import pyarrow as pa  # heavy, so it waits until it is needed
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
        raise ValueError("label does not hold an integer in each row")
    encoded = [row and row["bytes"] for row in table.column(name).to_pylist()]
    return encoded, np.array(table.column("label").to_pylist(), np.int64)


def _read_image(layout: Layout, data: bytes | None) -> tuple[NDArray[np.uint8], str]:
    """One image ``(C, H, W)`` and its file format; raises ValueError where it is another."""
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
        raise ValueError("cannot be decoded: it is in no known format") from None
    except (OSError, SyntaxError) as error:  # what pillow raises for broken files
        raise ValueError(f"cannot be decoded: {error}") from None
    return array.reshape(height, width, channels).transpose(2, 0, 1), kind
