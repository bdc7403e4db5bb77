"""Arrays that are given as images and labels: which are accepted, and what to do about others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robench.errors import UsageError

if TYPE_CHECKING:  # data sets are listed without torch
    from torch import Tensor

Pixels = NDArray[np.uint8] | NDArray[np.float32]
DARK = 100
"""Frames of uint8 up to this are counts of events rather than brightness."""


def as_array(values: ArrayLike | Tensor) -> NDArray[Any]:
    """A tensor of any device, an array or a list as an array."""
    import torch
    from torch import Tensor

    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise UsageError("images and labels are arrays; the parts of a list differ") from None


def to_unit(pixels: Tensor) -> Tensor:
    """Pixels as new float32 numbers in [0, 1]: uint8 is divided by 255."""
    import torch

    x = pixels.to(torch.float32, copy=True)
    return x.div_(255) if pixels.dtype == torch.uint8 else x


def require_images(images: NDArray[Any]) -> None:
    """Raise a UsageError if images are neither uint8 nor float32 in [0, 1], or lack an axis."""
    if not isinstance(images, np.ndarray):
        raise UsageError(f"images are a {type(images).__name__}; convert them with Images.of")
    if images.dtype not in (np.uint8, np.float32):
        raise UsageError(
            f"images are {images.dtype}; give uint8 from 0 to 255, or float32 in [0, 1]"
            f"{_of_counts(images)}"
        )
    if images.ndim not in (4, 5):
        channel = ", e.g. images[:, None] for one channel" if images.ndim == 3 else ""
        raise UsageError(
            f"images have shape {images.shape}; give (N, C, H, W), or (N, T, C, H, W) for "
            f"frames{channel}"
        )
    if images.dtype == np.uint8 or not images.size:
        return
    low, high = images.min(), images.max()
    if np.isnan(low):
        first = np.isnan(images).any(axis=tuple(range(1, images.ndim))).argmax()
        raise UsageError(f"images contain NaN, first in sample {first}; leave such samples out")
    if low < 0 or high > 1:
        pixels = low >= 0 and 2 < high <= 255 and images.ndim == 4
        advice = "divide them by 255" if pixels else "put the normalisation into the network"
        counts = "" if pixels else _of_counts(images)
        raise UsageError(
            f"images must be in [0, 1]; {advice}: they run from {low} to {high}{counts}"
        )


def _of_counts(images: NDArray[Any]) -> str:
    """What to do about numbers that look like counts of events; empty if they do not."""
    if images.dtype.kind not in "iuf" or not images.size or images.ndim not in (4, 5):
        return ""
    low, high = images.min(), images.max()
    if not (low >= 0 and 1 < high < np.inf) or (images.dtype.kind == "f" and (images % 1).any()):
        return ""
    return (
        f"; if they are counts, give images / {high:g} and let the network multiply by {high:g}: "
        f"ε = 1/{high:g} is then one event"
    )


def require_given_images(images: NDArray[Any]) -> None:
    """:func:`require_images`, and refuse what are likely mistakes in images of a user."""
    require_images(images)
    if not len(images):
        raise UsageError("there are no images; give one sample or more")
    first, second, last = images.shape[-3:]
    if last <= 4 < min(first, second) and (last > 2 or first == second):
        to = "0, 3, 1, 2" if images.ndim == 4 else "0, 1, 4, 2, 3"
        raise UsageError(
            f"images have shape {images.shape}, with the channels last; put them before height "
            f"and width: transpose({to}) of an array, permute({to}) of a tensor"
        )
    if images.dtype == np.uint8 and images.max() == 1:
        raise UsageError(
            "images are uint8 from 0 to 1, and 255 is white; give floats, or multiply them by 255"
        )
    if images.dtype == np.uint8 and images.ndim == 5 and 1 < images.max() <= DARK:
        raise UsageError(
            f"frames are uint8 up to {images.max()}, and 255 is white; give floats in [0, 1]"
            f"{_of_counts(images)}"
        )


def exactly_uint8(images: NDArray[np.float32]) -> Pixels:
    """Images in [0, 1] as uint8 if every value is exactly k/255; else as they are."""
    import torch

    levels = np.rint(images * 255).astype(np.uint8)
    same = np.array_equal(to_unit(torch.from_numpy(levels)).numpy(), images)
    return levels if same else images


def class_numbers(labels: NDArray[Any], samples: int) -> NDArray[np.int64]:
    """Labels of any integer type as int64, ``(N,)``.

    Raises:
        UsageError: they are no class numbers from 0, or not one for each sample.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and len(labels) == samples:
        way = "labels.reshape(-1)" if labels.shape[1] == 1 else "labels.argmax(1)"
        raise UsageError(f"labels have shape {labels.shape}; give the class numbers, {way}")
    if labels.shape != (samples,):
        found = f"{len(labels)} labels" if labels.ndim == 1 else f"labels of shape {labels.shape}"
        raise UsageError(f"there are {found} for {samples} images; give each a class number")
    if labels.dtype.kind not in "iu":
        bad = np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(1, bool)
        also = f", and NaN for sample {bad.argmax()}" if bad.any() else ""
        raise UsageError(f"labels are {labels.dtype}{also}; give class numbers, integers from 0")
    numbers = np.require(labels, np.int64, ("C", "W"))
    if len(numbers) and numbers.min() < 0:  # also an unsigned number above all of int64
        raise UsageError(
            f"labels run from {labels.min()} to {labels.max()}; number the classes from 0, and "
            "leave out samples without a class"
        )
    return numbers


def label_misfit(labels: NDArray[np.int64], classes: int) -> str:
    """Why labels from 0 cannot be those of K classes; empty if they can."""
    low, high = (labels.min(), labels.max()) if len(labels) else (0, 0)
    if high < classes:
        return ""
    found = f"labels run from {low} to {high}, and the {classes} classes are numbered from 0"
    if low == 1 and high == classes:
        return f"{found}: subtract 1"
    return f"{found} to {classes - 1}: correct the labels or the number of classes"
