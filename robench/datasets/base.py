"""What a data set is: its images, and the protocol under which numbers on it are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Protocol:
    """What has to be equal before two numbers on a data set may be compared.

    Attributes:
        grids: for each norm the values of ε, as they are written, ascending.
        headline: for each norm the one ε of the grid that a summary quotes.
        auc_limits: for each norm the values of ε up to which the area is taken.
        slice: how many test images, counted from the first.
        seeds: the seeds of the attacks' random numbers.
        measured: what ε is a distance between, as a table says it.
    """

    grids: Mapping[str, tuple[str, ...]]
    headline: Mapping[str, str]
    auc_limits: Mapping[str, tuple[str, ...]]
    slice: int
    seeds: tuple[int, ...] = (0,)
    measured: str = "images in [0, 1]"


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their classes, in a fixed order; or frames, several images for each sample.

    Attributes:
        images: uint8, ``(N, C, H, W)``, or ``(N, T, C, H, W)`` with a time axis; may lie in a file
            that is mapped into memory.
        labels: int64, ``(N,)``.
        encoding: how the files hold a whole split, e.g. ``JPEG``; empty for what robench makes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    encoding: str = ""

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim not in (4, 5):
            raise ValueError("images must be uint8 of shape (N, C, H, W) or (N, T, C, H, W)")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError("labels must be int64, one for each image")

    def __len__(self) -> int:
        return len(self.labels)

    def tensor(self) -> Tensor:
        """The images as float32 in [0, 1], of their own shape."""
        return torch.from_numpy(self.images).to(torch.float32).div_(255)

    def targets(self) -> Tensor:
        """The labels as int64, ``(N,)``."""
        return torch.from_numpy(self.labels)

    def first(self, n: int) -> Images:
        """The first ``n`` images, or all of them where there are fewer."""
        return Images(self.images[:n], self.labels[:n])

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the shape, the pixels and the labels, in order, in 64 digits."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A data set by name.

    Attributes:
        name: as it is written in a card and on the command line.
        title: as it is written in a table.
        classes: how many classes K.
        shape: ``(C, H, W)`` of an image, ``(T, C, H, W)`` of a sample of T frames.
        protocol: the conditions of the benchmark on it.
        load: gives the images of a split; heavy imports and files wait until then. It raises
            :class:`~robench.errors.MissingDataError` where they are not at hand.
        download: fetches the data set into the folder that it is given; None where there is
            nothing to fetch.
        present: whether the images of a split are at hand, found without reading them.
    """

    name: str
    title: str
    classes: int
    shape: tuple[int, ...]
    protocol: Protocol
    load: Callable[[Split], Images]
    download: Callable[[Path], None] | None = None
    present: Callable[[Split], bool] = lambda split: True

    @property
    def frames(self) -> int | None:
        """T, the number of frames of a sample; None where a sample is one image."""
        return self.shape[0] if len(self.shape) == 4 else None

    def mismatch(self, input_kind: str, timesteps: int | None) -> str:
        """What keeps a model from taking these samples; empty where nothing does.

        Args:
            input_kind: ``images`` or ``frames``, what the model takes.
            timesteps: its T, None without time.
        """
        gives = "images" if self.frames is None else "frames"
        if input_kind != gives:
            return f"takes {input_kind}, and data set {self.name} gives {gives}"
        if self.frames is not None and timesteps not in (None, self.frames):
            return f"has T = {timesteps}, and a sample of {self.name} has {self.frames} frames"
        return ""
