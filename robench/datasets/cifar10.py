"""CIFAR-10: 60,000 photographs of ten kinds of things, 3×32×32 (Krizhevsky, 2009)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from robench.compat import torchvision
from robench.datasets import files
from robench.datasets.base import Dataset, Protocol, Split
from robench.datasets.layout import Arrays, Layout


def read_folder(folder: Path, split: Split) -> Arrays:
    """Pixels and labels from torchvision's folder ``cifar-10-batches-py``.

    The batches are pickles. torchvision first compares the MD5 of every batch with that of the
    published file, and unpickles none if one differs.

    Args:
        folder: the parent of ``cifar-10-batches-py``.
        split: train or test.

    Raises:
        ValueError: a batch is missing or is not the published one.
    """
    try:
        data = torchvision.load().datasets.CIFAR10(str(folder), train=split == "train")
    except RuntimeError:  # torchvision checks all batches for either split
        raise ValueError("a batch is missing, or is not the published one by its MD5") from None
    return np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)), np.asarray(data.targets, np.int64)


def fetch(folder: Path) -> None:
    """Download the published archive into ``folder`` and unpack it, with torchvision."""
    torchvision.load().datasets.CIFAR10(str(folder), download=True)


LAYOUT = Layout(
    name="cifar10",
    shape=(3, 32, 32),
    classes=10,
    samples=50_000,
    torchvision={
        "train": tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        "test": ("cifar-10-batches-py/test_batch",),
    },
    read=read_folder,
)
CIFAR10 = Dataset(
    name="cifar10",
    title="CIFAR-10",
    classes=LAYOUT.classes,
    shape=LAYOUT.shape,
    protocol=Protocol.parse(
        grids={
            "linf": (
                *("0", "0.25/255", "0.5/255", "1/255", "1.5/255", "2/255", "3/255", "4/255"),
                *("6/255", "8/255", "12/255", "16/255"),
            ),
            "l2": (
                *("0", "0.05", "0.1", "0.15", "0.2", "0.3"),
                *("0.4", "0.5", "0.75", "1", "1.5", "2"),
            ),
        },
        headline={"linf": "8/255", "l2": "0.5"},
        auc_limits={"linf": ("8/255", "16/255"), "l2": ("0.5", "2")},
        slice=1000,
    ),
    load=partial(files.load, LAYOUT),
    present=partial(files.present, LAYOUT),
    place=partial(files.folder_of, LAYOUT, "test"),
    download=fetch,
)
