"""The published results in ``results/``."""

import numpy as np
import pytest

from robench.registry import find_attack
from robench.results import CLEAN_WRONG, ROBUST, CellResult, ResultStore
from tests.support.checkpoints import ROOT

STORE = ResultStore(ROOT / "results")
CELLS = {(cell.model, cell.attack): cell for cell in STORE.cells()[0]}
SIX = ("flex-ann", "flex-hybrid", "flex-stbp", "vgg16-ann", "vgg16-hybrid", "vgg16-stbp")
HARDENED = ("flex-ann-at", "flex-stbp-at", "vgg16-ann-at", "vgg16-stbp-at")
NAMES = {
    "cifar10": (*SIX, *HARDENED),
    "digits": (*SIX, "control-random-mask", "control-zero-gradient"),
    "mnist": SIX,
}
MODELS = [f"{dataset}/{name}" for dataset, names in NAMES.items() for name in names]
HONEST = [model for model in MODELS if "/control-" not in model]


def positions(cell: CellResult) -> np.ndarray:
    """The minimal position of each sample, infinite for a robust one."""
    found = STORE.rows(cell).set_index("index")["minimal_position"].sort_index()
    return np.where(found == ROBUST, np.inf, found)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "spgd"])
def test_each_model_has_a_result(attack: str) -> None:
    done = {model: cell for (model, of), cell in CELLS.items() if of == attack and cell.outcome}
    assert sorted(done) == sorted(MODELS)
    assert {model for model, cell in done.items() if cell.outcome.control} == {
        model for model in MODELS if model not in HONEST
    }


def test_the_attacks_are_those_of_the_code() -> None:
    published = {
        (cell.attack, cell.outcome.identity.attack_version)
        for cell in CELLS.values()
        if cell.outcome
    }
    assert {"fgsm", "pgd", "spgd"} <= {attack for attack, _ in published}
    assert published == {(attack, find_attack(attack).version) for attack, _ in published}


@pytest.mark.parametrize("model", HONEST)
def test_spgd_is_weaker_than_pgd_on_no_sample(model: str) -> None:
    spgd, pgd = (positions(CELLS[model, attack]) for attack in ("spgd", "pgd"))
    assert len(spgd) == len(pgd)
    assert (spgd <= pgd).all()
    assert ((spgd == CLEAN_WRONG) == (pgd == CLEAN_WRONG)).all()
