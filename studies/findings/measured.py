"""The evidence on each claim, from what is stored of pairs that were trained alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robench.analysis.landscape import RADII
from robench.analysis.measuring import newest
from robench.datasets import find_dataset
from robench.reporting.report import AtHeadline, Entry, Row, Table
from robench.results import CLEAN_WRONG, ROBUST, Analysis, AnalysisStore
from robench.results.metrics import sample_areas
from studies.findings.claims import Claim, Evidence, nothing_left
from studies.findings.notes import ENSEMBLE, crossed, masks, what_ensembles_find
from studies.findings.stability import stability
from studies.findings.stores import (
    ANNS,
    DATASETS,
    MODES,
    SPIKING,
    Stores,
    attacked_otherwise,
    pairs,
    unlike,
)
from studies.findings.trainings import over_trainings

SPGD = ("spgd", "spgd-long")
"""Of growing length."""
ATTACKS = ("fgsm", "pgd", *SPGD)
MARGIN = 0.1
"""Share of the AUC of an ANN that a comparable network may lack."""
RADIUS = max(RADII)
"""ρ of the sharpness that decides."""


def find_claims(stores: Stores) -> list[Claim]:
    """Each claim of the source with its evidence."""
    activity, landscapes = (_by_model(stores.analyses, kind) for kind in ("activity", "landscape"))
    spikes, energy = "clean.spikes", "clean.energy"
    return [
        Claim(
            "Accuracy", "FLEX is more accurate than VGG16 in every mode.",
            "clean accuracy, %; differences in points", 1, 100, 1, list(_accuracy(stores)),
            "Longer trainings, wider networks, or other seeds.",
        ),
        Claim(
            "Stability of training", "FLEX trains more stably.",
            "mean fall of the test accuracy from an epoch to the next one, points", -1, 100, 2,
            list(_stability(stores)),
            "More trainings of each network.",
            note="A hybrid is trained as an ANN with quantised activations, so its falls are not "
            "those of a spiking network.",
        ),
        Claim(
            "Robustness of spiking networks",
            "Spiking networks with FLEX are more robust than those without.",
            f"AUC, and the share that the ensemble {ENSEMBLE} leaves", 1, 1, 3,
            list(_robustness(stores)),
            "A stronger attack, which lowers both numbers, or more trainings on attacked images.",
            note=crossed(stores),
        ),
        Claim(
            "Beside the ANNs", "Spiking networks with FLEX are as robust as ANNs.",
            f"AUC under spgd, % of that of the ANN; at most {MARGIN:.0%} less", 1, 100, 1,
            list(_beside_anns(stores)),
            "Another margin, another T, or a stronger attack.",
            margin=MARGIN, note=what_ensembles_find(stores),
        ),
        Claim(
            "Sparsity", "Spiking networks with FLEX are sparser.",
            "spikes of an image, thousands", -1, 1e-3, 1,
            list(_per_image(stores, activity, spikes, SPIKING)),
            "A penalty on spikes in training.",
        ),
        Claim(
            "Energy", "Networks with FLEX are cheaper.",
            "energy of the operations for an image, without memory, µJ", -1, 1e-6, 2,
            list(_per_image(stores, activity, energy, MODES)),
            "Fewer products of real numbers, as with binary masks, or hardware on which they are "
            "cheap.",
            note=masks(activity),
        ),
        Claim(
            "Flatness", "Networks with FLEX have a flatter loss over the weights.",
            f"S({RADIUS:g}), nats", -1, 1, 2, list(_sharpness(stores, landscapes, RADIUS)),
            "More directions, or another measure of sharpness.",
            note=f"{_shorter(stores, landscapes)} {_not_measured(stores, landscapes)}".strip(),
        ),
    ]  # fmt: skip


def _accuracy(stores: Stores) -> Iterator[Evidence]:
    for table, mode, plain, flex, why in pairs(stores):
        values = [_right(stores, row) for row in (flex, plain)]
        yield Evidence.of(table.dataset.title, mode, values, why)
        yield from over_trainings(stores.trainings, table.dataset.name, mode, "clean")


def _right(stores: Stores, row: Row) -> NDArray[np.float64]:
    """Which images are classified correctly without attack."""
    positions = stores.tables.positions(next(iter(row.entries.values())).hash)
    right: NDArray[np.float64] = (positions != CLEAN_WRONG).astype(np.float64)
    return right


def _robustness(stores: Stores) -> Iterator[Evidence]:
    for table, mode, plain, flex, why in pairs(stores):
        if mode not in SPIKING:
            continue
        for attack in _common(plain, flex):
            what = f"{mode}, {attack}"
            yield _of_attacks(stores, table, what, (attack, attack), (flex, plain), why)
        if all(ENSEMBLE in row.at_headline for row in (plain, flex)):
            alone = [row.at_headline[ENSEMBLE] for row in (flex, plain)]
            left = [
                (stores.tables.positions(one.hash) == ROBUST).astype(np.float64) for one in alone
            ]
            what = f"{mode}, ensemble at {table.headline}"
            against = why or _bad((flex, plain), alone) or nothing_left(left)
            yield Evidence.of(table.dataset.title, what, left, against)
        yield from over_trainings(stores.trainings, table.dataset.name, mode, "robust")


def _common(one: Row, other: Row) -> list[str]:
    """The attacks of the claims that two rows have."""
    return [attack for attack in ATTACKS if attack in one.entries and attack in other.entries]


def _longest(rows: tuple[Row, Row]) -> tuple[str, ...]:
    """The longest ``spgd`` of each row; where it is not needed, the shorter one stands for it."""
    common = [a for a in SPGD if all(a in row.entries or a in row.not_needed for row in rows)]
    return tuple(common[-1] if common[-1] in row.entries else SPGD[0] for row in rows if common)


def _of_attacks(
    stores: Stores,
    table: Table,
    what: str,
    attacks: Sequence[str],
    rows: tuple[Row, Row],
    why: str,
    *,
    relative: bool = False,
) -> Evidence:
    """The difference of the AUC of the first row from that of the second, or its share of that."""
    entries = [row.entries[attack] for row, attack in zip(rows, attacks, strict=True)]
    areas = [_areas(stores, table, entry) for entry in entries]
    numbers = [entry.auc.value for entry in entries]  # as the leaderboard rounds them
    if relative and (whole := numbers[1]) > 0:
        areas = [area / whole for area in areas]
        numbers = [number / whole for number in numbers]
    found = Evidence.of(table.dataset.title, what, areas, why or _bad(rows, entries))
    difference = replace(found.difference, first=numbers[0], second=numbers[1])
    return replace(found, difference=difference)


def _bad(rows: Sequence[Row], results: Sequence[Entry | AtHeadline]) -> str:
    """Which numbers are not valid."""
    return ", ".join(
        f"{row.model.partition('/')[2]} {result.verdict}"
        for row, result in zip(rows, results, strict=True)
        if result.verdict != "valid"
    )


def _areas(stores: Stores, table: Table, entry: Entry) -> NDArray[np.float64]:
    values = [epsilon.value for epsilon in table.grid]
    positions = stores.tables.positions(entry.hash)
    areas: NDArray[np.float64] = sample_areas(positions, values, table.limit.value)
    return areas


def _beside_anns(stores: Stores) -> Iterator[Evidence]:
    for table, mode, _, flex, why in pairs(stores):
        rows = {row.model.partition("/")[2]: row for row in table.rows}
        ann = ANNS[mode.endswith("-at")]
        for name in (f"vgg16-{ann}", f"flex-{ann}") if mode in SPIKING else ():
            other = rows.get(name)
            if other is None or not (attacks := _longest((flex, other))):
                continue
            dataset, what = table.dataset.name, f"{mode} and {name}"
            against = why or unlike(dataset, ann)
            against = against or attacked_otherwise(f"{dataset}/flex-{mode}", other.model)
            yield _of_attacks(stores, table, what, attacks, (flex, other), against, relative=True)


def _stability(stores: Stores) -> Iterator[Evidence]:
    for dataset in DATASETS:
        for mode in MODES:
            for one in stability(stores.models, dataset, mode):
                yield replace(one, against=unlike(dataset, mode) or one.against)


def _by_model(
    store: AnalysisStore, kind: Literal["activity", "landscape"]
) -> Mapping[str, Analysis]:
    found, _ = store.analyses(kind)
    clean = [one for one in found if "attack" not in one.identity.settings]
    return {analysis.identity.model: analysis for analysis in newest(clean)}


def _both(
    found: Mapping[str, Analysis], dataset: str, mode: str
) -> tuple[Analysis, Analysis] | None:
    """What was measured of FLEX and of VGG16 with the same settings on the same images."""
    names = [f"{dataset}/{kind}-{mode}" for kind in ("flex", "vgg16")]
    if not all(name in found for name in names):
        return None
    flex, plain = (found[name] for name in names)
    settings = [(of.identity.data_sha256, str(of.identity.settings)) for of in (flex, plain)]
    return (flex, plain) if settings[0] == settings[1] else None


def _per_image(
    stores: Stores, found: Mapping[str, Analysis], name: str, modes: tuple[str, ...]
) -> Iterator[Evidence]:
    for dataset in DATASETS:
        for mode in modes:
            if both := _both(found, dataset, mode):
                values = [stores.analyses.arrays(one)[name] for one in both]
                title = find_dataset(dataset).title
                yield Evidence.of(title, mode, values, unlike(dataset, mode))


def _not_measured(stores: Stores, found: Mapping[str, Analysis]) -> str:
    """The pairs without a measurement, in words."""
    missing = [
        f"{table.title} {mode}"
        for table, mode, *_ in pairs(stores)
        if _both(found, table.dataset.name, mode) is None
    ]
    return f"Not measured: {', '.join(missing)}." if missing else ""


def _shorter(stores: Stores, found: Mapping[str, Analysis]) -> str:
    """What the sharpness says at shorter ρ, in words."""
    parts = []
    for radius in RADII[:-1]:
        of = list(_sharpness(stores, found, radius))
        parts.append(f"S({radius:g}) {Claim('', '', '', -1, 1, 2, of, '').count}")
    return f"At other ρ: {'; '.join(parts)}."


def _sharpness(stores: Stores, found: Mapping[str, Analysis], radius: float) -> Iterator[Evidence]:
    for dataset in DATASETS:
        for mode in MODES:
            if both := _both(found, dataset, mode):
                rises = [
                    stores.analyses.arrays(of)["losses"][:, RADII.index(radius)]
                    - of.summary["loss"]
                    for of in both
                ]
                title = find_dataset(dataset).title
                yield Evidence.of(title, mode, rises, unlike(dataset, mode))
