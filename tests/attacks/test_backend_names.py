"""Attacks of other libraries on the command line: names, parameters, lists and refusals."""

from __future__ import annotations

import json
import sys

import pytest

from robench.attacks.backends import LIBRARIES
from robench.registry import find_attack
from tests.support.commands import refused


def test_the_identity_names_library_version_and_all_parameters() -> None:
    named = find_attack("foolbox:LinfPGD[steps=7]")
    assert named.name == "foolbox:LinfPGD[steps=7]"
    assert named.implementation == "foolbox:LinfProjectedGradientDescentAttack"
    assert LIBRARIES["foolbox"].version in named.version
    assert named.attack.model_dump(mode="json") == {
        "attack": "LinfProjectedGradientDescentAttack",
        "parameters": {
            "rel_stepsize": 0.03333333333333333,
            "abs_stepsize": None,
            "steps": 7,
            "random_start": True,
        },
    }
    step = find_attack("advertorch:LinfPGDAttack").attack.model_dump()["parameters"]
    assert step["relative_eps_iter"] == pytest.approx(0.01 / 0.3)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("foolbox:LinfPDG", ("foolbox:LinfPDG", "did you mean foolbox:", "foolbox:LinfPGD")),
        ("foolbox:LinfPGD[step=3]", ("step", "did you mean steps", "parameters:")),
        ("foolbox:LinfPGD[steps=many]", ("steps", "int", "many")),
        ("foolbox:LinfPGD[random_start=1]", ("random_start", "bool")),
        ("foolbox:LinfPGD[rel_stepsize=true]", ("rel_stepsize", "number")),
        ("foolbox:L1PGD", ("L1", "no sweep")),
        ("foolbox:VirtualAdversarialAttack", ("number of steps",)),
        ("foolbox:L2BrendelBethgeAttack", ("decision-based",)),
        ("advertorch:LBFGSAttack", ("target class",)),
        ("foolbox:LinfPGD[rel_stepsize=NaN]", ("rel_stepsize", "finite")),
        ("foolbox:LinfPGD[steps=-3]", ("foolbox:LinfPGD[steps=-3]", "no gradient")),
        ("foolbox:LinfPGD[steps=0]", ("no gradient",)),
        ("advertorch:LinfPGDAttack[nb_iter=-1]", ("nb_iter=-1", "no gradient")),
        ("advertorch:LinfPGDAttack[eps_iter=-1]", ("parameters", "AssertionError of advertorch")),
        ("advertorch:LinfPGDAttack[relative_eps_iter=NaN]", ("relative_eps_iter", "finite")),
        ("advertorch:LinfSPSAAttack[nb_iter=0]", ("nb_iter=0", "clean one")),
        ("advertorch:LinfSPSAAttack[nb_sample=0]", ("nb_sample=0", "NaN")),
        ("foolbox:LinfRepeatedAdditiveUniformNoiseAttack[repeats=0]", ("clean one",)),
        ("foolbox:LinfDeepFoolAttack[loss=foo]", ("loss=foo", "logits")),
        ("foolbox:LinfDeepFoolAttack[candidates=1]", ("candidates=1", "classes")),
        ("fab[n_iter=0]", ("attack fab[n_iter=0]:", "no gradient")),
        ("fab[n_iter=abc]", ("attack fab[n_iter=abc]:", "n_iter")),
        ("foolbox:GenAttack", ("target class",)),
        ("foolbox:HopSkipJumpAttack", ("decision-based",)),
        ("foolbox:DatasetAttack", ("data set",)),
        ("foolbox:EADAttack", ("L1",)),
        ("advertorch:JSMA", ("target class",)),
        ("advertorch:SinglePixelAttack", ("L0",)),
        ("advertorch:LinfPGDAttack[eps=0.1]", ("eps", "parameters:")),
        ("advertorh:LinfPGDAttack", ("unknown attack",)),
    ],
)
def test_an_attack_that_cannot_run_is_refused_before_the_run(cli, tmp_path, name, texts) -> None:
    given = ("--models", "digits/vgg16-ann", "--limit", "2", "--output", tmp_path / "results")
    refused(cli("run", "--attacks", name, *given), *texts)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "name",
    [
        "foolbox:LinfPGD[steps=1]",
        "foolbox:LinfPGD[steps=1000000000]",
        "foolbox:MIFGSM[steps=1]",
        "foolbox:LinfDeepFoolAttack[candidates=2,loss=crossentropy]",
        "foolbox:LinfRepeatedAdditiveUniformNoiseAttack[repeats=1]",
        "advertorch:LinfSPSAAttack[nb_iter=1,nb_sample=2]",
        "fab[n_iter=1]",
    ],
)
def test_a_trial_accepts_sound_parameters(name) -> None:
    assert find_attack(name).name.partition("[")[0] == name.partition("[")[0]


def listed(cli) -> dict[str, dict[str, str]]:
    return {row["attack"]: row for row in json.loads(cli("list", "attacks", "--all", "--json").out)}


def test_the_list_shows_the_attacks_of_each_library(cli) -> None:
    rows = listed(cli)
    assert rows["foolbox:LinfDeepFoolAttack"]["source"].startswith("foolbox 3")
    assert "LinfPGD" in rows["foolbox:LinfProjectedGradientDescentAttack"]["description"]
    assert rows["foolbox:LinfDeepFoolAttack"]["state"] == "ready"
    assert rows["foolbox:L2DeepFoolAttack"]["state"] == "ready"
    assert rows["advertorch:CarliniWagnerL2Attack"]["state"] == "ready"
    refused = rows["foolbox:EADAttack"]
    assert refused["state"] == "cannot run"
    assert "L1" in refused["description"]
    assert rows["advertorch:LinfPGDAttack"]["description"]
    assert all(row["description"] for name, row in rows.items() if ":" in name)


@pytest.mark.parametrize("library", ["foolbox", "advertorch"])
def test_a_missing_library_is_refused(cli, tmp_path, monkeypatch, library) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Absent(library), *sys.meta_path])
    name = f"{library}:FGSM"
    given = ("--models", "digits/vgg16-ann", "--limit", "2", "--output", tmp_path / "results")
    refused(cli("run", "--attacks", name, *given), f"pip install {library}")
    rows = listed(cli)
    assert "pip install" in rows[f"{library}:*"]["state"]
    assert "pgd" in rows


class Absent:
    """An import system in which one package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self.package)


@pytest.mark.usefixtures("small_models")
def test_a_run_with_both_libraries(cli, tmp_path) -> None:
    names = "fgsm,foolbox:LinfDeepFoolAttack,advertorch:LinfPGDAttack[nb_iter=40]"
    given = ("--models", "smallmodels:small", "--limit", "13", "--batch-size", "5")
    command = ("run", "--attacks", names, *given, "--eps", "8/255,64/255", "--output", tmp_path)
    done = cli(*command, "--json")
    assert done.code == 0
    cells = json.loads(done.out)
    assert [cell["status"] for cell in cells] == ["done"] * 3
    for cell in cells[1:]:
        identity = cell["outcome"]["identity"]
        library = identity["implementation"].partition(":")[0]
        assert LIBRARIES[library].version in identity["attack_version"]
        assert cell["outcome"]["backwards"] > 0
        assert cell["outcome"]["curve"][-1]["accuracy"] < cell["outcome"]["clean_accuracy"]
        assert [c for c in cell["outcome"]["checks"] if c["verdict"] != "valid"] == []
    assert "3 of them done already" in cli(*command, "--dry-run").out
