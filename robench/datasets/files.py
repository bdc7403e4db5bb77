"""The files of a data set: finding, downloading, and decoding them once into mapped arrays.

Files are looked for in the folder given by ``--data-dir``, in those of ``ROBENCH_DATA``, then in
``data`` of the user's cache folder. Each may contain a folder with the name of the data set, with
Parquet files in the layout of the Hugging Face image data sets or torchvision's files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
from contextlib import redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from robench.atomic import remove_leftovers, replacing
from robench.datasets.base import Dataset, Images, Split
from robench.datasets.layout import Layout, damaged
from robench.datasets.parquet import read_parquet
from robench.errors import ContentError, DownloadError, MissingDataError, UsageError
from robench.text import one_line

VARIABLE = "ROBENCH_DATA"
_FORMAT = 1  # of the decoded files; increased when they must be written again
_SHARD = re.compile(r"-(\d+)-of-(\d+)(-[0-9a-f]+)?\.parquet$")


@dataclass(frozen=True)
class _Source:
    """The files of a split with their sizes and times, which identify the images."""

    layout: Layout
    split: Split
    folder: Path
    files: tuple[Path, ...]
    stamps: tuple[tuple[int, int], ...]

    def key(self) -> str:
        text = repr((_FORMAT, self.split, [str(path) for path in self.files], self.stamps))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def places() -> list[Path]:
    """The folders in which the folder of a data set is looked for, in order."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [Path(text).expanduser().resolve() for text in named if text] + [cache_folder()]


def cache_folder() -> Path:
    """The default folder of downloads."""
    return user_cache_path("robench") / "data"


def look_first_in(folder: Path) -> None:
    """Look for data sets in this folder first, in this process and its child processes.

    Raises:
        UsageError: the folder does not exist.
    """
    if not folder.is_dir():
        raise UsageError(f"--data-dir {folder}: the folder does not exist")
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = os.pathsep.join(filter(None, [str(folder.resolve()), before]))


def download(dataset: Dataset, place: Path | None = None) -> Path:
    """Download a data set with torchvision.

    Args:
        dataset: the data set.
        place: the parent of its folder; the cache folder by default.

    Returns:
        The folder of the data set.

    Raises:
        UsageError: the data set has nothing to download.
        DownloadError: there is no network, or the files are not the published ones.
    """
    if dataset.download is None:
        raise UsageError(f"data set {dataset.name} has nothing to download")
    folder = (place or cache_folder()) / dataset.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(io.StringIO()):  # torchvision prints the state of each mirror
            dataset.download(folder)
    except (OSError, RuntimeError) as error:
        reason = one_line(error)
        raise DownloadError(
            f"cannot download {dataset.name} into {folder}: {reason}; alternatively, put its files "
            f"into a folder {dataset.name} and give the parent of that with --data-dir"
        ) from None
    return folder


def load(layout: Layout, split: Split) -> Images:
    """The images of a split, in the order of the files.

    Raises:
        MissingDataError: no folder has them; the message says where and how to get them.
        ContentError: a file is damaged, or its images are not those of this data set.
    """
    for place in places():
        source = _find(layout, split, place / layout.name)
        if source is not None:
            return _decoded(source)
    looked = ", ".join(str(place / layout.name) for place in places())
    raise MissingDataError(
        f"the {split} images of {layout.name} are missing: there is neither "
        f"{split}-*.parquet nor {layout.torchvision[split][0]} in {looked}; get them with: "
        f"robench data download {layout.name}, or give their folder with --data-dir or {VARIABLE}"
    )


def present(layout: Layout, split: Split) -> bool:
    """Whether the files of a split exist; they are not read."""
    return bool(folder_of(layout, split))


def folder_of(layout: Layout, split: Split) -> str:
    """The first folder that has the files of a split; empty if there is none."""
    folders = (place / layout.name for place in places())
    return next((str(folder) for folder in folders if _find(layout, split, folder)), "")


def _find(layout: Layout, split: Split, folder: Path) -> _Source | None:
    """The Parquet files, or else torchvision's, of a split in a folder; None without any."""
    try:
        files = _parquet(split, folder) or _torchvision(layout.torchvision[split], folder)
        if not files:
            return None
        stamps = tuple((found.st_size, found.st_mtime_ns) for found in map(os.stat, files))
    except OSError as error:  # an unreadable folder, a dangling link
        raise ContentError(
            f"{error.filename or folder}: cannot be read: {error.strerror}; fix that, or look "
            f"elsewhere for {layout.name} with --data-dir or {VARIABLE}"
        ) from None
    except ValueError as error:
        raise damaged(folder, str(error), layout.name) from None
    return _Source(layout, split, folder, files, stamps)


