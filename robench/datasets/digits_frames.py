"""The digits as Poisson spikes: ten binary frames of each image."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from robench.datasets import digits
from robench.datasets.base import Dataset, Images, Protocol, Split

NAME = "digits-frames"
FRAMES = 10
_LEVELS = 2**16
"""The number of values of a random number."""


def spikes(image: NDArray[np.uint8], split: Split, index: int) -> NDArray[np.uint8]:
    """The Poisson frames of an image: in each frame a pixel spikes with its value as probability.

    The random numbers are the raw output of a PCG64 seeded for the sample, which is the same in
    all versions of NumPy, and comparisons are in integers, so that the frames are the same on every
    machine.

    Args:
        image: ``(C, H, W)`` in 0 … 255.
        split: the split of the image.
        index: the index of the image in the split.

    Returns:
        ``(FRAMES, C, H, W)``, 0 or 255.
    """
    digest = hashlib.sha256(f"{NAME}|{split}|{index}".encode()).digest()
    generator = np.random.PCG64(int.from_bytes(digest[:8], "big"))
    count = FRAMES * image.size
    raw = np.asarray(generator.random_raw(-(-count // 4))).astype("<u8").view("<u2")[:count]
    uniform = raw.reshape(FRAMES, *image.shape).astype(np.int64)
    fires = uniform * 255 < image.astype(np.int64) * _LEVELS
    return np.where(fires, np.uint8(255), np.uint8(0))


@cache
def load(split: Split) -> Images:
    """The frames of a split, in the order of the digits."""
    still = digits.load(split)
    frames = [spikes(image, split, index) for index, image in enumerate(still.images)]
    return Images(np.stack(frames), still.labels)


DIGITS_FRAMES = Dataset(
    name=NAME,
    title="Digits, Poisson frames",
    classes=digits.DIGITS.classes,
    shape=(FRAMES, *digits.DIGITS.shape),
    protocol=Protocol.parse(
        grids={
            "linf": (
                "0",
                "8/255",
                "16/255",
                "24/255",
                "32/255",
                "40/255",
                "48/255",
                "64/255",
                "96/255",
            ),
            "l2": ("0", "2", "4", "6", "8", "12", "16", "24", "32"),
        },
        headline={"linf": "48/255", "l2": "16"},
        auc_limits={"linf": ("48/255", "96/255"), "l2": ("16", "32")},
        slice=225,
        measured=f"{FRAMES} frames in [0, 1], each perturbed separately",
    ),
    place=digits.DIGITS.place,
    load=load,
)
