"""MNIST: 70,000 handwritten digits, 1×28×28 (LeCun, Bottou, Bengio and Haffner, 1998)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from robench.compat import torchvision
from robench.datasets import files
from robench.datasets.base import Dataset, Protocol, Split
from robench.datasets.layout import Arrays, Layout

if TYPE_CHECKING:
    from torch import Tensor

_HEADER = 16  # bytes of an idx file of images
_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}


def read_folder(folder: Path, split: Split) -> Arrays:
    """Pixels and labels from torchvision's folder ``MNIST/raw``, four files in the idx format.

    Args:
        folder: the parent of ``MNIST``.
        split: train or test.

    Raises:
        ValueError: a file is not in the idx format.
        OSError: a file cannot be read.
    """
    torchvision.prepare()
    from torchvision.datasets.mnist import read_image_file, read_label_file

    prefix = folder / "MNIST" / "raw" / _PREFIX[split]
    images = _read(read_image_file, f"{prefix}-images-idx3-ubyte", LAYOUT.pixels)
    return images[:, None], _read(read_label_file, f"{prefix}-labels-idx1-ubyte", 1)


def _read(read: Callable[[str], Tensor], path: str, bytes_each: int) -> NDArray[Any]:
    if Path(path).stat().st_size > _HEADER + LAYOUT.samples * bytes_each:
        raise ValueError(f"{Path(path).name} is larger than MNIST")
    try:
        return read(path).numpy()
    except (AssertionError, RuntimeError, TypeError, ValueError, KeyError):  # raised by torchvision
        raise ValueError(f"{Path(path).name} is not in the idx format, or is truncated") from None


def fetch(folder: Path) -> None:
    """Download the published files into ``folder`` and unpack them, with torchvision."""
    torchvision.load().datasets.MNIST(str(folder), download=True)


LAYOUT = Layout(
    name="mnist",
    shape=(1, 28, 28),
    classes=10,
    samples=60_000,
    torchvision={
        split: (f"MNIST/raw/{prefix}-images-idx3-ubyte", f"MNIST/raw/{prefix}-labels-idx1-ubyte")
        for split, prefix in _PREFIX.items()
    },
    read=read_folder,
)
MNIST = Dataset(
    name="mnist",
    title="MNIST",
    classes=LAYOUT.classes,
    shape=LAYOUT.shape,
    protocol=Protocol.parse(
        grids={
            "linf": tuple(f"{i / 100:g}" for i in range(31)),
            "l2": tuple(f"{i / 4:g}" for i in range(13)),
        },
        headline={"linf": "0.1", "l2": "1.5"},
        auc_limits={"linf": ("0.1", "0.3"), "l2": ("1.5", "3")},
        slice=1000,
    ),
    load=partial(files.load, LAYOUT),
    present=partial(files.present, LAYOUT),
    place=partial(files.folder_of, LAYOUT, "test"),
    download=fetch,
)
