"""The layout of the files of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.datasets.base import Split
from robench.errors import ContentError
from robench.text import one_line

LONGEST = 300
"""Most characters of what is wrong with a file."""
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Layout:
    """The files of a data set, and the shape of its images.

    Attributes:
        name: the name of the data set and of its folder.
        shape: ``(C, H, W)``.
        classes: the number of classes; labels lie in 0 … classes − 1.
        samples: the most samples of a split.
        torchvision: the required files of torchvision's folder, for each split.
        read: reads them: images ``(N, C, H, W)``, labels ``(N,)``; raises ValueError if they are
            damaged.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    samples: int
    torchvision: Mapping[Split, tuple[str, ...]] = field(hash=False)
    read: Callable[[Path, Split], Arrays]

    @property
    def pixels(self) -> int:
        """The numbers of one image."""
        return math.prod(self.shape)


def damaged(where: Path | str, reason: str, dataset: str) -> ContentError:
    """The error for damaged or unexpected files."""
    return ContentError(
        f"{where}: {one_line(reason, LONGEST)}; put whole files there, or remove these and get "
        f"others with: robench data download {dataset}"
    )
