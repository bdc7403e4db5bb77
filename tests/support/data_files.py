"""Files of data sets as their publishers write them, for the tests of what reads them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from robench.datasets import Dataset


def pixels(dataset: Dataset, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *dataset.shape), dtype=np.uint8)


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    channels_last = image.transpose(1, 2, 0)
    Image.fromarray(channels_last.squeeze()).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(path: Path, encoded: list[bytes], labels: list[int], column: str = "img") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": data, "path": None} for data in encoded]
    pq.write_table(pa.table({column: rows, "label": pa.array(labels, pa.int64())}), path)
    return path


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    return header + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def write_mnist(folder: Path, split: str, images: np.ndarray, labels: list[int]) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images[:, 0]))
    (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.array(labels, np.uint8)))
