"""Data sets from Parquet files, and their cached decoded files."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from robench.datasets import CIFAR10, MNIST, Dataset, files, find_dataset
from robench.errors import ContentError
from tests.support.commands import Finished
from tests.support.data_files import encode, pixels, write_parquet
from tests.support.needs import needs_images

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("dataset", "column"), [(CIFAR10, "img"), (CIFAR10, "image"), (MNIST, "image")]
)
def test_parquet_has_the_pixels(
    home: Path, monkeypatch: pytest.MonkeyPatch, dataset: Dataset, column: str
) -> None:
    made = pixels(dataset, 5)
    folder = home / "data" / dataset.name
    parts = [("00000", made[:3], [3, 1, 4]), ("00001", made[3:], [1, 5])]
    for number, part, labels in parts:
        path = folder / f"test-{number}-of-00002.parquet"
        write_parquet(path, [encode(image) for image in part], labels, column)
    images = dataset.load("test")
    assert np.array_equal(images.images, made)
    assert images.labels.tolist() == [3, 1, 4, 1, 5]
    assert images.encoding == "PNG"
    files._decoded.cache_clear()
    monkeypatch.setattr(files, "_decode", None)
    again = dataset.load("test")  # from the decoded file
    assert isinstance(again.images, np.memmap)
    assert (again.sha256, again.encoding) == (images.sha256, "PNG")
    assert torch.equal(again.tensor()[:2], torch.from_numpy(made[:2]) / 255)


def test_another_file_with_the_same_name_is_decoded_again(home: Path) -> None:
    path = home / "data" / "cifar10" / "train-0.parquet"
    first, second = pixels(CIFAR10, 2), pixels(CIFAR10, 3, seed=1)
    write_parquet(path, [encode(image) for image in first], [0, 1])
    assert np.array_equal(CIFAR10.load("train").images, first)
    write_parquet(
        path, [encode(second[0]), encode(second[1]), encode(second[2], "JPEG")], [0, 1, 2]
    )
    images = CIFAR10.load("train")
    assert np.array_equal(images.images[:2], second[:2])
    assert images.encoding == "1 JPEG, 2 PNG"


@pytest.mark.parametrize("kept", [0, 100])
@pytest.mark.parametrize("ending", ["npy", "json"])
def test_damaged_decoded_file_is_written_again(home: Path, ending: str, kept: int) -> None:
    made = pixels(CIFAR10, 2)
    write_parquet(
        home / "data" / "cifar10" / "test-0.parquet", [encode(image) for image in made], [0, 1]
    )
    CIFAR10.load("test")
    (path,) = (home / "decoded").glob(f"*.{ending}")
    path.write_bytes(path.read_bytes()[:kept])
    files._decoded.cache_clear()
    assert np.array_equal(CIFAR10.load("test").images, made)
    assert len(list((home / "decoded").iterdir())) == 2


def test_cache_that_cannot_be_written_is_no_error(home: Path, tmp_path: Path) -> None:
    made = pixels(CIFAR10, 2)
    write_parquet(
        home / "data" / "cifar10" / "test-0.parquet", [encode(image) for image in made], [0, 1]
    )
    (home / "decoded").write_text("a file where the folder should be")
    assert np.array_equal(CIFAR10.load("test").images, made)


GOOD = encode(np.zeros((3, 32, 32), np.uint8))


@pytest.mark.parametrize(
    ("name", "encoded", "labels", "column", "match"),
    [
        ("test-0.parquet", [GOOD, b"no image"], [0, 1], "img", "row 1.*decoded"),
        ("test-0.parquet", [GOOD[:60]], [0], "img", "row 0.*decoded"),
        ("test-0.parquet", [encode(np.zeros((3, 9, 32), np.uint8))], [0], "img", "9×32, not 32×32"),
        ("test-0.parquet", [GOOD], [10], "img", r"labels.*0 … 9"),
        ("test-0.parquet", [GOOD], [-1], "img", r"cifar10: cannot be read: labels run from -1"),
        ("test-0.parquet", [GOOD], [0], "picture", "its columns are picture"),
        ("test-0.parquet", [], [], "img", "test-0.parquet|labels"),
        ("test-00000-of-00003.parquet", [GOOD], [0], "img", "1 of 3 files"),
        ("test-00002-of-00003.parquet", [GOOD], [0], "img", "not one set of files"),
        ("test-0.parquet", [encode(np.zeros((1, 32, 32), np.uint8))], [0], "img", "L, not RGB"),
    ],
)
def test_bad_parquet_is_named(
    home: Path, name: str, encoded: list[bytes], labels: list[int], column: str, match: str
) -> None:
    write_parquet(home / "data" / "cifar10" / name, encoded, labels, column)
    with pytest.raises(ContentError, match=match):
        CIFAR10.load("test")


ROW = [{"bytes": GOOD, "path": None}]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"img": pa.array(["text"]), "label": [0]}, "img is string"),
        ({"img": pa.array([{"bytes": "text"}]), "label": [0]}, "img is struct<bytes: string>"),
        ({"img": ROW, "label": [3.7]}, "label does not have an integer"),
        ({"img": ROW, "label": pa.array([None], pa.int64())}, "label does not have an integer"),
        ({"img": ROW, "label": pa.array([2**63 + 1], pa.uint64())}, "not in range"),
        ({"img": [{"bytes": None, "path": None}], "label": [0]}, "bytes: null"),
    ],
)
def test_columns_of_other_types_are_named(
    home: Path, columns: dict[str, object], match: str
) -> None:
    path = home / "data" / "cifar10" / "test-0.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ContentError, match=match) as found:
        CIFAR10.load("test")
    assert "robench data download cifar10" in str(found.value)


def test_stale_shards_beside_a_whole_set_are_named(home: Path) -> None:
    for name in ("0-of-1", "0-of-2", "1-of-2"):
        write_parquet(home / "data" / "cifar10" / f"test-{name}.parquet", [GOOD], [0])
    with pytest.raises(ContentError, match="not one set of files"):
        CIFAR10.load("test")


def test_dangling_link_does_not_stop_other_models(cli: Callable[..., Finished], home: Path) -> None:
    path = home / "data" / "mnist" / "test-0.parquet"
    path.parent.mkdir(parents=True)
    path.symlink_to(home / "nowhere")
    models = ("--models", "digits/vgg16-ann,mnist/*", "--attacks", "fgsm", "--limit", "2")
    done = cli("run", *models, "--dry-run")
    assert done.code == 0, done.err
    assert "digits/vgg16-ann" in done.out
    assert f"{path}: cannot be read" in done.err
    assert str(path) in cli("list", "models").out


def test_file_that_is_not_parquet_is_named(home: Path) -> None:
    path = home / "data" / "cifar10" / "test-0.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ContentError, match=str(path)):
        CIFAR10.load("test")


@needs_images
@pytest.mark.parametrize(
    ("name", "label", "sha256"),
    [
        ("cifar10", 3, "6acc949e18cdb00182b54c26063bc4c2dd4e49a34765b525bc810e1f497a4ac5"),
        ("mnist", 7, "aff3ea11bb7a52bd06c397ea34988618879bb3bfc493dee7bc1c9ccaef5a2ff2"),
    ],
)
def test_slice_of_the_protocol_has_the_published_pixels(
    monkeypatch: pytest.MonkeyPatch, name: str, label: int, sha256: str
) -> None:
    monkeypatch.undo()  # the user's own cache: decoding takes seconds
    dataset = find_dataset(name)
    images = dataset.load("test")
    assert len(images) == 10_000
    assert images.labels[0] == label
    assert images.first(1000).sha256 == sha256
    assert set(images.labels) == set(range(dataset.classes))
