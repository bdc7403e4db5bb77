"""What a reader has to know of the numbers of a claim, in words."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

from robench.datasets import find_dataset
from robench.results import Analysis
from studies.findings.stores import DATASETS, MODES, SPIKING, Stores, pairs

ENSEMBLE = "spiking-autoattack"
"""The strongest attack, which runs at the headline ε alone."""


def crossed(stores: Stores) -> str:
    """On which pairs the AUC and the ensemble's share differ in opposite directions, in words."""
    found = []
    for table, mode, plain, flex, _ in pairs(stores):
        both = flex, plain
        known = all("spgd" in row.entries and ENSEMBLE in row.at_headline for row in both)
        if mode in SPIKING and known:
            areas = [row.entries["spgd"].auc.value for row in both]
            left = [row.at_headline[ENSEMBLE].accuracy.value for row in both]
            if (areas[0] - areas[1]) * (left[0] - left[1]) < 0:
                found.append(f"{mode} networks of {table.dataset.title}")
    if not found:
        return ""
    return (
        f"On {' and '.join(found)} one network has the higher AUC and the other the larger share "
        "at the headline ε: there the answer depends on ε."
    )


def what_ensembles_find(stores: Stores) -> str:
    """By how much the ensemble beats a valid ``spgd`` at most, in words."""
    gaps = []
    for name in DATASETS:
        table = stores.table(name)
        for row in table.rows if table is not None else ():
            spgd, ensemble = row.entries.get("spgd"), row.at_headline.get(ENSEMBLE)
            if table is None or spgd is None or ensemble is None or spgd.verdict != "valid":
                continue
            left = next(p.accuracy for p in spgd.curve if p.epsilon.value == table.headline.value)
            short = row.model.partition("/")[2]
            gaps.append((left - ensemble.accuracy.value, f"{table.dataset.title}'s `{short}`"))
    if not gaps:
        return ""
    gap, where = max(gaps)
    return (
        "Where `spgd` is *valid*, the ensemble at the headline ε still leaves up to "
        f"{100 * gap:.1f} points less ({where}). The AUC of the ANN is taken as exact."
    )


def masks(found: Mapping[str, Analysis]) -> str:
    """What the masks take of the energy of FLEX, in words."""
    parts = []
    for dataset in DATASETS:
        costs = []
        for mode in MODES:
            if (of := found.get(f"{dataset}/flex-{mode}")) is not None:
                rows = of.summary["clean"]["operations"]
                pj = sum(row["energy"] for row in rows if row["layer"].endswith(".mask"))
                costs.append(f"{mode} {pj * 1e-6:.2f}")
        if costs:
            parts.append(f"{find_dataset(dataset).title} {', '.join(costs)}")
    text = (
        "Of the energy of FLEX the masks take, at four multiplications for each unit and step, in "
        f"µJ: {'; '.join(parts)}. No other product of elements is counted "
        "([activity](activity.md))."
    )
    return fill(text, 118, break_on_hyphens=False)
