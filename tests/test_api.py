"""The Python interface."""

from __future__ import annotations

import ast
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robench
from robench.datasets import DIGITS
from robench.errors import RobenchError
from robench.evaluation.executors import local as runs
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli

SMALL = {"limit": 8, "eps": ["4/255", 0.1]}
COLUMNS = ["model", "attack", "epsilon", "accuracy", "low", "high", "verdict", "reasons"]


class MyNet(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.head = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1))


def test_the_page_has_the_public_names() -> None:
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    first = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first))) == sorted(robench.__all__)


def test_the_public_names_resolve_and_are_those_of_the_stub() -> None:
    stub = ast.parse((ROOT / "robench" / "__init__.pyi").read_text("utf-8"))
    imported = [
        alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(imported) == sorted(robench.__all__)
    assert {"Model", "check", "evaluate", "list_models", "load_model", "load_results"} <= set(
        robench.__all__
    )
    for name in robench.__all__:
        assert getattr(robench, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = robench.absent
    assert (ROOT / "robench" / "py.typed").is_file()


def test_a_plain_network_is_evaluated_by_its_data_set() -> None:
    result = robench.evaluate(MyNet(), ["fgsm", "pgd[steps=3]"], dataset="digits", **SMALL)
    frame = result.to_frame()
    assert list(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert set(frame["model"]) == {"digits/my-net"}
    assert frame["attack"].tolist() == ["fgsm"] * 3 + ["pgd[steps=3]"] * 3
    assert frame["epsilon"].tolist() == [0, 4 / 255, 0.1] * 2
    images = DIGITS.load("test").first(8)
    with torch.no_grad():
        right = MyNet()(images.tensor()).argmax(1) == images.targets()
    assert frame["accuracy"][0] == float(right.double().mean())
    assert (frame["low"] <= frame["accuracy"]).all()
    assert (frame["accuracy"] <= frame["high"]).all()
    checks = set(result.checks().to_frame()["check"])
    assert checks == {
        *("deterministic", "same-under-attack", "frozen", "probabilities", "ties", "offset"),
        *("own-gradient", "batch-gradient", "gradient"),
        *("reverified", "gradient-free", "single-step", "weaker-attack"),
    }
    for text in (repr(result), result._repr_html_(), repr(result.checks())):
        assert "pgd[steps=3]" in text
        assert "valid" in text


MAKER = """
from tests.test_api import MyNet
import robench


def make():
    return MyNet()


def wrapped():
    return robench.Model(MyNet(), dataset="digits")
"""


def test_the_command_gives_the_same_hashes_and_rows(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "makers.py").write_text(MAKER, "utf-8")
    robench.evaluate(MyNet(), "pgd", dataset="digits", store=tmp_path / "python", **SMALL)
    mine = robench.ResultStore(tmp_path / "python")
    small = ("--limit", "8", "--eps", "4/255,0.1", "--attacks", "pgd")
    for function, more in (("make", ("--dataset", "digits")), ("wrapped", ())):
        models = ("--models", f"{tmp_path / 'makers.py'}:{function}", *more)
        done = cli("run", *models, *small, "--output", tmp_path / function)
        assert done.code == 0, done.err
        theirs = robench.ResultStore(tmp_path / function)
        ((ours,), _), ((other,), _) = mine.cells(), theirs.cells()
        assert ours.hash == other.hash
        assert mine.rows(ours).equals(theirs.rows(other))


def test_a_second_call_with_a_store_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = robench.evaluate(MyNet(), "fgsm,pgd", dataset="digits", store=tmp_path, **SMALL)
    monkeypatch.setattr(runs, "evaluate_chunks", None)
    again = robench.evaluate(MyNet(), "fgsm,pgd", dataset="digits", store=str(tmp_path), **SMALL)
    assert again.to_frame().equals(first.to_frame())
    loaded = robench.load_results(tmp_path)
    pd.testing.assert_frame_equal(loaded.to_frame(), first.to_frame())
    with pytest.raises(TypeError):  # another network is another cell
        robench.evaluate(MyNet(1), "fgsm", dataset="digits", store=tmp_path, **SMALL)


def test_a_network_that_was_trained_in_between_is_another_one(tmp_path: Path) -> None:
    net = MyNet()
    model = robench.Model(net, dataset="digits")
    first = robench.evaluate(model, "fgsm", store=tmp_path, **SMALL)
    with torch.no_grad():
        net.head.weight.neg_()
    second = robench.evaluate(model, "fgsm", store=tmp_path, **SMALL)
    assert first.cells[0].hash != second.cells[0].hash


def test_images_and_labels_of_the_user(tmp_path: Path) -> None:
    test = DIGITS.load("test").first(8)
    x, y = test.tensor(), test.targets()
    expected = robench.evaluate(MyNet(), "pgd", dataset="digits", **SMALL).to_frame()
    kinds = {"tensors": (x, y), "arrays": (x.numpy(), y.numpy()), "pixels": (test.images, y.int())}
    for images, labels in kinds.values():
        found = robench.evaluate(MyNet(), "fgsm", images=images, labels=labels, **SMALL)
        assert found.to_frame()["accuracy"][0] == expected["accuracy"][0]
    named = robench.evaluate(
        MyNet(), "fgsm", images=x, labels=y, dataset="my-data", store=tmp_path
    ).to_frame()
    assert set(named["model"]) == {"my-data/my-net"}
    assert set(named["samples"]) == {8}
    assert named["epsilon"].max() == 16 / 255  # the grid of CIFAR-10
    grey = x.mean(1, keepdim=True) * 0.9  # of another shape, and no multiples of 1/255
    deep = nn.Sequential(nn.Conv2d(1, 3, 1), MyNet())
    assert len(robench.evaluate(deep, "fgsm", images=grey, labels=y, eps=["4/255"]).cells) == 1
    checkpoint = robench.evaluate("digits/vgg16-ann", "fgsm", images=x, labels=y, eps=["4/255"])
    assert checkpoint.cells[0].model == "tensors/vgg16-ann"


def test_frames_of_the_user() -> None:
    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = MyNet()

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.net(x[:, t]) for t in range(x.shape[1])]).mean(0)

    x = torch.rand(6, 4, 3, 32, 32)
    found = robench.evaluate(Frames(), "fgsm", images=x, labels=torch.arange(6), eps=["4/255"])
    assert found.cells[0].outcome is not None


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: robench.evaluate(MyNet(), "fgsm"), "needs a data set"),
        (lambda: robench.evaluate(MyNet, "fgsm", dataset="digits"), "not type"),  # type: ignore[arg-type]
        (lambda: robench.evaluate(MyNet(), "fgms", dataset="digits"), "fgsm"),
        (lambda: robench.evaluate(MyNet(), [], dataset="digits"), "no attack"),
        (lambda: robench.evaluate(MyNet(), dataset="digit"), "digits"),
        (lambda: robench.evaluate(MyNet(), dataset="digits", limit=0), "limit"),
        (lambda: robench.evaluate(MyNet(), dataset="digits", eps=[-1]), "-1"),
        (lambda: robench.evaluate(MyNet(), dataset="digits", device="tpu"), "device 'tpu'"),
        (lambda: robench.planted(MyNet(), "pgd", dataset="digits", eps=[0.1, 0.2]), "one ε"),
        (lambda: robench.evaluate(MyNet(), dataset="digits", eps=[]), "empty"),
        (lambda: robench.evaluate(MyNet(), dataset="digits", eps=object()), "numbers or texts"),
        (lambda: robench.evaluate(MyNet(), dataset="digits", seed=1.5), "seed=1.5"),
        (lambda: robench.evaluate(MyNet(), dataset="digits", batch_size=0), "batch_size=0"),
        (lambda: robench.evaluate(MyNet(), attacks=None, dataset="digits"), "attacks=None"),
        (lambda: robench.list_models(dataset="zzz"), "unknown data set"),
        (lambda: robench.evaluate(MyNet(), images=torch.rand(2, 3, 32, 32)), "labels"),
        (
            lambda: robench.evaluate(
                MyNet(), images=torch.rand(2, 3, 32, 32), labels=[0, 1], dataset="digits"
            ),
            "own images",
        ),
        (
            lambda: robench.evaluate(MyNet(), images=torch.rand(2, 32, 32, 3), labels=[0, 1]),
            "channels",
        ),
        (lambda: robench.evaluate(MyNet(), images=torch.rand(2, 3, 32, 32), labels=[1, 11]), "11"),
        (lambda: robench.evaluate("digits/vgg16-stpb"), "digits/vgg16-stbp"),
        (lambda: robench.evaluate("digits/vgg16-stbp", dataset="mnist"), "digits"),
        (lambda: robench.Model(MyNet()), "dataset="),
        (lambda: robench.Model(MyNet(), "digits/a", dataset="mnist"), "mnist"),
        (lambda: robench.load_model("digits/*"), "name one of them"),
        (lambda: robench.load_results("/nowhere"), "no results"),
        (lambda: robench.list_models("nothing/*"), "no model matches"),
    ],
)
def test_wrong_arguments_are_one_line(call: object, text: str) -> None:
    with pytest.raises(RobenchError) as caught:
        call()  # type: ignore[operator]
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_threads_wait_for_each_other() -> None:
    net, before = MyNet().train(), sys.stdout
    results: list[robench.Results] = []

    def run() -> None:
        results.append(robench.evaluate(net, "fgsm", dataset="digits", **SMALL))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(result.to_frame()) for result in results}) == 1
    assert sys.stdout is before
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_what_a_network_raises_reaches_the_caller() -> None:
    class Bad(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        robench.evaluate(Bad(), "fgsm", dataset="digits", **SMALL)


def test_registered_models() -> None:
    names = robench.list_models(dataset="digits")
    assert "digits/vgg16-stbp" in names
    assert not any("control" in name for name in names)
    model = robench.load_model("digits/vgg16-stbp")
    assert model.mode == "stbp"
    checks = robench.check(model, limit=8)
    assert set(checks.to_frame()["verdict"]) == {"valid"}
    random = robench.check("digits/control-random-mask", limit=8)
    assert random.verdict == "invalid"
    (row,) = random.to_frame().query("verdict == 'invalid'").to_dict("records")
    assert (row["check"], row["reason"]) == ("deterministic", "not-deterministic")
    assert "robench.ModelNoise" in row["advice"]
    assert row["advice"].split()[0] in str(random)
    assert "\x1b[31minvalid" in random.text(colours=True)


def test_a_plot_has_a_line_for_each_cell() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    result = robench.evaluate(MyNet(), "fgsm,pgd", dataset="digits", **SMALL)
    ax = result.plot()
    assert [line.get_label() for line in ax.lines] == ["fgsm", "pgd"]
    for line, cell in zip(ax.lines, result.cells, strict=True):
        assert cell.outcome is not None
        np.testing.assert_allclose(line.get_ydata(), [p.accuracy for p in cell.outcome.curve])
    assert result.plot(ax) is ax


def test_a_network_of_a_user_is_released_by_nobody_and_a_checkpoint_after_its_cells() -> None:
    model = robench.load_model("digits/vgg16-stbp")
    assert model._module is None
    robench.evaluate(model, "fgsm", limit=4, eps=["4/255"])
    assert model._module is None
    own = robench.Model(MyNet(), dataset="digits")
    robench.evaluate(own, "fgsm", **SMALL)
    assert own.module is own.network
