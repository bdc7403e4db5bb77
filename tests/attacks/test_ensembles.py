from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from robench.attacks import (
    APGDCE,
    APGDT,
    FABT,
    PGD,
    SPGD,
    AutoAttack,
    EnsembleAttack,
    IterativeAttack,
    SpikingAutoAttack,
    Square,
    StagedAttack,
    SurrogateAPGDT,
    Transfer,
)
from robench.attacks.contract.attack import Start, begin
from robench.datasets import DIGITS, find_dataset
from robench.engine.stages import stages_of
from robench.epsilon import parse_grid
from robench.registry import Model, find_attack, select_models
from tests.support.commands import refused
from tests.support.made_up import Builder, fall
from tests.support.sweeping import robust_at, sweep, three_alike

GRID = parse_grid(["4/255", "8/255", "16/255", "32/255"])


class Jump(IterativeAttack):
    """Moves one pixel by a distance, from a certain ε on."""

    name: ClassVar[str] = "jump"
    start: ClassVar[Start] = "cold"

    pixel: int
    distance: float
    least: float

    def init(self, view, x, y, eps, noise):
        return begin(x, 1)

    def step(self, view, x, y, eps, state, noise):
        state.steps_left = state.steps_left - 1
        moved = x.clone()
        moved[:, 0, 0, self.pixel] += self.distance * (eps >= self.least)
        return moved, state


NEAR = Jump(pixel=0, distance=0.05, least=0.05)
FAR = Jump(pixel=1, distance=0.03, least=0.09)


class Together(StagedAttack):
    @property
    def stages(self):
        return NEAR, FAR


class Apart(EnsembleAttack):
    near: Jump = NEAR
    far: Jump = FAR


@pytest.mark.parametrize("order", ["fast", "ascending", "raw"])
def test_an_ensemble_is_not_weaker_than_a_member_that_finds_more_from_above(order) -> None:
    step = nn.Linear(2, 2)  # the class changes where one step and twice the other exceed 0.045
    with torch.no_grad():
        step.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
        step.bias.copy_(torch.tensor([0.0, -1.545]))
    model = Model(nn.Sequential(nn.Flatten(), step), "digits/step", 2)
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.zeros(1, dtype=torch.int64)
    grid = parse_grid([f"0.0{k}" for k in range(1, 10)])

    def position(attack) -> int:
        rows = sweep(model, attack, x, y, grid, sweep=order).run()
        return int(rows["minimal_position"].iloc[0])

    # FAR alone descends to 0.03, where it finds nothing when started there
    alone = min(position(NEAR), position(FAR))
    assert position(Apart()) == alone
    if order == "fast":
        assert alone == 3
        assert position(Together()) == 5
    assert stages_of(Apart())[1] == {0, 1}
    assert stages_of(Together())[1] == {0}


def small() -> SpikingAutoAttack:
    return SpikingAutoAttack(
        spgd=SPGD(steps=4, pgd_steps=4),
        transfer=Transfer(steps=3),
        apgd_t=SurrogateAPGDT(steps=6, n_targets=2),
        square=Square(queries=20),
    )


def load(name: str) -> Model:
    (entry,) = select_models([name])
    return entry.load()


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("digits/flex-hybrid", "fast"),
        ("digits/vgg16-ann", "ascending"),
    ],
)
def test_spiking_autoattack_goes_on_below_what_spgd_found(name, order) -> None:
    model, sources = load(name), (load("digits/flex-ann"), load("digits/flex-stbp"))
    images = find_dataset("digits").load("test").first(3)
    x, y = images.tensor(), images.targets()

    def positions(attack) -> np.ndarray:
        # one row in each call, so that rounding does not depend on the batch
        options = {"batch_size": 1, "sweep": order, "sources": sources}
        found = sweep(model, attack, x, y, GRID, **options).run()["minimal_position"].to_numpy()
        return np.where(found == -1, len(GRID), found)

    whole = small()
    members = {one.name: positions(one) for one in whole.members}
    assert len({tuple(found) for found in members.values()}) > 1  # they differ
    assert (positions(whole) <= members["spgd"]).all()
    if order == "ascending":  # no member starts from an example
        assert (positions(whole) == np.min(list(members.values()), axis=0)).all()


