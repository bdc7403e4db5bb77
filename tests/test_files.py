import gzip
import hashlib
import io
import json
import os
import pickle
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Finished
from PIL import Image

from robench.architectures import ModelConfig, build
from robench.compat import torchvision
from robench.datasets import CIFAR10, MNIST, Dataset, files, find_dataset
from robench.errors import ContentError, MissingDataError
from robench.zoo.card import AboutTable, save_checkpoint

Cli = Callable[..., Finished]
DATA = os.environ.get(files.VARIABLE)
needs_data = pytest.mark.skipif(not DATA, reason=f"{files.VARIABLE} names no folder with data")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no other place where data lie."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(files, "user_cache_path", lambda name: cache)
    monkeypatch.setenv(files.VARIABLE, "")
    return cache


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


@pytest.mark.parametrize(
    ("dataset", "column"), [(CIFAR10, "img"), (CIFAR10, "image"), (MNIST, "image")]
)
def test_parquet_gives_the_pixels_back(
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


def test_other_file_under_the_same_name_is_decoded_anew(home: Path) -> None:
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


@pytest.mark.parametrize("ending", ["npy", "json"])
def test_damaged_decoded_file_is_made_anew(home: Path, ending: str) -> None:
    made = pixels(CIFAR10, 2)
    write_parquet(
        home / "data" / "cifar10" / "test-0.parquet", [encode(image) for image in made], [0, 1]
    )
    CIFAR10.load("test")
    (path,) = (home / "decoded").glob(f"*.{ending}")
    path.write_bytes(path.read_bytes()[:100])
    files._decoded.cache_clear()
    assert np.array_equal(CIFAR10.load("test").images, made)
    assert len(list((home / "decoded").iterdir())) == 2


def test_cache_that_cannot_be_written_costs_nothing_but_time(home: Path, tmp_path: Path) -> None:
    made = pixels(CIFAR10, 2)
    write_parquet(
        home / "data" / "cifar10" / "test-0.parquet", [encode(image) for image in made], [0, 1]
    )
    (home / "decoded").write_text("a file where the folder should be")
    assert np.array_equal(CIFAR10.load("test").images, made)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    return header + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def write_mnist(folder: Path, split: str, images: np.ndarray, labels: list[int]) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images[:, 0]))
    (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.array(labels, np.uint8)))


def test_torchvision_folder_of_mnist(home: Path) -> None:
    folder = home / "data" / "mnist"
    for split, theirs, seed in (("train", "train", 0), ("test", "t10k", 1)):
        made = pixels(MNIST, 3, seed)
        write_mnist(folder, theirs, made, [7, 2, 1])
        found = MNIST.load(split)  # type: ignore[arg-type]
        assert np.array_equal(found.images, made)
        assert found.labels.tolist() == [7, 2, 1]
    labels = folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:6])
    with pytest.raises(ContentError, match=str(folder)):
        MNIST.load("test")