def _parquet(split: Split, folder: Path) -> tuple[Path, ...]:
    """All shards, or other files, of the split; raises ValueError if a shard is missing."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [path for path in there if fnmatch(path.name, f"{split}-*.parquet")]
    if unread := [path for path in paths if path.exists() and not path.is_file()]:
        raise ValueError(f"{unread[0].name} is no file")  # a pipe would be read for ever
    shards = [_SHARD.search(path.name) for path in paths]
    if any(shards):
        numbers = [(int(shard[1]), int(shard[2])) for shard in shards if shard]
        if len(numbers) < len(paths) or numbers != [(i, numbers[0][1]) for i in range(len(paths))]:
            names = f"{', '.join(path.name for path in paths[:4])}{', …' * (len(paths) > 4)}"
            raise ValueError(f"{names} are not one set of files")
        if len(numbers) != numbers[0][1]:
            raise ValueError(f"{len(numbers)} of {numbers[0][1]} files {split}-*.parquet are there")
    return tuple(paths)


def _torchvision(names: tuple[str, ...], folder: Path) -> tuple[Path, ...]:
    """The files of torchvision's folder; raises ValueError if only some of them exist."""
    there = [name for name in names if _exists(folder / name)]
    if not there:
        return ()
    if absent := [name for name in names if name not in there]:
        raise ValueError(f"{absent[0]} is missing beside {there[0]}")
    return tuple(folder / name for name in names)


def _exists(path: Path) -> bool:
    """Whether a file exists; raises OSError if its folder cannot be read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


@cache
def _decoded(source: _Source) -> Images:
    """The images, mapped from the decoded file, or in memory if that cannot be written."""
    folder = user_cache_path("robench") / "decoded"
    stem = folder / f"{source.layout.name}-{source.split}-{source.key()}"
    pixels, facts = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if (images := _mapped(source.layout, pixels, facts)) is not None:
        return images
    images = _decode(source)
    known = {"encoding": images.encoding, "labels": images.labels.tolist()}
    text = json.dumps(known | {"sha256": _digest(images)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        with replacing(facts) as temporary:
            temporary.write_text(text, "utf-8", newline="\n")
        with replacing(pixels) as temporary, temporary.open("wb") as file:
            np.save(file, images.images, allow_pickle=False)
    except OSError:  # a full disk or a read-only home must not stop the run
        return images
    return _mapped(source.layout, pixels, facts) or images


def _mapped(layout: Layout, pixels: Path, facts: Path) -> Images | None:
    """The images of a decoded file; None if it is missing, or damaged by their SHA-256."""
    try:
        # copy on write, because torch does not accept read-only arrays
        array = np.load(pixels, mmap_mode="c", allow_pickle=False)
        data = json.loads(facts.read_text("utf-8"))
        images = Images(array, np.array(data["labels"], np.int64), data["encoding"])
        whole = data["sha256"] == _digest(images) and not _unfit(layout, images)
    except Exception:  # a damaged file may raise anything
        return None
    return images if whole else None


def _digest(images: Images) -> str:
    return hashlib.sha256(f"{images.sha256} {images.encoding}".encode()).hexdigest()


def _unfit(layout: Layout, images: Images) -> str:
    """Why images cannot be those of a data set; empty if they can."""
    if not len(images):
        return "there are no images"
    if images.images.shape[1:] != layout.shape:
        return f"images are {images.images.shape[1:]}, not {layout.shape}"
    if images.misfit(layout.classes):
        return f"labels are not all in 0 … {layout.classes - 1}"
    return ""


def _decode(source: _Source) -> Images:
    layout = source.layout
    try:
        if source.files[0].suffix == ".parquet":
            images = read_parquet(layout, source.files)
        else:
            arrays = layout.read(source.folder, source.split)
            images = Images(*arrays, encoding="raw pixels")
    except (OSError, ValueError, UsageError) as error:
        raise damaged(source.folder, f"cannot be read: {error}", layout.name) from None
    if reason := _unfit(layout, images):
        raise damaged(source.folder, reason, layout.name)
    return images
