"""Files of data sets that somebody made to do harm, and decoded files that were damaged."""

import io
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robench.datasets import CIFAR10, MNIST, files
from robench.datasets.cifar10 import LAYOUT
from robench.datasets.parquet import read_parquet
from robench.errors import ContentError
from tests.support.data_files import encode, pixels, write_mnist, write_parquet
from tests.support.needs import needs_linux

pytestmark = pytest.mark.usefixtures("home")
GOOD = encode(pixels(CIFAR10, 1)[0])
LITTLE = 2**23
"""Bytes that may be in use at once before a file is refused."""


def saved(kind: str, size: tuple[int, int] = (32, 32), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def multi_picture() -> bytes:
    return saved("MPO", save_all=True, append_images=[Image.new("RGB", (32, 32))])


def bomb() -> bytes:
    """A PNG whose header says 40,000×40,000."""
    data = bytearray(GOOD)
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    return bytes(data)


@pytest.fixture
def parquet(home: Path) -> Path:
    path = home / "data" / "cifar10" / "test-0.parquet"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a program is started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "system", refuse)


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("kind", ["EPS", "BMP", "GIF", "TIFF", "PPM", "WEBP", "ICO", "PCX", "TGA"])
def test_no_format_but_png_and_jpeg_is_opened(parquet: Path, kind: str) -> None:
    write_parquet(parquet, [GOOD, saved(kind)], [0, 1])
    with pytest.raises(ContentError, match="row 1: the image cannot be decoded: its format is not"):
        CIFAR10.load("test")


def test_several_pictures_in_one_jpeg_are_refused(parquet: Path) -> None:
    write_parquet(parquet, [multi_picture()], [0])
    with pytest.raises(ContentError, match="MPO, not PNG or JPEG"):
        CIFAR10.load("test")


@pytest.mark.parametrize("data", [bomb(), saved("PNG", (32, 9_000)), saved("JPEG", (9_000, 32))])
def test_a_larger_image_is_not_decoded(
    parquet: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(Image.Image, "load", None)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    write_parquet(parquet, [data], [0])
    with pytest.raises(
        ContentError, match=r"row 0: the image (is .*, not 32×32|cannot be decoded)"
    ):
        CIFAR10.load("test")


def one_value_for_all(path: Path) -> None:
    """300 MB in about a thousand bytes: one long value in the dictionary, for all rows."""
    write_parquet(path, [bytes(10**6)] * 300, [0] * 300)


def compressed_zeros(path: Path) -> None:
    rows = [{"bytes": bytes(10**6), "path": None}] * 100
    table = pa.table({"img": rows, "label": [0] * 100})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def compressed_dictionary(path: Path) -> None:
    rows = [{"bytes": bytes([i]) * 10**6, "path": None} for i in range(100)]
    pq.write_table(
        pa.table({"img": rows, "label": [0] * 100}), path, compression="zstd",
        dictionary_pagesize_limit=2**30,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (one_value_for_all, "would take|takes 1000000 bytes"),
        (compressed_zeros, "its images would take"),
        (compressed_dictionary, "its images would take"),
    ],
)
def test_a_small_file_with_much_in_it_is_refused_by_its_metadata(
    parquet: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], match: str
) -> None:
    make(parquet)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())  # counts from 0
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(ContentError, match=match):
            CIFAR10.load("test")
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < LITTLE


def test_a_large_file_with_one_long_image_is_refused(parquet: Path) -> None:
    write_parquet(parquet, [os.urandom(10**6), GOOD], [0, 1])
    with pytest.raises(ContentError, match="an image of 3072 numbers takes 1000000 bytes"):
        CIFAR10.load("test")


def test_the_rows_of_all_shards_are_counted(parquet: Path) -> None:
    layout = replace(LAYOUT, samples=4)
    shards = parquet.with_name("test-0-of-2.parquet"), parquet.with_name("test-1-of-2.parquet")
    for shard in shards:
        write_parquet(shard, [GOOD, GOOD], [0, 1])
    assert len(read_parquet(layout, shards)) == 4
    write_parquet(shards[1], [GOOD, GOOD, GOOD], [0, 1, 2])
    with pytest.raises(ContentError, match="3 rows, and the data set at most 2 more"):
        read_parquet(layout, shards)


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_a_huge_idx_file_is_not_read(home: Path, kind: str) -> None:
    folder = home / "data" / "mnist"
    write_mnist(folder, "t10k", pixels(MNIST, 3), [1, 2, 3])
    with (folder / "MNIST" / "raw" / f"t10k-{kind}-ubyte").open("r+b") as file:
        file.truncate(2**36 if os.name == "posix" else 2**30)  # takes no space
    with pytest.raises(ContentError, match="larger than MNIST"):
        MNIST.load("test")


@needs_linux
def test_a_pipe_is_not_read(parquet: Path) -> None:
    os.mkfifo(parquet)
    with pytest.raises(ContentError, match=r"test-0\.parquet is no file"):
        CIFAR10.load("test")


def flip_last_bit(pixels: Path, facts: Path) -> None:
    data = bytearray(pixels.read_bytes())
    data[-1] ^= 1
    pixels.write_bytes(data)


def changed(**new: object) -> Callable[[Path, Path], None]:
    def change(pixels: Path, facts: Path) -> None:
        facts.write_text(json.dumps(json.loads(facts.read_text()) | new))

    return change


def nested(pixels: Path, facts: Path) -> None:
    facts.write_text("[" * 100_000)


def header(text: str) -> Callable[[Path, Path], None]:
    """The array's file with another header, which numpy evaluates."""

    def change(pixels: Path, facts: Path) -> None:
        content = f"{text:<117}\n".encode()
        pixels.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + content + pixels.read_bytes()[128:])

    return change


def an_archive(pixels: Path, facts: Path) -> None:
    with pixels.open("wb") as file:
        np.savez(file, images=np.zeros(3))


@pytest.mark.parametrize(
    "damage",
    [
        flip_last_bit,
        changed(labels=[1, 0]),
        changed(labels=[[0], [1, 2]]),
        changed(encoding=["PNG"]),
        changed(labels="9" * 5000),
        changed(sha256=None),
        nested,
        header("(" * 100),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 32, 9" + "9" * 30 + ")}"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3, 32, 32)}"),
        an_archive,
    ],
)
def test_damaged_decoded_file_does_not_stay(
    home: Path, parquet: Path, damage: Callable[[Path, Path], None]
) -> None:
    made = pixels(CIFAR10, 2)
    write_parquet(parquet, [encode(image) for image in made], [0, 1])
    CIFAR10.load("test")
    (pixels_file,), (facts,) = ((home / "decoded").glob(f"*.{end}") for end in ("npy", "json"))
    whole = pixels_file.read_bytes(), facts.read_bytes()
    damage(pixels_file, facts)
    files._decoded.cache_clear()
    images = CIFAR10.load("test")
    assert np.array_equal(images.images, made)
    assert images.labels.tolist() == [0, 1]
    assert images.encoding == "PNG"
    assert (pixels_file.read_bytes(), facts.read_bytes()) == whole
