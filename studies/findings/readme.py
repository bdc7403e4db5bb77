"""The part of the README that shows results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from robench.errors import UsageError
from studies.findings.claims import Claim
from studies.findings.headline import (
    Cells,
    at_headline,
    attacked_table,
    headline_of,
    lost_at_once,
    smallest,
)
from studies.findings.stores import Stores
from studies.pages import render

DATASET = "cifar10"
BEGIN, END = "<!-- from results/, by python -m studies findings -->", "<!-- end of the results -->"


def with_results(text: str, stores: Stores, claims: Sequence[Claim], gradients: Path) -> str:
    """The text of the README with the present results.

    Args:
        text: the README.
        stores: the results.
        claims: the claims with their evidence.
        gradients: the table of ``python -m studies gradients``.

    Raises:
        UsageError: the README has no place for them, or a result is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"README: there are no lines {BEGIN} and {END}")
    cells = at_headline(stores, DATASET)
    single = pd.read_csv(gradients)
    part = render(
        "readme",
        epsilon=headline_of(DATASET).text,
        board=attacked_table(cells, ("fgsm", "pgd", "spgd", "spiking-autoattack")),
        has=lambda model: f"{DATASET}/{model}" in cells,
        left=lambda model, attack: _left(cells, f"{DATASET}/{model}", attack),
        through=lambda model, name: _through(single, f"{DATASET}/{model}", name),
        images=lambda model: _images(single, f"{DATASET}/{model}"),
        smallest=smallest(),
        lost=lambda model, attack: _percent(lost_at_once(stores, model, attack)),
        claims=claims,
    )
    return f"{before}{BEGIN}\n{part}\n{END}{after}"


def _left(cells: Cells, model: str, attack: str) -> str:
    left = cells.get(model, {}).get(attack)
    if left is None:
        raise UsageError(f"there is no result of {attack} on {model}")
    return _percent(left.accuracy)


def _through(table: pd.DataFrame, model: str, surrogate: str) -> str:
    """What PGD through a surrogate leaves, by the study of single gradients."""
    row = table[(table["model"] == model) & (table["surrogate"] == surrogate)].iloc[0]
    return _percent(row["robust"] / row["samples"])


def _images(table: pd.DataFrame, model: str) -> int:
    """On how many images that study attacked a model."""
    return int(table[table["model"] == model]["samples"].iloc[0])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
