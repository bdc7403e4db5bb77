"""Edge cases of the attacks, from the command line to the stored cell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robench.datasets import DIGITS, Images
from robench.engine.chunk import Chunk
from robench.engine.sweep import ChunkSweep
from robench.epsilon import parse_grid
from robench.errors import EvaluationError, UsageError
from robench.registry import Model, find_attack
from robench.results import CLEAN_WRONG, ROBUST, ResultStore

ATTACKS = (
    "fgsm,pgd[steps=3],spgd[steps=3,pgd_steps=3],sapgd[steps=3],apgd-ce[steps=3],"
    "apgd-dlr[steps=3],apgd-t[steps=2],fab-t[steps=2],square[queries=5],noise[draws=2],"
    "ddn[steps=3],pgd-l2[steps=3],foolbox:LinfPGD[steps=3],advertorch:LinfPGDAttack[nb_iter=3]"
)
COUNT = 14
SEVERAL = "pgd[steps=3],apgd-t[steps=2],fab-t[steps=2],square[queries=5],ddn[steps=3]"

MODELS = """
import torch
from torch import nn
from robench import Model
import smallmodels


class Negative(nn.Module):
    def forward(self, x):
        return -x


def wrong():
    net = nn.Sequential(smallmodels.small().module, Negative())
    return Model(net, "digits/wrong", 10)


def grey():
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(10, 1024, generator=generator))
    return Model(net, "digits/grey", 10)
"""

pytestmark = pytest.mark.usefixtures("small_models")


def run(cli, root: Path, model: str, attacks: str, limit: int, *more: str, code: int = 0) -> list:
    Path("edgemodels.py").write_text(MODELS, "utf-8")
    given = ("--models", model, "--attacks", attacks, "--limit", str(limit))
    done = cli("run", *given, "--output", root, *more, "--json")
    assert done.code == code, done.err
    assert "Traceback" not in done.out + done.err
    return json.loads(done.out)


def rows_of(root: Path, model: str) -> dict:
    """The stored rows of a model's done cells by attack."""
    store = ResultStore(root)
    cells, damaged = store.cells()
    assert not damaged
    return {
        cell.attack: store.rows(cell)
        for cell in cells
        if cell.model == model and cell.status == "done"
    }


def test_a_batch_of_one_and_a_last_part_of_a_batch(cli, tmp_path) -> None:
    for size in ("1", "3"):  # four samples: the last batch has one
        more = ("--eps", "16/255,1", "--batch-size", size)
        run(cli, tmp_path / size, "smallmodels:small", ATTACKS, 4, *more)
    alone, parts = (rows_of(tmp_path / size, "digits/small") for size in ("1", "3"))
    assert len(alone) == COUNT
    for attack, expected in alone.items():
        assert expected["reverified"].all()
        for column in ("minimal_position", "forwards", "backwards"):
            assert parts[attack][column].tolist() == expected[column].tolist(), attack


def test_one_sample(cli, tmp_path) -> None:
    cells = run(cli, tmp_path, "smallmodels:small", SEVERAL, 1, "--eps", "1")
    assert all(cell["outcome"]["identity"]["samples"] == 1 for cell in cells)
    assert all(len(rows) == 1 for rows in rows_of(tmp_path, "digits/small").values())


def test_no_sample_stays_robust(cli, tmp_path) -> None:
    attacks = "fgsm,pgd[steps=3],apgd-ce[steps=3],apgd-t[steps=2],fab-t[steps=2]"
    cells = run(cli, tmp_path, "smallmodels:small", attacks, 7, "--eps", "0.9,1")
    for cell in cells:
        outcome = cell["outcome"]
        assert [point["accuracy"] for point in outcome["curve"][1:]] == [0.0, 0.0]
        assert outcome["clean_accuracy"] > 0
        assert outcome["reverified"] == 1.0
        assert outcome["verdict"] == "valid"
    for rows in rows_of(tmp_path, "digits/small").values():
        assert rows["minimal_position"].isin((0, 1)).all()


