"""The slice of images of a run."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np

from robench.datasets import Dataset, Images, Split
from robench.errors import UsageError

FEW = 10
"""Fewer images may have few classes by chance."""


def _share(limit: str) -> Fraction | None:
    """The part of all images, exactly; None for a count."""
    if limit.endswith("%"):
        return Fraction(Decimal(limit[:-1])) / 100
    return Fraction(Decimal(limit)) if "." in limit else None


def read_slice(dataset: Dataset, limit: str | None, split: Split = "test") -> Images:
    """The images of a run.

    Args:
        dataset: the data set.
        limit: None for the protocol's slice, a count, a fraction with a decimal point, or a share
            such as ``10%``.
        split: test images, or training images to tune an attack on.

    Raises:
        UsageError: the limit is not a positive number, there are too few images, or they are
            sorted by class.
        ContentError: the images are missing or do not fit the data set.
    """
    images = dataset.read(split)
    if limit is None:
        return images.first(dataset.protocol.slice)
    try:
        share = _share(limit)
        count = int(limit) if share is None else int(share * len(images))
    except (ValueError, ArithmeticError):
        raise UsageError(
            f"limit {limit!r} is neither a count nor a fraction; write it like 100, 0.1 or 10%"
        ) from None
    if count < 1 or (share is not None and share > 1):
        raise UsageError(
            f"limit {limit} leaves no valid number of images: "
            "give a count from 1 or a fraction up to 1.0"
        )
    if count > len(images):
        raise UsageError(
            f"limit {limit}: {dataset.name} has {len(images)} {split} images; give fewer, or "
            "choose a data set that has so many with --dataset"
        )
    chosen = images.first(count)
    there, expected = len(np.unique(chosen.labels)), _expected_classes(images, count)
    if count >= FEW and there < expected / 2:
        raise UsageError(
            f"limit {limit}: the first {count} of {len(images)} images have {there} of "
            f"{len(np.unique(images.labels))} classes; shuffle the images of {dataset.name} once, "
            "with a fixed seed, or take all of them"
        )
    return chosen


def _expected_classes(images: Images, count: int) -> float:
    """How many classes as many images have, on average, if they are drawn at random."""
    shares = np.unique(images.labels, return_counts=True)[1] / len(images)
    return float((1 - (1 - shares) ** count).sum())