def write_batches(folder: Path, images: np.ndarray, bad: object = None) -> dict[str, str]:
    """Files as CIFAR-10's archive has them; returns the MD5 of each."""
    batches = folder / "cifar-10-batches-py"
    batches.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    contents = {
        name: {"data": image.reshape(1, -1), "labels": [i]}
        for i, (name, image) in enumerate(zip(names, images, strict=True))
    }
    contents["batches.meta"] = {"label_names": list("abcdefghij")}
    if bad is not None:
        contents["data_batch_1"] = bad  # type: ignore[assignment]
    digests = {}
    for name, content in contents.items():
        data = pickle.dumps(content)
        (batches / name).write_bytes(data)
        digests[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return digests


def test_torchvision_folder_of_cifar10(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pixels(CIFAR10, 6)
    digests = write_batches(home / "data" / "cifar10", made)
    theirs = torchvision.load().datasets.CIFAR10
    train = [[f"data_batch_{i}", digests[f"data_batch_{i}"]] for i in range(1, 6)]
    monkeypatch.setattr(theirs, "train_list", train)
    monkeypatch.setattr(theirs, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": digests["batches.meta"]})
    assert np.array_equal(CIFAR10.load("train").images, made[:5])
    assert CIFAR10.load("train").labels.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(CIFAR10.load("test").images, made[5:])


class Trap:
    """What a hostile pickle does when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_pickle_that_was_not_published_is_never_opened(home: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    write_batches(home / "data" / "cifar10", pixels(CIFAR10, 6), bad=Trap(sprung))
    for split in ("train", "test"):
        with pytest.raises(ContentError, match="corrupted"):
            CIFAR10.load(split)  # type: ignore[arg-type]
    assert not sprung.exists()


def test_missing_images_are_told_with_places_and_ways(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "mine"))
    with pytest.raises(MissingDataError) as caught:
        CIFAR10.load("test")
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    for part in (
        tmp_path / "mine" / "cifar10",
        home / "data" / "cifar10",
        "test-*.parquet",
        "cifar-10-batches-py",
        "robench data download cifar10",
        "--data-dir",
        "ROBENCH_DATA",
    ):
        assert str(part) in text


def test_the_first_place_that_has_the_split_wins(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "flag", tmp_path / "variable", home / "data"]
    made = pixels(CIFAR10, 1)
    for i, place in enumerate(places):
        write_parquet(place / "cifar10" / "test-0.parquet", [encode(made[0])], [i])
    write_parquet(home / "data" / "cifar10" / "train-0.parquet", [encode(made[0])], [9])
    assert CIFAR10.load("test").labels.tolist() == [2]
    monkeypatch.setenv(files.VARIABLE, str(places[1]))
    assert CIFAR10.load("test").labels.tolist() == [1]
    files.look_first_in(places[0])
    assert CIFAR10.load("test").labels.tolist() == [0]
    assert CIFAR10.load("train").labels.tolist() == [9]


GOOD = encode(np.zeros((3, 32, 32), np.uint8))


@pytest.mark.parametrize(
    ("name", "encoded", "labels", "column", "match"),
    [
        ("test-0.parquet", [GOOD, b"no image"], [0, 1], "img", "row 1.*decoded"),
        ("test-0.parquet", [GOOD[:60]], [0], "img", "row 0.*decoded"),
        ("test-0.parquet", [encode(np.zeros((3, 9, 32), np.uint8))], [0], "img", "9×32, not 32×32"),
        ("test-0.parquet", [GOOD], [10], "img", r"labels.*0 … 9"),
        ("test-0.parquet", [GOOD], [0], "picture", "columns img or image"),
        ("test-0.parquet", [], [], "img", "test-0.parquet|labels"),
        ("test-00000-of-00003.parquet", [GOOD], [0], "img", "1 of 3 files"),
    ],
)
def test_bad_parquet_is_named(
    home: Path, name: str, encoded: list[bytes], labels: list[int], column: str, match: str
) -> None:
    write_parquet(home / "data" / "cifar10" / name, encoded, labels, column)
    with pytest.raises(ContentError, match=match):
        CIFAR10.load("test")


def test_file_that_is_no_parquet_is_named(home: Path) -> None:
    path = home / "data" / "cifar10" / "test-0.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ContentError, match=str(path)):
        CIFAR10.load("test")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A folder of models with one, untrained, of CIFAR-10."""
    text = dict(architecture="vgg16", mode="ann", dataset="cifar10", classes=10, width=0.02)
    config = ModelConfig.model_validate(text)
    about = AboutTable(description="A test.", clean_accuracy=0.1, clean_samples=1)
    save_checkpoint(tmp_path / "models" / "cifar10" / "tiny", build(config), config, about)
    return tmp_path / "models"


def test_all_skips_models_without_images_and_a_named_one_is_an_error(
    cli: Cli, tmp_path: Path, zoo: Path
) -> None:
    command = ("run", "--models-dir", zoo, "--attacks", "fgsm", "--output", tmp_path / "results")
    everything = cli(*command, "--models", "all", "--dry-run")
    assert everything.code == 0
    (line,) = (line for line in everything.err.splitlines() if "cifar10/tiny" in line)
    assert line.startswith("skipped cifar10/tiny: ")
    assert "robench data download cifar10" in line
    assert "digits/vgg16-ann  fgsm  to do" in everything.out
    done = cli(*command, "--models", "cifar10/*")
    assert (done.code, "Traceback" in done.err) == (0, False)
    named = cli(*command, "--models", "cifar10/tiny")
    assert named.code == 2
    assert len(named.err.splitlines()) == 1
    assert "robench data download cifar10" in named.err


def test_data_dir_of_a_run(cli: Cli, tmp_path: Path, zoo: Path) -> None:
    made = pixels(CIFAR10, 2)
    mine = tmp_path / "mine"
    write_parquet(mine / "cifar10" / "test-0.parquet", [encode(image) for image in made], [0, 1])
    command = ("run", "--models-dir", zoo, "--attacks", "fgsm", "--output", tmp_path / "results")
    done = cli(*command, "--models", "cifar10/tiny", "--eps", "8/255", "--data-dir", mine)
    assert done.code == 0
    (path,) = (tmp_path / "results").rglob("*.json")
    assert CIFAR10.load("test").sha256 in json.dumps(json.loads(path.read_text()))
    missing = cli(*command, "--models", "cifar10/tiny", "--data-dir", tmp_path / "nothing")
    assert missing.code == 2
    assert str(tmp_path / "nothing") in missing.err


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_download_without_network_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    done = cli("data", "download", name, "--data-dir", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert "no network" in done.err
    assert str(tmp_path / name) in done.err


def test_download_makes_what_load_finds(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pixels(MNIST, 1)

    def fetch(self: object) -> None:
        folder = Path(self.root)  # type: ignore[attr-defined]
        for split in ("train", "t10k"):
            write_mnist(folder, split, made, [5])

    monkeypatch.setattr(torchvision.load().datasets.MNIST, "download", fetch)
    done = cli("data", "download", "mnist")
    assert done.code == 0
    assert str(home / "data" / "mnist") in done.out
    assert np.array_equal(MNIST.load("train").images, made)
    refused = cli("data", "download", "digits")
    assert refused.code == 2
    assert "digits has nothing to download" in refused.err


@needs_data
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
