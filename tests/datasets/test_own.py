"""Data sets that a function of a file returns: read as they are, or refused on one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import robench
from robench.datasets import OWN, find_dataset
from robench.errors import MissingDataError, RobenchError
from tests.support.commands import Cli, refused

NETS = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
"""
DATA = """
import os
import sys

import numpy as np
import torch
from PIL import Image
from torch.utils import data

from robench.datasets import CIFAR10, Dataset, Images

x, y = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 10
PAIRS = data.TensorDataset(x, y)


def make(): return x, y
def as_list(): return [x.numpy().tolist(), y.tolist()]
def pixels(): return (x * 255).byte().numpy(), y.to(torch.uint8)
def pairs(): return PAIRS
def subset(): return data.Subset(PAIRS, range(5))
def images(): return Images.of(x, y)
def split(split): return (x, y) if split == "test" else (x[:4], y[:4])
def default(split="test"): return make()
def random(): return torch.rand(6, 3, 8, 8), np.random.randint(10, size=6)


class Pairs(data.Dataset):
    def __len__(self): return 12
    def __getitem__(self, i): return x[i], int(y[i])


DATA = Dataset("own-bars", "Bars", 10, (3, 8, 8), CIFAR10.protocol, lambda split: Images.of(x, y))


def dataset(): return DATA


def noisy():
    print("hello from make")
    torch.set_default_dtype(torch.float64)
    np.seterr(all="raise")
    os.chdir("/")
    os.environ["OWN_DATA"] = "1"
    sys.path.insert(0, "/nowhere")
    return x, y


def raising(): raise ValueError("no disk\\nfor you")
def leaving(): sys.exit(3)
def none(): return None
def triple(): return x, y, y
def only_images(): return x
def channels_last(): return x.permute(0, 2, 3, 1), y
def flat(): return x.flatten(1), y
def nan(): return torch.where(x == x[3, 0, 0, 0], torch.nan, x), y
def normalised(): return x * 2 - 1, y
def empty(): return x[:0], y[:0]
def few_labels(): return x, y[:3]
def one_hot(): return x, torch.eye(10)[y]
def negative(): return x, y - 1
def float_labels(): return x, y.float()
def from_one(): return x, y + 1
def loader(): return data.DataLoader(PAIRS)
def needs(folder): return x, y
def pillow(): return data.StackDataset([Image.new("RGB", (8, 8))] * 3, [0, 1, 2])
def ragged(): return data.StackDataset([x[0], x[0, :, :4]], [0, 1])
def no_pairs(): return data.TensorDataset(x)


class Endless(data.IterableDataset):
    def __iter__(self): return iter(PAIRS)


class Damaged(Pairs):
    def __getitem__(self, i): raise OSError("disk gone")


def of(name="own-bad", classes=10, shape=(3, 8, 8), load=lambda split: Images.of(x, y)):
    return Dataset(name, "Some", classes, shape, CIFAR10.protocol, load)


def taken(): return of("digits")
def no_name(): return of("a b/c")
def bad_field(): return of(classes="ten")
def bad_load(): return of(load=lambda split: 1 / 0)
def bad_shape(): return of(shape=(1, 8, 8))


number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_nets.py").write_text(NETS, "utf-8")
    (tmp_path / "own_data.py").write_text(DATA, "utf-8")
    for name in ("own_nets", "own_data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


GOOD = {
    "make": "own-data",
    "as_list": "own-data-as-list",
    "pixels": "own-data-pixels",
    "pairs": "own-data-pairs",
    "subset": "own-data-subset",
    "images": "own-data-images",
    "split": "own-data-split",
    "default": "own-data-default",
    "Pairs": "own-data-Pairs",
    "dataset": "own-bars",
    "DATA": "own-bars",
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("function", "name"), GOOD.items())
def test_what_a_function_may_return(function: str, name: str) -> None:
    dataset = find_dataset(f"own_data.py:{function}")
    assert dataset.name == name
    assert find_dataset(name) is dataset
    assert (dataset.shape, dataset.classes) == ((3, 8, 8), 5 if function == "subset" else 10)
    x, y = robench.load_images(f"own_data.py:{function}")
    own = sys.modules["own_data"]
    expected = (own.x * 255).byte() / 255 if function == "pixels" else own.x
    assert torch.equal(x, expected[: len(x)])
    assert y.tolist() == own.y[: len(x)].tolist()


@pytest.mark.usefixtures("folder")
def test_a_function_is_called_once_and_again_for_another_split() -> None:
    assert find_dataset("./own_data.py:split").read("train").labels.tolist() == [0, 1, 2, 3]
    assert find_dataset("own_data:split").read("train").labels.tolist() == [0, 1, 2, 3]
    dataset = find_dataset("own_data.py:random")
    assert find_dataset("own_data.py:random") is dataset
    with pytest.raises(MissingDataError, match="parameter split"):
        find_dataset("own_data.py:make").read("train")


@pytest.mark.usefixtures("folder")
def test_random_numbers_of_a_function_are_the_same_in_each_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = find_dataset("own_data.py:random").read("test").sha256
    torch.rand(3), np.random.rand(3)
    monkeypatch.setattr("robench.datasets.own._MADE", {})
    monkeypatch.delitem(sys.modules, "own_data")
    assert find_dataset("own_data.py:random").read("test").sha256 == first


def test_what_a_function_prints_and_changes_is_put_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(sys.path), dict(np.geterr()), np.random.get_state()[1].tolist()
    find_dataset("own_data.py:noisy")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello from make\n")
    assert torch.get_default_dtype() == torch.float32
    assert Path.cwd() == folder
    assert "OWN_DATA" not in os.environ
    assert (list(sys.path), dict(np.geterr()), np.random.get_state()[1].tolist()) == before


REFUSED = {
    "own_data.py:absent": ("has no attribute 'absent'",),
    "own_data.py:pair": ("did you mean", "pairs"),
    "own_data.py:": ("own_data.py:",),
    "nothing.py:make": ("there is no file nothing.py",),
    "no_such_module:make": ("No module named 'no_such_module'",),
    "own_data.py:raising": ("ValueError: no disk for you (own_data.py:", "in raising)"),
    "own_data.py:leaving": ("SystemExit: 3",),
    "own_data.py:none": ("are a NoneType", "return (images, labels)"),
    "own_data.py:triple": ("are a tuple of 3",),
    "own_data.py:only_images": ("are a Tensor",),
    "own_data.py:channels_last": ("permute(0, 3, 1, 2)",),
    "own_data.py:flat": ("images have shape (12, 192)",),
    "own_data.py:nan": ("NaN, first in sample 3",),
    "own_data.py:normalised": ("put the normalisation into the network",),
    "own_data.py:empty": ("there are no images",),
    "own_data.py:few_labels": ("there are 3 labels for 12 images",),
    "own_data.py:one_hot": ("labels.argmax(1)",),
    "own_data.py:negative": ("labels run from -1 to 8",),
    "own_data.py:float_labels": ("labels are float32",),
    "own_data.py:from_one": ("own-data-from-one/net", "labels run from 1 to 10", "subtract 1"),
    "own_data.py:loader": ("loader.dataset",),
    "own_data.py:needs": ("missing a required argument: 'folder'", "default"),
    "own_data.py:pillow": ("sample 0 is an image of Pillow", "ToTensor"),
    "own_data.py:ragged": ("sample 1 is (3, 4, 8), and sample 0 is (3, 8, 8)", "Resize"),
    "own_data.py:no_pairs": ("a pair (image, label)",),
    "own_data.py:Endless": ("no order",),
    "own_data.py:Damaged": ("OSError: disk gone (own_data.py:",),
    "own_data.py:taken": ("'digits' is that of another one",),
    "own_data.py:no_name": ("'a b/c' is no name",),
    "own_data.py:bad_field": ("classes is 'ten'",),
    "own_data.py:bad_load": ("ZeroDivisionError",),
    "own_data.py:bad_shape": ("they are (3, 8, 8), not (1, 8, 8)",),
    "own_data.py:number": ("is of type int, which cannot be called",),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("text", "texts"), REFUSED.items())
@pytest.mark.parametrize("command", ["run", "check"])
def test_what_is_refused_is_one_line(
    cli: Cli, command: str, text: str, texts: tuple[str, ...]
) -> None:
    models = ["own_nets.py:Net"] if command == "check" else ["--models", "own_nets.py:Net"]
    done = cli(command, *models, "--dataset", text)
    refused(done, *texts)
    assert not Path("results").exists() or not any(Path("results").rglob("*.json"))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("body", ["raise RuntimeError('at import')", "def make(:", "1 / 0"])
def test_a_file_that_cannot_be_imported_is_one_line(
    folder: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own_damaged_file.py").write_text(body, "utf-8")
    monkeypatch.delitem(sys.modules, "own_damaged_file", raising=False)
    with pytest.raises(RobenchError, match="cannot import own_damaged_file") as error:
        find_dataset("own_damaged_file.py:make")
    assert "\n" not in str(error.value)


def test_a_data_set_has_the_name_of_its_file(folder: Path) -> None:
    for file, name in (("my own_bars.py", "my-own-bars"), ("digits_of_mine.py", "digits-of-mine")):
        (folder / file).write_text(DATA, "utf-8")
        assert find_dataset(f"{file}:make").name == name
        assert name in OWN


def test_the_training_images_of_a_built_in_set() -> None:
    x, y = robench.load_images("digits", "train")
    assert (x.shape, x.dtype, y.shape) == ((1572, 3, 32, 32), torch.float32, (1572,))
    assert 0 <= x.min() < x.max() <= 1
    assert y.dtype == torch.int64
    x.zero_(), y.zero_()  # copies
    again = robench.load_images("digits", "train")
    assert again[0].any()
    assert again[1].any()
    assert len(robench.load_images("digits")[0]) == 225
    assert robench.load_images("digits-frames", "test")[0].shape == (225, 10, 3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(("digit",), "did you mean digits"), (("digits", "val"), "train or test"), ((".py:",), ".py")],
)
def test_images_that_cannot_be_loaded_are_one_line(arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(RobenchError, match=text) as error:
        robench.load_images(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
