"""What is published in ``results/``, held to what its attacks promise."""

import numpy as np
import pytest

from robench.results import CLEAN_WRONG, ROBUST, CellResult, ResultStore
from tests.support.checkpoints import ROOT

STORE = ResultStore(ROOT / "results")
CELLS = {(cell.model, cell.attack): cell for cell in STORE.cells()[0]}
MODELS = sorted(
    model
    for (model, attack), cell in CELLS.items()
    if attack == "spgd" and cell.outcome is not None and not cell.outcome.control
)


def positions(cell: CellResult) -> np.ndarray:
    """Where each sample broke, beyond the grid where it held."""
    found = STORE.rows(cell).set_index("index")["minimal_position"].sort_index()
    return np.where(found == ROBUST, np.inf, found)


@pytest.mark.parametrize("model", MODELS)
def test_spgd_is_weaker_than_pgd_on_no_sample(model: str) -> None:
    spgd, pgd = (positions(CELLS[model, attack]) for attack in ("spgd", "pgd"))
    assert len(spgd) == len(pgd)
    assert (spgd <= pgd).all()
    assert ((spgd == CLEAN_WRONG) == (pgd == CLEAN_WRONG)).all()