class Picky(torch.nn.Module):
    """A classifier that cannot flatten an empty batch, like most hand-written ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        brightness = x.view(x.size(0), -1).mean(1)
        return torch.stack([brightness, 1 - brightness], 1)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "noise", "apgd-ce", "square[queries=5]"])
@pytest.mark.parametrize("wrong", [False, True], ids=["all robust", "all misclassified"])
def test_no_model_is_called_on_an_empty_batch(name: str, wrong: bool) -> None:
    model = Model(Picky(), "digits/picky", 2)
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.2
    y = model.logits(x).argmax(1)
    chunk = Chunk(x, 1 - y if wrong else y, range(len(x)))
    grid = parse_grid(["0.001"])
    rows = ChunkSweep(model, find_attack(name).attack, chunk, grid, seed=0, batch_size=4).run()
    assert (rows["minimal_position"] == (CLEAN_WRONG if wrong else ROBUST)).all()


def test_every_sample_is_misclassified_without_an_attack(cli, tmp_path) -> None:
    cells = run(cli, tmp_path, "edgemodels:wrong", ATTACKS, 7, "--eps", "8/255,16/255,32/255")
    assert len(cells) == COUNT
    for cell in cells:
        outcome = cell["outcome"]
        assert outcome["clean_accuracy"] == 0.0
        assert {point["accuracy"] for point in outcome["curve"]} == {0.0}
        assert set(outcome["auc"].values()) <= {0.0}
        assert (outcome["forwards"], outcome["backwards"]) == (1.0, 0.0)
        assert outcome["verdict"] == "valid"
    for rows in rows_of(tmp_path, "digits/wrong").values():
        assert (rows["minimal_position"] == 0).all()


def test_nan_logits_fail_only_their_own_cells(cli, tmp_path) -> None:
    models = "smallmodels:nan,smallmodels:small"
    cells = run(cli, tmp_path, models, SEVERAL, 5, "--eps", "8/255", code=1)
    bad = [cell for cell in cells if cell["model"] == "digits/nan"]
    good = [cell for cell in cells if cell["model"] == "digits/small"]
    assert len(bad) == len(good) == 5
    assert all(cell["status"] == "failed" for cell in bad)
    assert all("logits that are NaN or infinite" in cell["error"] for cell in bad)
    assert all(cell["status"] == "done" for cell in good)


def test_one_channel(cli, tmp_path, monkeypatch) -> None:
    def grey(split):
        images = DIGITS.load(split)
        return Images(np.ascontiguousarray(images.images[:, :1]), images.labels)

    data = replace(DIGITS, shape=(1, 32, 32), load=grey)
    monkeypatch.setattr("robench.evaluation.plan.find_dataset", lambda name: data)
    attacks = f"fgsm,spgd[steps=3,pgd_steps=3],apgd-ce[steps=3],{SEVERAL}"
    cells = run(cli, tmp_path, "edgemodels:grey", attacks, 40, "--eps", "16/255", "--keep-examples")
    assert len(cells) == 8
    assert all(cell["status"] == "done" for cell in cells)
    found = rows_of(tmp_path, "digits/grey")
    for attack in ("fgsm", "apgd-ce[steps=3]", "fab-t[steps=2]"):
        assert (found[attack]["minimal_position"] == 1).any()
    store = ResultStore(tmp_path)
    shapes = [store.examples(cell).images.shape[1:] for cell in store.cells()[0]]
    assert set(shapes) == {(1, 32, 32)}


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, float("nan")])
def test_images_outside_the_box_are_refused(value) -> None:
    x = torch.rand(3, 1, 2, 2)
    x[1, 0, 0, 1] = value
    with pytest.raises(EvaluationError, match=r"do not lie in \[0, 1\]"):
        Chunk(x, torch.zeros(3, dtype=torch.int64), range(3))


def test_images_of_a_data_set_outside_the_box_are_refused() -> None:
    with pytest.raises(UsageError, match=r"images must be in \[0, 1\]"):
        Images(np.full((2, 1, 2, 2), 1.5, np.float32), np.zeros(2, np.int64))
