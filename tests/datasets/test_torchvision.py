"""Data sets in the folders of torchvision's downloader, and the download."""

import hashlib
import os
import pickle
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from robench.compat import torchvision
from robench.datasets import CIFAR10, MNIST
from robench.errors import ContentError
from tests.support.commands import Finished
from tests.support.data_files import pixels, write_mnist

pytestmark = pytest.mark.usefixtures("home")
Cli = Callable[..., Finished]


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
    """Write files like those of CIFAR-10's archive; returns the MD5 of each."""
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
    """A malicious pickle, which makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_pickle_that_was_not_published_is_never_loaded(home: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    write_batches(home / "data" / "cifar10", pixels(CIFAR10, 6), bad=Trap(sprung))
    for split in ("train", "test"):
        with pytest.raises(ContentError, match="not the published one"):
            CIFAR10.load(split)  # type: ignore[arg-type]
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_download_without_network_is_an_error(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    done = cli("data", "download", name, "--data-dir", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "no network" in done.err
    assert str(tmp_path / name) in done.err


def test_downloaded_files_are_found(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
