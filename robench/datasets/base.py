"""A data set: its images, and the protocol under which results on it are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.datasets.arrays import (
    Pixels,
    as_array,
    class_numbers,
    exactly_uint8,
    label_misfit,
    require_given_images,
    require_images,
    to_unit,
)
from robench.epsilon import Epsilon, make_grid, parse_grid
from robench.errors import ContentError, RobenchError, UsageError
from robench.user_code import described

if TYPE_CHECKING:  # data sets are listed without torch
    from torch import Tensor

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

    def grid(self, norm: str, epsilons: Iterable[Epsilon]) -> tuple[Epsilon, ...]:
        """A grid of some ε, each of which is written as here where it stands here."""
        own = {epsilon.value: epsilon for epsilon in self.grids.get(norm, ())}
        return make_grid(own.get(epsilon.value, epsilon) for epsilon in epsilons)


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their labels, in a fixed order; or frames, several images for each sample.

    Attributes:
        images: uint8, or float32 in [0, 1], ``(N, C, H, W)``, or ``(N, T, C, H, W)`` for frames;
            may be a memory-mapped file.
        labels: class numbers from 0, int64, ``(N,)``; another type of integer is converted.
        encoding: the file format of the images of a split, e.g. ``JPEG``; empty if there is none.

    Raises:
        UsageError: images or labels are something else; the text says what to do.
    """

    images: Pixels
    labels: NDArray[np.int64]
    encoding: str = ""

    def __post_init__(self) -> None:
        require_images(self.images)
        labels = class_numbers(self.labels, len(self.images))
        # torch takes no array that it cannot write to; those of mapped files are copied on write
        object.__setattr__(self, "images", np.require(self.images, requirements=("C", "W")))
        object.__setattr__(self, "labels", labels)

    @classmethod
    def of(cls, images: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> Self:
        """Images of a user's tensors, arrays or lists, which are copied.

        Args:
            images: floats in [0, 1] or uint8, ``(N, C, H, W)``, or ``(N, T, C, H, W)`` for frames.
                Floats are kept exactly: as uint8 if each is a multiple of 1/255, else as float32.
            labels: class numbers from 0, integers of any type, ``(N,)``.

        Raises:
            UsageError: they are something else; the text says what to do.
        """
        pixels = as_array(images)
        if pixels.dtype.kind == "f":
            pixels = pixels.astype(np.float32, copy=False)
        require_given_images(pixels)
        pixels = exactly_uint8(pixels) if pixels.dtype == np.float32 else pixels
        return cls(np.array(pixels), np.array(as_array(labels)))

    def __len__(self) -> int:
        return len(self.labels)

    def tensor(self) -> Tensor:
        """The images as float32 in [0, 1], of the same shape."""
        import torch

        return to_unit(torch.from_numpy(self.images))

    def targets(self) -> Tensor:
        """The labels as int64, ``(N,)``."""
        import torch

        return torch.from_numpy(self.labels)

    def first(self, n: int) -> Images:
        """The first ``n`` images, or all if there are fewer."""
        return Images(self.images[:n], self.labels[:n])

    def misfit(self, classes: int) -> str:
        """Why the labels cannot be those of K classes; empty if they can."""
        return label_misfit(self.labels, classes)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the shape, the pixels and the labels, in order, as 64 hex digits.

        It covers the type of the pixels too; no type stands for uint8.
        """
        kind = self.images.dtype
        facts = self.images.shape if kind == np.uint8 else (self.images.shape, kind.name)
        digest = hashlib.sha256(repr(facts).encode())
        digest.update(self.images.astype(kind.newbyteorder("<"), copy=False).tobytes())
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
        place: where the test images are, as lists write it.
        derived: whether shape and classes are those of the test images; a network may have more
            classes then.
    """

    name: str
    title: str
    classes: int
    shape: tuple[int, ...]
    protocol: Protocol
    load: Callable[[Split], Images]
    download: Callable[[Path], None] | None = None
    present: Callable[[Split], bool] = lambda split: True
    place: Callable[[], str] = str
    derived: bool = False

    @property
    def frames(self) -> int | None:
        """T, the number of frames of a sample; None if a sample is one image."""
        return self.shape[0] if len(self.shape) == 4 else None

    def read(self, split: Split) -> Images:
        """What :attr:`load` returns for a split, if it fits this data set.

        Raises:
            MissingDataError: the images are missing.
            ContentError: there are none, or they have another shape or labels of other classes.
        """
        try:
            images = self.load(split)
        except UsageError as error:  # raised by Images, which a plug-in made
            raise ContentError(f"{split} images of data set {self.name}: {error}") from None
        except RobenchError:
            raise
        except Exception as error:  # of a plug-in, which may raise anything
            reason = described(error)
            raise ContentError(f"{split} images of data set {self.name}: {reason}") from error
        if reason := self._misfit(images):
            raise ContentError(f"{split} images of data set {self.name}: {reason}")
        return images

    def _misfit(self, images: Images) -> str:
        """Why images cannot be those of this data set; empty if they can."""
        if not isinstance(images, Images):
            return f"they are a {type(images).__name__}; return Images.of(images, labels)"
        if not len(images):
            return "there are none"
        shape = images.images.shape[1:]
        if shape == (*self.shape[:-3], *self.shape[-2:], self.shape[-3]):
            axes = "0, 3, 1, 2" if self.frames is None else "0, 1, 4, 2, 3"
            return f"they are {shape}, not {self.shape}; put the channels first: transpose({axes})"
        if shape != self.shape:
            return f"they are {shape}, not {self.shape}; correct the images or the shape"
        return "" if self.derived else images.misfit(self.classes)

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
