"""The slice of images of a run."""

from __future__ import annotations

from robench.datasets import Dataset, Images, Split
from robench.errors import UsageError


def read_slice(dataset: Dataset, limit: str | None, split: Split = "test") -> Images:
    """The images of a run.

    Args:
        dataset: the data set.
        limit: None for the protocol's slice, a count, or a fraction with a decimal point.
        split: test images, or training images to tune an attack on.

    Raises:
        UsageError: the limit is not a positive number, or there are too few images.
        ContentError: the images are missing or do not fit the data set.
    """
    images = dataset.read(split)
    if limit is None:
        return images.first(dataset.protocol.slice)
    try:
        count = int(float(limit) * len(images)) if "." in limit else int(limit)
    except (ValueError, OverflowError):
        raise UsageError(f"--limit {limit!r} is neither a count nor a fraction") from None
    if count < 1 or ("." in limit and float(limit) > 1):
        raise UsageError(
            f"--limit {limit} leaves no valid number of images: "
            "give a count from 1 or a fraction up to 1.0"
        )
    if count > len(images):
        raise UsageError(
            f"--limit {limit}: {dataset.name} has {len(images)} {split} images; give fewer, or "
            "choose a data set that has so many with --dataset"
        )
    return images.first(count)