def test_the_members_and_their_order() -> None:
    ours = find_attack("spiking-autoattack").attack
    assert isinstance(ours, SpikingAutoAttack)
    names = [one.name for one in ours.members]
    assert names == ["spgd", "transfer", "surrogate-apgd-t", "square"]
    assert (ours.spgd, ours.square) == (SPGD(), Square())
    assert stages_of(ours)[1] == {0}
    assert len(ours.stages) == len(SPGD().stages) + 3
    standard = find_attack("autoattack").attack
    assert isinstance(standard, AutoAttack)
    assert [one.name for one in standard.members] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert standard.apgd_ce == APGDCE(steps=100, restarts=1)
    assert standard.apgd_t == APGDT(steps=100, restarts=1, n_targets=9)
    assert standard.fab_t == FABT(steps=100, restarts=1, n_targets=9)
    assert standard.fab_t == find_attack("fab-t").attack
    assert standard.square == Square(queries=5000, p_init=0.8, rescale=False)


def test_an_ensemble_is_lengthened_by_the_steps_of_its_members() -> None:
    longer = SpikingAutoAttack().lengthened(2)
    assert (longer.spgd.steps, longer.spgd.pgd_steps, longer.apgd_t.steps) == (240, 40, 200)
    assert longer.square == Square()
    assert AutoAttack().lengthened(3).fab_t.steps == 300


def test_autoattack_has_the_closed_form_of_a_linear_model(linear) -> None:
    model = three_alike(linear, 4)
    x, y = linear.x[:12], linear.y[:12]
    attack = AutoAttack(
        apgd_ce=APGDCE(steps=15),
        apgd_t=APGDT(steps=15, n_targets=2),
        fab_t=FABT(steps=5),
        square=Square(queries=20),
    )
    grid = parse_grid(["0.01", "0.02", "0.03"])
    rows = sweep(model, attack, x, y, grid).run()
    alone = sweep(model, PGD(), x, y, grid).run()
    assert [robust_at(rows, k) for k in range(4)] == [robust_at(alone, k) for k in range(4)]
    assert rows["reverified"].all()


def test_settings_and_versions_of_the_members_are_part_of_the_identity() -> None:
    default = find_attack("spiking-autoattack")
    other = find_attack('spiking-autoattack[square={"queries":7}]')
    assert isinstance(other.attack, SpikingAutoAttack)
    assert other.attack.square.queries == 7
    assert other.attack.model_dump(mode="json")["square"] == {
        "queries": 7,
        "p_init": 0.8,
        "rescale": True,
    }
    assert find_attack(other.name).attack == other.attack
    assert f"spgd {SPGD.version}" in default.version
    assert f"fab-t {FABT.version}" in find_attack("autoattack").version


TWO_CLASSES = """
from robench import Model
from torch import nn


def pair():
    return Model(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), "digits/pair", 2)
"""


@pytest.mark.usefixtures("small_models")
def test_two_classes_are_refused_before_the_run(cli, tmp_path, monkeypatch) -> None:
    data = replace(DIGITS, classes=2)
    monkeypatch.setattr("robench.evaluation.plan.find_dataset", lambda name: data)
    Path("two_for_ensembles.py").write_text(TWO_CLASSES, "utf-8")
    given = ("--models", "two_for_ensembles:pair", "--limit", "2", "--output", tmp_path / "results")
    done = cli("run", "--attacks", "autoattack", *given)
    refused(done, "autoattack", "fewer than 4 classes", "digits/pair has 2")
    assert not list(tmp_path.rglob("*.json"))


def test_the_sources_are_part_of_the_identity(builder: Builder) -> None:
    outcome = builder.add("digits/vgg16-ann", "pgd", fall(30), mode="ann").outcome
    assert outcome is not None
    data = outcome.identity.model_dump(mode="json", by_alias=True)
    assert data["sources"] == {}
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert outcome.identity.digest() == hashlib.sha256(text.encode()).hexdigest()
    other = outcome.identity.model_copy(update={"sources": {"digits/flex-ann": "0" * 64}})
    assert other.digest() != outcome.identity.digest()
