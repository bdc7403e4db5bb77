"""The embedded data set: scikit-learn's 8×8 digits as 3×32×32 images."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.datasets.base import Dataset, Images, Protocol, Split

TEST_EVERY = 8
"""Image i is a test image if i is a multiple of this: 225 of 1,797."""
_SCALE, _TOP = 4, 16  # 8×8 to 32×32; raw pixels lie in 0 … 16


def interpolation(size: int, scale: int) -> NDArray[np.int64]:
    """Weights of linear interpolation along one axis, in units of 1/(2·scale).

    Half-pixel centres, edges repeated: output i samples position ``(i + ½)/scale − ½``, a multiple
    of 1/(2·scale), so the weights are exact integers.

    Returns:
        ``(size·scale, size)``; each row sums to ``2·scale``.
    """
    unit = 2 * scale
    weights = np.zeros((size * scale, size), np.int64)
    for i in range(size * scale):
        low, part = divmod(2 * i + 1 - scale, unit)
        weights[i, max(low, 0)] += unit - part
        weights[i, min(low + 1, size - 1)] += part
    return weights


def enlarge(raw: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Scale raw digits ``(N, 8, 8)`` in 0 … 16 to ``(N, 3, 32, 32)`` in 0 … 255.

    Integer arithmetic makes the pixels the same on every machine.
    """
    weights = interpolation(raw.shape[-1], _SCALE)
    total = np.einsum("ia,nab,jb->nij", weights, raw, weights)
    unit = (2 * _SCALE) ** 2 * _TOP
    grey = ((total * 255 + unit // 2) // unit).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1)


@cache
def load(split: Split) -> Images:
    """The images of a split, in scikit-learn's order."""
    raw, labels = _read()
    test = np.arange(len(labels)) % TEST_EVERY == 0
    chosen = test if split == "test" else ~test
    return Images(enlarge(raw[chosen]), labels[chosen])


def _read() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels ``(N, 8, 8)`` and labels, from scikit-learn's file: its import takes seconds."""
    spec = find_spec("sklearn")
    file = Path((spec and spec.origin) or "").parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        table = np.loadtxt(file, delimiter=",").astype(np.int64)
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    from sklearn.datasets import load_digits  # a version that keeps its data elsewhere

    data = load_digits()
    return data.images.astype(np.int64), data.target.astype(np.int64)


DIGITS = Dataset(
    name="digits",
    title="Digits",
    classes=10,
    shape=(3, 32, 32),
    protocol=Protocol.parse(
        grids={
            "linf": (
                "0",
                "2/255",
                "4/255",
                "6/255",
                "8/255",
                "12/255",
                "16/255",
                "24/255",
                "32/255",
            ),
            "l2": ("0", "0.5", "1", "1.5", "2", "2.5", "3", "4", "6"),
        },
        headline={"linf": "16/255", "l2": "2"},
        auc_limits={"linf": ("16/255", "32/255"), "l2": ("2", "6")},
        slice=225,
    ),
    place=lambda: "sklearn",
    load=load,
)
