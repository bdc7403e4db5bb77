"""A data set: its images, and the protocol under which results on it are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.epsilon import Epsilon, parse_grid

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Protocol:
    """The conditions under which results on a data set are comparable.

    Attributes:
        grids: the values of ε, ascending from 0, for each norm.
        headline: the ε of the grid that summaries quote, for each norm.
        auc_limits: the upper limits of the AUC, for each norm.
        slice: the number of test images, from the first.
        seeds: the seeds of the random numbers of attacks.
        measured: the inputs whose distance ε measures, as tables write it.
    """

    grids: Mapping[str, tuple[Epsilon, ...]]
    headline: Mapping[str, Epsilon]
    auc_limits: Mapping[str, tuple[Epsilon, ...]]
    slice: int
    seeds: tuple[int, ...] = (0,)
    measured: str = "images in [0, 1]"

    @classmethod
    def parse(
        cls,
        *,
        grids: Mapping[str, Sequence[str]],
        headline: Mapping[str, str],
        auc_limits: Mapping[str, Sequence[str]],
        **rest: Any,
    ) -> Self:
        """A protocol from texts, such as ``8/255``; the other arguments are the attributes.

        Raises:
            UsageError: a text is not an ε.
        """
        return cls(
            grids={norm: parse_grid(texts) for norm, texts in grids.items()},
            headline={norm: Epsilon.parse(text) for norm, text in headline.items()},
            auc_limits={norm: tuple(map(Epsilon.parse, t)) for norm, t in auc_limits.items()},
            **rest,
        )


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their labels, in a fixed order; or frames, several images for each sample.

    Attributes:
        images: uint8, ``(N, C, H, W)``, or ``(N, T, C, H, W)`` for frames; may be a memory-mapped
            file.
        labels: int64, ``(N,)``.
        encoding: the file format of the images of a split, e.g. ``JPEG``; empty if there is none.
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
        """The images as float32 in [0, 1], of the same shape."""
        return torch.from_numpy(self.images).to(torch.float32).div_(255)

    def targets(self) -> Tensor:
        """The labels as int64, ``(N,)``."""
        return torch.from_numpy(self.labels)

    def first(self, n: int) -> Images:
        """The first ``n`` images, or all if there are fewer."""
        return Images(self.images[:n], self.labels[:n])

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the shape, the pixels and the labels, in order, as 64 hex digits."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: the name in cards and on the command line.
        title: the name in tables.
        classes: the number of classes K.
        shape: ``(C, H, W)`` of an image, ``(T, C, H, W)`` of a sample of T frames.
        protocol: the conditions of the benchmark.
        load: returns the images of a split; raises :class:`~robench.errors.MissingDataError` if
            they are missing. Slow imports belong in here.
        download: downloads the data set into a folder; None if there is nothing to download.
        present: whether the images of a split exist, without reading them.
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
        """T, the number of frames of a sample; None if a sample is one image."""
        return self.shape[0] if len(self.shape) == 4 else None

    def mismatch(self, input_kind: str, timesteps: int | None) -> str:
        """Why a model cannot take these samples; empty if it can.

        Args:
            input_kind: the input of the model, ``images`` or ``frames``.
            timesteps: the T of the model; None without time.
        """
        gives = "images" if self.frames is None else "frames"
        if input_kind != gives:
            return f"takes {input_kind}, and data set {self.name} gives {gives}"
        if self.frames is not None and timesteps not in (None, self.frames):
            return f"has T = {timesteps}, and a sample of {self.name} has {self.frames} frames"
        return ""
