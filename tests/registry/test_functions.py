"""Models that are named by a function, in a module or in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import robench
from robench import Model
from robench.registry import select_models
from robench.spiking import LIF, LIFParameters, Surrogate
from tests.support.commands import Cli, refused

MAKER = """
import torch
from robench import Model


def make():
    from neighbour import scale

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    return Model(Scaled(net, scale()), "digits/made", 10, make_counterpart=counterpart)


def counterpart():
    from beside import activation

    return activation()


class Scaled(torch.nn.Module):
    def __init__(self, net, scale):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x):
        return self.net(x) * self.scale
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = tmp_path / "code"
    code.mkdir()
    (code / "maker.py").write_text(MAKER, "utf-8")
    (code / "neighbour.py").write_text("def scale():\n    return 2.0\n", "utf-8")
    (code / "beside.py").write_text("from torch.nn import ReLU as activation\n", "utf-8")
    for name in ("maker", "neighbour", "beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return code


def test_a_function_imports_its_neighbours_when_it_is_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = list(sys.path)
    (entry,) = select_models(["maker:make"])
    assert entry.load().id == "digits/made"
    assert sys.path == before


def test_a_function_of_a_file_is_the_same_model(
    folder: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("run", "--attacks", "fgsm", "--limit", "4", "--output", tmp_path, "--dry-run", "--json")
    hashes = set()
    names = [
        (folder, "maker:make"),
        (folder, "./maker.py:make"),
        (tmp_path, "code/maker.py:make"),
        (tmp_path, f"{folder}/maker.py:make"),
    ]
    for place, name in names:
        monkeypatch.chdir(place)
        done = cli(*run, "--models", name)
        assert done.code == 0, done.err
        hashes.add(json.loads(done.out)["cells"][0]["hash"])
    assert len(hashes) == 1


def test_a_file_that_is_not_there_or_has_the_name_of_a_module(
    folder: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ("run", "--attacks", "fgsm", "--output", tmp_path, "--models")
    refused(
        cli(*run, "code/absent.py:make"), "code/absent.py:make", "there is no file code/absent.py"
    )
    refused(cli(*run, "code/maker.py:other"), "code/maker.py:other", "no attribute 'other'")
    (folder / "json.py").write_text(MAKER, "utf-8")
    refused(cli(*run, "code/json.py:dumps"), "another module is called json")


KINDS = """
import robench.compat.torchvision
from torch import nn


class MyNet(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3072, 10))


class Sized(MyNet):
    def __init__(self, size):
        super().__init__()


def cnn(): return nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(1568, 10))
def my_mlp(size=4): return nn.Sequential(nn.Flatten(), nn.Linear(3072, size), nn.Linear(size, 10))
def load(): return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
def wrapped(): return robench.wrap(load())
def instance(): return MyNet()
def resnet(): return robench.compat.torchvision.load().models.resnet18(num_classes=10)
def needs(size): return MyNet()


net = cnn()
declared = robench.Model(MyNet(), "digits/declared")
number = 7
"""


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kinds_of_nets.py").write_text(KINDS, "utf-8")
    monkeypatch.delitem(sys.modules, "kinds_of_nets", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("MyNet", "digits/my-net"),
        ("instance", "digits/my-net"),
        ("cnn", "digits/cnn"),
        ("my_mlp", "digits/my-mlp"),
        ("load", "digits/sequential"),
        ("wrapped", "digits/wrapped"),
        ("net", "digits/net"),
        ("declared", "digits/declared"),
        ("resnet", "digits/resnet"),
    ],
)
def test_a_function_a_class_and_a_network_are_models(name: str, model_id: str) -> None:
    for text in (f"./kinds_of_nets.py:{name}", f"kinds_of_nets:{name}"):
        (entry,) = select_models([text], dataset="digits")
        assert entry.id == model_id


@pytest.mark.usefixtures("kinds")
def test_an_untrained_network_is_the_same_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for _ in range(2):
        for text in ("kinds_of_nets.py:net", "kinds_of_nets.py:cnn"):
            (entry,) = select_models([text], dataset="digits")
            found.add((entry.id, entry.load().fingerprint))
        monkeypatch.delitem(sys.modules, "kinds_of_nets")
        torch.rand(1)
    assert len(found) == 2


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("Sized", ("cannot be called", "'size'", "default")),
        ("needs", ("cannot be called", "'size'", "default")),
        ("number", ("is of type int, which cannot be called",)),
        ("cn", ("has no attribute 'cn'", "did you mean cnn")),
    ],
)
def test_what_makes_no_network_is_one_line(
    cli: Cli, tmp_path: Path, name: str, texts: tuple[str, ...]
) -> None:
    models = ("--models", f"kinds_of_nets.py:{name}", "--dataset", "digits")
    refused(cli("run", *models, "--attacks", "fgsm", "--output", tmp_path / "out"), *texts)


def test_the_counterpart_of_a_user_stays_as_it_is_and_is_called_as_the_network() -> None:
    ann = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.Dropout(0.5)).double()
    net = Spikes().double()
    model = Model(net, dataset="digits", mode="stbp", make_counterpart=lambda: ann)
    found = robench.evaluate(
        model, "surrogate-ensemble[surrogates=[atan(2)],paths=[cba]]", limit=8, eps="16/255"
    )
    assert found.cells[0].status == "done"
    assert ann.training
    assert all(parameter.requires_grad for parameter in ann.parameters())


def test_a_model_on_other_images_keeps_the_settings_that_it_was_built_in() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = Model(nn.Sequential(nn.Flatten(), Made()), dataset="digits")
    finally:
        torch.set_default_dtype(torch.float32)
    images, labels = robench.load_images("digits")
    found = robench.evaluate(model, "fgsm", images=images[:8], labels=labels[:8], eps="8/255")
    assert found.cells[0].status == "done"


class Spikes(nn.Module):
    """A layer of LIF neurons over four time steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3072, 30), nn.Linear(30, 10)
        self.spikes = LIF(LIFParameters(beta=0.5, threshold=0.3), Surrogate.parse("atan(2)"))

    def forward(self, x: Tensor) -> Tensor:
        current = self.first(x.flatten(1)).expand(4, -1, -1)
        return self.second(self.spikes(current)).mean(0)


class Made(nn.Module):
    """Makes its weights in each call, in the type that is the default then."""

    def forward(self, x: Tensor) -> Tensor:
        return x.double() @ torch.linspace(0, 1, 10 * x.shape[1]).view(-1, 10)
