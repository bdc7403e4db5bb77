"""Attacks of a file, ``file.py:MyAttack``: their names, their versions, and what is refused."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from torch import nn

import robench
from robench.attacks import PGD
from robench.errors import UsageError
from robench.registry import find_attack
from tests.support.commands import Cli, refused

FILE = """
import sys
from dataclasses import dataclass

import torch
from robench import DirectAttack, IterativeAttack, LineAttack
from robench.attacks import PGD, State

HANDLE = sys.stdout
LEVEL = 0.5


def level():
    return LEVEL


class Grey(DirectAttack):
    '''Grey all over.'''

    share: float = 1.0

    def run(self, view, x, y, eps, noise):
        return x + self.share * (level() - x)


class Named(Grey):
    name = "to-grey"


class Taken(Grey):
    name = "pgd"


class MyPGD(PGD):
    pass


class Odd(Grey):
    name = "a b"


class Unhashable(Grey):
    def run(self, view, x, y, eps, noise):
        HANDLE.write("")
        return x


class Versioned(Unhashable):
    version = 3


class Abstract(DirectAttack):
    pass


class Failing(Grey):
    def run(self, view, x, y, eps, noise):
        raise ValueError("not today")


attack = Named()
"""
RUN = ("run", "--models", "digits/vgg16-ann", "--limit", "4", "--eps", "8/255", "--output", "out")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # its time has seconds only
    write(tmp_path, monkeypatch, FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "own_attacks.py").write_text(text, "utf-8")
    monkeypatch.delitem(sys.modules, "own_attacks", raising=False)


def test_an_attack_has_the_name_of_its_class_and_takes_parameters() -> None:
    grey = find_attack("own_attacks.py:Grey")
    assert (grey.name, grey.implementation, grey.description) == ("grey", "grey", "Grey all over.")
    assert find_attack("./own_attacks.py:Named[share=0.5]").name == "to-grey[share=0.5]"
    assert find_attack("own_attacks.py:Named[share=1.0]").name == "to-grey"
    assert find_attack("own_attacks.py:MyPGD[steps=3,frames=shared]").shared
    assert find_attack("own_attacks.py:MyPGD").name == "my-pgd"


def test_python_takes_classes_and_attacks_with_parameters() -> None:
    sys.path.insert(0, "")
    try:
        module = importlib.import_module("own_attacks")
    finally:
        sys.path.remove("")
    asked = [module.Grey(share=0.5), module.Named, PGD(steps=3), PGD]
    result = robench.evaluate("digits/vgg16-ann", asked, limit=4, eps="8/255", store="out")
    known = {cell.attack: cell.hash for cell in result.cells}
    written = "own_attacks.py:Grey[share=0.5],own_attacks.py:Named,pgd[steps=3],pgd"
    again = robench.evaluate("digits/vgg16-ann", written, limit=4, eps="8/255", store="out")
    assert {cell.attack: cell.hash for cell in again.cells} == known
    assert set(known) == {"grey[share=0.5]", "to-grey", "pgd[steps=3]", "pgd"}
    alone = robench.evaluate("digits/vgg16-ann", module.Named(), limit=4, eps="8/255", store="out")
    assert alone.cells[0].hash == known["to-grey"]
    for wrong in (3, [nn.Linear], None):
        with pytest.raises(UsageError, match="give names"):
            robench.evaluate("digits/vgg16-ann", wrong, limit=4, store="out")  # type: ignore[arg-type]


def test_an_attack_of_a_file_is_run_and_continues(cli: Cli) -> None:
    attacks = ("--attacks", "own_attacks.py:Grey[share=0.5],own_attacks.py:Failing,fgsm")
    done = cli(*RUN, *attacks)
    assert done.code == 1
    assert "ValueError: not today (own_attacks.py:" in done.out
    cells = {}
    for path in Path("out").rglob("*.json"):
        cell = json.loads(path.read_text("utf-8"))
        cells[cell["attack"]] = cell
    assert set(cells) == {"grey[share=0.5]", "failing", "fgsm"}
    assert cells["grey[share=0.5]"]["outcome"]["identity"]["attack_version"].startswith("1 (code ")
    again = cli(*RUN, *attacks)
    assert "3 cells, 2 of them done already" in again.out
    named = robench.evaluate(
        "digits/vgg16-ann", ["own_attacks.py:Grey[share=0.5]"], limit=4, eps="8/255", store="out"
    )
    assert named.cells[0].hash == cells["grey[share=0.5]"]["hash"]


def test_workers_compute_an_attack_of_a_file(cli: Cli) -> None:
    done = cli(*RUN, "--attacks", "own_attacks.py:Grey,own_attacks.py:MyPGD", "--jobs", "2")
    assert done.code == 0, done.out + done.err


CHANGES = {
    "a constant": ("LEVEL = 0.5", "LEVEL = 0.6", True),
    "a function": ("return LEVEL", "return LEVEL * 1.0", True),
    "a method": ("(level() - x)", "(level() - x * 1)", True),
    "the version": ("share: float", "version = 2\n    share: float", True),
    "a comment": ("LEVEL = 0.5", "LEVEL = 0.5  # grey", False),
    "another class": ('name = "to-grey"', 'name = "grey-to"', False),
    "a line above": ("import sys", "\n\nimport sys", False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_version_changes_with_the_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    old, new, differs = CHANGES[change]
    before = find_attack("own_attacks.py:Grey").version
    assert find_attack("own_attacks.py:Grey[share=0.3]").version == before
    write(folder, monkeypatch, FILE.replace(old, new, 1))
    assert (find_attack("own_attacks.py:Grey").version != before) == differs


def test_code_that_cannot_be_hashed_needs_a_version(cli: Cli) -> None:
    refused(cli(*RUN, "--attacks", "own_attacks.py:Unhashable"), "cannot be hashed", "version = 1")
    assert find_attack("own_attacks.py:Versioned").version == "3"


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("own_attacks.py:Gray", ("has no attribute 'Gray'", "did you mean Grey")),
        ("nothing.py:Grey", ("there is no file nothing.py",)),
        ("own_attacks.py:level", ("is not a subclass of robench.Attack",)),
        ("own_attacks.py:attack", ("is not a subclass of robench.Attack",)),
        ("own_attacks.py:Taken", ("called 'pgd', as another one", "name = 'my-pgd'")),
        ("own_attacks.py:Odd", ("is called 'a b'",)),
        ("own_attacks.py:Abstract", ("cannot be made", "abstract")),
        ("own_attacks.py:Grey[shar=1.0]", ("no parameter shar", "did you mean share")),
        ("own_attacks.py:Grey[share=many]", ("share", "valid number")),
        ("own_attacks.py:Grey[share=1.0", ("brackets do not match",)),
    ],
)
def test_what_is_refused_is_one_line(cli: Cli, text: str, texts: tuple[str, ...]) -> None:
    refused(cli(*RUN, "--attacks", text), *texts)


def test_two_attacks_of_one_name_are_refused(cli: Cli, folder: Path) -> None:
    (folder / "more_attacks.py").write_text(FILE.replace("0.5", "0.6"), "utf-8")
    done = cli(*RUN, "--attacks", "own_attacks.py:Grey,more_attacks.py:Grey")
    refused(done, "two attacks are called grey")
