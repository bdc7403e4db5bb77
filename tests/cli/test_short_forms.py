"""Short ways to write options, and what a command writes where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import robench
from robench.datasets import DIGITS, Images
from robench.datasets.files import VARIABLE
from robench.epsilon import MOST, Epsilon, parse_part
from robench.errors import UsageError
from robench.evaluation import read_slice
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli, refused
from tests.support.made_up import Builder, fall

PIXELS = np.zeros((200, 3, 32, 32), np.uint8)


def test_a_range_of_epsilons_is_the_list() -> None:
    assert parse_part("0:8/255:2/255") == tuple(
        Epsilon.parse(text) for text in ("0", "2/255", "4/255", "6/255", "8/255")
    )
    assert [e.text for e in parse_part("0.1:0.5:0.2")] == ["0.1", "0.3", "0.5"]
    assert [e.value for e in parse_part("1/255:2/255:0.5/255")] == [
        Epsilon.parse(text).value for text in ("1/255", "1.5/255", "2/255")
    ]
    assert [e.text for e in parse_part("0:7/255:2/255")][-1] == "6/255"  # as Python's range


@pytest.mark.parametrize(
    "text", ["0:1", "0:1:0", "1:0:0.1", "0:1:-1", "a:1:1", "0:1:1e-9", ":::", "0:1:0.1:2"]
)
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_part(text)
    assert len(parse_part(f"0:{MOST - 1}:1")) == MOST


def test_a_limit_may_be_a_share() -> None:
    images = len(DIGITS.read("test"))
    assert len(read_slice(DIGITS, "10%")) == images // 10
    assert len(read_slice(DIGITS, "12.5%")) == images // 8
    assert len(read_slice(DIGITS, "100%")) == images
    hundred = replace(DIGITS, load=lambda split: DIGITS.read(split).first(100))
    for share in range(1, 101):  # in floating point 29 % of 100 is less than 29
        assert len(read_slice(hundred, f"{share}%")) == share
    for limit in ("0%", "101%", "%", "-5%", "nan%"):
        with pytest.raises(UsageError, match="limit"):
            read_slice(DIGITS, limit)


def test_the_first_images_of_sorted_ones_are_refused() -> None:
    labels = np.repeat(np.arange(10), 20)
    for order, count in ((labels, "40"), (labels, "10%")):
        data = replace(DIGITS, load=lambda split, y=order: Images(PIXELS, y))
        with pytest.raises(UsageError, match=r"2 of 10 classes|1 of 10 classes"):
            read_slice(data, count)
        assert len(read_slice(data, "9")) == 9
        assert len(read_slice(data, "100%")) == len(labels)
    mixed = np.random.default_rng(0).permutation(labels)
    rare = np.where(mixed > 0, 1, 0)  # a class that few images have
    for fine in (mixed, rare, np.zeros(200, np.int64)):
        data = replace(DIGITS, load=lambda split, y=fine: Images(PIXELS, y))
        assert len(read_slice(data, "10")) == 10


def test_ranges_and_shares_reach_the_cells(cli: Cli, tmp_path: Path) -> None:
    given = ("--models", "digits/vgg16-ann", "--attacks", "fgsm", "--dry-run", "--output", tmp_path)
    done = cli("run", *given, "--eps", "0:16/255:2/255", "--limit", "10%")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-2].split()[2:4] == ["22", "9"]


def test_a_list_without_a_name_says_what_there_is(cli: Cli) -> None:
    rows = {row["what"]: row for row in json.loads(cli("list", "--json").out)}
    assert int(rows["attacks"]["number"]) == 21
    assert rows["models"]["command"] == "robench list models"
    assert all(what in cli("list").out for what in rows)


def test_attacks_of_libraries_are_listed_with_all(cli: Cli) -> None:
    few, all_of_them = (
        [row["attack"] for row in json.loads(cli("list", "attacks", "--json", *more).out)]
        for more in ((), ("--all",))
    )
    assert not [name for name in few if ":" in name]
    assert few == [name for name in all_of_them if ":" not in name]
    assert any(name.startswith("foolbox:") for name in all_of_them)


def test_lines_of_a_list_fit_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/none")  # the length of the user's own folders is not ours
    for what in ("attacks", "datasets"):
        assert max(map(len, cli("list", what).out.splitlines())) <= 100


def test_models_are_listed_with_their_accuracies(cli: Cli) -> None:
    rows = {row["model"]: row for row in json.loads(cli("list", "models", "--json").out)}
    row = rows["cifar10/vgg16-stbp"]
    assert (row["architecture"], row["mode"], row["T"]) == ("vgg16", "stbp", "10")
    published = robench.load_results(ROOT / "results")
    at = [
        point.accuracy
        for cell in published.cells
        if cell.model == "cifar10/vgg16-stbp" and cell.outcome
        for point in cell.outcome.curve
        if point.epsilon.text == "8/255"
    ]
    assert row["worst attack"] == f"{min(at):.1%} at 8/255"


def test_own_models_in_a_checkout_do_not_go_to_the_published_results(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("robench.registry.locations.published", lambda: tmp_path / "results")
    own = ("--models", "nets.py:net", "--dataset", "digits", "--attacks", "fgsm", "--dry-run")
    assert cli("run", *own).out.startswith("results go to out;")
    assert cli("run", *own, "--output", "results").out.startswith("results go to results;")
    registered = ("--models", "digits/vgg16-ann", "--attacks", "fgsm", "--dry-run")
    assert cli("run", *registered).out.startswith("results go to results;")


def test_a_run_says_what_is_published_already(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    done = cli("run", "--dataset", "digits", "--attacks", "fgsm", "--dry-run")
    assert "6 of 6 cells are published already; compute them again with --output out" in done.out
    assert done.out.splitlines()[-1] == "nothing to do"


def test_figures_go_beside_the_results_they_show(
    cli: Cli, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        builder.add(f"digits/{name}", "pgd", fall(30))
    done = cli("analyze", "differences", "--results", builder.store.root)
    assert done.code == 0, done.err
    assert list((builder.store.root / "figures").iterdir())
    assert not (tmp_path / "results" / "figures").exists() or builder.store.root == (
        tmp_path / "results"
    )
    done = cli("analyze", "differences", "--results", builder.store.root, "--output", "asked")
    assert list((tmp_path / "asked").iterdir())


def test_no_run_draws_what_is_stored_of_models_that_are_not_registered(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_spiking_net.py").write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        torch.manual_seed(0)\n"
        "        self.a, self.b = nn.Linear(3072, 20), nn.Linear(20, 10)\n"
        "    def forward(self, x):\n        return self.b((self.a(x.flatten(1)) > 0).float())\n"
        "def net():\n    return Net()\n",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    given = ("--models", "own_spiking_net.py:net", "--dataset", "digits", "--limit", "4")
    done = cli("analyze", "sparsity", *given, "--results", "mine")
    assert done.code == 0, done.err
    for models in ("all", "digits/net", "digits/*"):
        done = cli("analyze", "sparsity", "--no-run", "--results", "mine", "--models", models)
        assert done.code == 0, done.err
        assert "digits/net" in done.out
    refused(cli("analyze", "sparsity", "--no-run", "--results", "empty"), "empty has no activity")
