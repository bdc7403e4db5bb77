from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from robench.analysis import transfer_pairs
from robench.attacks import SpikingAutoAttack, Transfer
from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.evaluation import Request
from robench.registry import Model, find_attack, select_models
from robench.results import ResultStore
from tests.support.commands import Finished, refused
from tests.support.sweeping import GRID, robust_at, sweep

Cli = Callable[..., Finished]
ONE = parse_grid(["0.00001"])  # too small for any adversarial example


@pytest.mark.parametrize("order", ["fast", "ascending", "raw"])
def test_a_source_that_is_the_target_gives_the_closed_form(linear, order) -> None:
    options = {"sources": (linear.model,), "sweep": order}
    rows = sweep(linear.model, Transfer(steps=8), linear.x, linear.y, **options).run()
    assert [robust_at(rows, k) for k in range(len(GRID))] == [linear.robust(e.value) for e in GRID]
    assert (rows["backwards"] == 0).all()


def test_the_target_sees_one_example_of_each_source(linear) -> None:
    generator = torch.Generator().manual_seed(7)
    layer = nn.Linear(48, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(2, 48, generator=generator))
    sources = (linear.model, Model(nn.Sequential(nn.Flatten(), layer), "digits/other", 2))
    rows = sweep(linear.model, Transfer(steps=5), linear.x, linear.y, ONE, sources=sources).run()
    assert (rows["forwards"] == 3).all()  # the clean image, and one for each source
    assert (rows["backwards"] == 0).all()
    assert (rows["source_passes"] == 10).all()


def test_without_a_source_the_model_is_not_called(linear) -> None:
    rows = sweep(linear.model, Transfer(), linear.x, linear.y).run()
    assert (rows["minimal_position"] == -1).all()
    assert (rows["forwards"] == 1).all()
    assert "source_passes" not in rows


def test_found_by_is_the_source_of_the_example() -> None:
    (target,), (one,), (two,) = (
        select_models([f"digits/{name}"]) for name in ("vgg16-ann", "flex-ann", "flex-stbp")
    )
    images = find_dataset("digits").load("test").first(24)
    attack = Transfer().with_sources(("flex-ann", "flex-stbp"))
    assert attack.model_dump() == Transfer().model_dump()
    grid = parse_grid(["16/255", "32/255"])
    sources = (one.load(), two.load())
    rows = sweep(
        target.load(), attack, images.tensor(), images.targets(), grid, batch_size=24,
        sources=sources,
    ).run()  # fmt: skip
    found = rows["minimal_position"] > 0
    assert found.any()
    assert set(rows["found_by"][found]) <= {"transfer: flex-ann", "transfer: flex-stbp"}
    alone = sweep(
        target.load(), attack, images.tensor(), images.targets(), grid, batch_size=24,
        sources=sources[:1],
    ).run()  # fmt: skip
    assert robust_at(alone, 2) >= robust_at(rows, 2)


def test_an_ensemble_passes_the_sources_to_its_members() -> None:
    ensemble = SpikingAutoAttack().with_sources(("a", "b"))
    assert ensemble.transfer.finders == ("transfer: a", "transfer: b")
    assert ensemble.source_patterns == ("*",)
    assert ensemble.model_dump() == SpikingAutoAttack().model_dump()


def test_twice_the_steps_keep_the_sources() -> None:
    attack = Transfer().with_sources(("a", "b"))
    longer = attack.lengthened(2)
    assert longer.steps == 2 * attack.steps
    assert longer.finders == attack.finders
    ensemble = SpikingAutoAttack().with_sources(("a", "b"))
    assert ensemble.lengthened(2).transfer.finders == ("transfer: a", "transfer: b")


RUN = ("--models", "digits/flex-ann", "--limit", "6", "--eps", "16/255")


def test_a_run_records_the_sources_and_their_cost(cli: Cli, tmp_path: Path) -> None:
    names = "transfer[source=vgg16-ann,steps=3],transfer[source=[vgg16-*],steps=3]"
    done = cli("run", "--attacks", names, *RUN, "--output", tmp_path, "--json")
    assert done.code == 0, done.err
    one, many = (cell["outcome"] for cell in json.loads(done.out))
    assert set(one["identity"]["sources"]) == {"digits/vgg16-ann"}
    assert {"digits/vgg16-ann", "digits/vgg16-stbp"} <= set(many["identity"]["sources"])
    assert one["identity"]["parameters"]["source"] == ["vgg16-ann"]
    assert 0 < one["source_passes"] < many["source_passes"]
    assert one["backwards"] == 0
    assert all(check["verdict"] == "valid" for check in one["checks"])
    hashes = {path.stem for path in tmp_path.rglob("*.json")}
    assert len(hashes) == 2
    again = cli("run", "--attacks", names, *RUN, "--output", tmp_path, "--dry-run")
    assert "2 of them done already" in again.out


def test_no_source_is_not_applicable(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--attacks", "transfer[source=none-*]", *RUN, "--output", tmp_path, "--json")
    assert done.code == 0
    (cell,) = json.loads(done.out)
    assert cell["status"] == "not-applicable"
    assert "sources" in cell["error"]
    assert cell["run"].get("kernels") is None  # nothing was computed


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("transfer[source=vgg16-an]", ("vgg16-an", "did you mean vgg16-ann", "digits")),
        ("transfer[source=[]]", ("source",)),
        ("transfer[surrogates=[heaviside]]", ("surrogates",)),
    ],
)
def test_a_wrong_source_is_refused(cli: Cli, tmp_path: Path, name: str, texts: tuple) -> None:
    refused(cli("run", "--attacks", name, *RUN, "--output", tmp_path / "results"), *texts)
    assert not list(tmp_path.rglob("*.json"))


PAIR = "digits/vgg16-ann,digits/flex-ann"


def test_the_matrix_is_computed_once_and_drawn(cli: Cli, tmp_path: Path) -> None:
    places = ("--results", tmp_path / "results", "--output", tmp_path / "figures")
    command = ("analyze", "transfer", "--models", PAIR, "--limit", "6", *places)
    refused(cli(*command, "--no-run"), "digits", "--no-run")
    done = cli(*command)
    assert done.code == 0, done.err
    figure = tmp_path / "figures" / "digits-transfer.png"
    assert figure.stat().st_size > 5000
    assert len(list((tmp_path / "results").rglob("*.json"))) == 4
    before = figure.read_bytes()
    again = cli(*command)
    assert "kept" in again.out
    assert figure.read_bytes() == before
    assert cli(*command, "--no-run").code == 0
    refused(cli(*command[:3], "digits/vgg16-ann", *command[4:]), "two models")


def test_a_stored_curve_of_the_protocol_serves_the_matrix(cli: Cli, tmp_path: Path) -> None:
    given = ("--models", "digits/flex-ann", "--limit", "6", "--output", tmp_path)
    assert cli("run", "--attacks", "transfer[source=vgg16-ann]", *given).code == 0
    entries = select_models(PAIR.split(","))
    (pairs,) = transfer_pairs(entries, Request(limit="6", device="cpu"), ResultStore(tmp_path))
    (result,) = pairs.stored()
    matrix = pairs.matrix([result])
    assert set(matrix.entries) == {("vgg16-ann", "flex-ann")}
    assert result.outcome is not None
    entry = matrix.entries["vgg16-ann", "flex-ann"]
    (point,) = [p for p in result.outcome.curve if p.epsilon.text == "16/255"]
    assert entry.robust == point.accuracy
    assert entry.clean == result.outcome.clean_accuracy
    assert find_attack("transfer").attack == Transfer()
