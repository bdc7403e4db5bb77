"""Which cells of a store are comparable in one table, and how others differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Self

import numpy as np
from numpy.typing import NDArray

from robench.datasets import Dataset
from robench.epsilon import Epsilon
from robench.reporting.report import OtherRun
from robench.results import (
    EOT,
    PROTOCOL,
    CellResult,
    CurvePoint,
    Damaged,
    Identity,
    Outcome,
    ResultStore,
)

SWEEP = "fast"
OTHER_DATA = "other data than in the newest run"
OTHER_WEIGHTS = "other weights or card than in the model's newest run"
OTHER_SETTINGS = "other settings than in the attack's newest run"
OLDER = "an older run of the same cell"


@dataclass(frozen=True, slots=True)
class Listed:
    """What decides in which table a cell is: a few words, since a store may have many cells.

    Attributes:
        model: the id.
        attack: the name.
        hash: of the cell.
        seed: of the random numbers.
        created: when it was computed.
        data: the SHA-256 of images and labels.
        attack_key: equal for cells whose attacks have the same settings.
        model_key: equal for cells whose models have the same weights and card.
        store: in which the cell is.
        published: whether it stands beside a user's own cells, which go before it.
    """

    model: str
    attack: str
    hash: str
    seed: int
    created: str
    data: str
    attack_key: str
    model_key: str
    store: ResultStore
    published: bool = False

    @classmethod
    def of(cls, cell: CellResult, outcome: Outcome, store: ResultStore) -> Self:
        """That of a cell with a result."""
        i = outcome.identity
        settings = _key(settings_of(i))
        network = network_key(i)
        model, attack, data = map(intern, (i.model, i.attack, i.data_sha256))
        created = cell.run.created
        return cls(model, attack, cell.hash, i.seed, created, data, settings, network, store)


@dataclass(frozen=True)
class Candidate:
    """A cell with a result.

    Attributes:
        cell: its record.
        outcome: the result.
        positions: the minimal positions ``(N,)`` in data order.
        root: the folder of its store.
    """

    cell: CellResult
    outcome: Outcome
    positions: NDArray[np.int64]
    root: Path = Path()

    @property
    def identity(self) -> Identity:
        """Everything that the cell's hash covers."""
        return self.outcome.identity


def differences(outcome: Outcome, dataset: Dataset, *, known: bool = True) -> tuple[str, ...]:
    """How a cell differs from the data set's protocol; empty if it does not.

    Cells of a norm and of equal differences are comparable with each other, if their data and the
    settings of their attacks are the same.

    Args:
        outcome: of the cell.
        dataset: with the protocol.
        known: whether the data set is installed.
    """
    identity, protocol = outcome.identity, dataset.protocol
    # by value, since an ε can be written as a number or as a fraction
    values = [epsilon.value for epsilon in protocol.grids.get(identity.norm, ())]
    # a user's network has no T but the one that it declares
    own = identity.model_config_.get("timesteps", identity.timesteps)
    images = f"{identity.samples} of {protocol.slice} images" if known else "images of your own"
    found = [
        (identity.samples != protocol.slice or not known, images),
        (
            [point.epsilon.value for point in outcome.curve] != values,
            _epsilons(outcome.curve, protocol.headline.get(identity.norm)),
        ),
        (identity.seed not in protocol.seeds, f"seed {identity.seed}"),
        (identity.timesteps != own, f"T {identity.timesteps}, the card says {own}"),
        (identity.sweep != SWEEP, f"sweep {identity.sweep}"),
        (identity.eot not in (None, EOT), f"gradients of {identity.eot} draws"),
        (identity.protocol != PROTOCOL, f"robench protocol {identity.protocol}"),
    ]
    differs = tuple(text for applies, text in found if applies)
    first = differs in ((), only_headline(dataset, identity.norm))
    if first and "[" in identity.attack:  # in another table it is a column as any other
        return (*differs, "attacks with parameters of their own")
    return differs


def only_headline(dataset: Dataset, norm: str) -> tuple[str, ...]:
    """How cells at the headline ε alone differ from the protocol; ``("",)`` without such an ε."""
    headline = dataset.protocol.headline.get(norm)
    return ("" if headline is None else f"ε 0, {headline.text}",)


def _epsilons(curve: Sequence[CurvePoint], headline: Epsilon | None) -> str:
    texts = [point.epsilon.text for point in curve]
    if headline and [point.epsilon.value for point in curve] == [0, headline.value]:
        texts = ["0", headline.text]
    return f"ε {', '.join(texts)}"


def read_candidate(store: ResultStore, model: str, attack: str, digest: str) -> Candidate | Damaged:
    """A done cell with its rows, or why its files are not believed."""
    path = store.path(model, attack, digest)
    found = store.load(path)
    if isinstance(found, Damaged):
        return found
    if found.cell.outcome is None:
        return Damaged(path, f"it is {found.cell.status} now")
    return Candidate(found.cell, found.cell.outcome, found.positions, store.root)


def choose(cells: Iterable[Listed]) -> tuple[list[Listed], dict[tuple[str, ...], list[Listed]]]:
    """The newest comparable cell for each model, attack and seed, and the others by the reason."""
    chosen: dict[tuple[str, str, int], Listed] = {}
    rest: dict[tuple[str, ...], list[Listed]] = {}
    data = ""
    attacks: dict[str, str] = {}
    models: dict[str, str] = {}
    for cell in sorted(cells, key=lambda c: (not c.published, c.created, c.hash), reverse=True):
        data = data or cell.data
        key = (cell.model, cell.attack, cell.seed)
        if cell.data != data:
            rest.setdefault((OTHER_DATA,), []).append(cell)
            continue
        # a cell that one rule rejects must not be the reference of another rule
        same_weights = models.get(cell.model, cell.model_key) == cell.model_key
        same_settings = attacks.get(cell.attack, cell.attack_key) == cell.attack_key
        if not (same_weights and same_settings):
            checked = ((OTHER_WEIGHTS, same_weights), (OTHER_SETTINGS, same_settings))
            reasons = tuple(reason for reason, same in checked if not same)
            rest.setdefault(reasons, []).append(cell)
        elif key in chosen:
            rest.setdefault((OLDER,), []).append(cell)
        else:
            models[cell.model] = cell.model_key
            attacks[cell.attack] = cell.attack_key
            chosen[key] = cell
    return list(chosen.values()), rest


def choose_sound(
    cells: Iterable[Listed],
) -> tuple[list[Candidate], dict[tuple[str, ...], list[Listed]], list[Damaged]]:
    """The chosen cells with their rows, the others by the reason, and those not believed.

    A cell is read before it is chosen for good, and left out if it is not believed: the one that it
    would have hidden takes its place.
    """
    read: dict[str, Candidate | Damaged] = {}
    left = list(cells)
    while True:
        chosen, rest = choose(left)
        for cell in chosen:
            if cell.hash not in read:
                read[cell.hash] = read_candidate(cell.store, cell.model, cell.attack, cell.hash)
        damaged = {digest for digest, found in read.items() if isinstance(found, Damaged)}
        if damaged.isdisjoint(cell.hash for cell in chosen):
            found = [read[cell.hash] for cell in chosen]
            bad = [of for of in read.values() if isinstance(of, Damaged)]
            return [of for of in found if isinstance(of, Candidate)], rest, bad
        left = [cell for cell in left if cell.hash not in damaged]


def split(
    cells: Iterable[Listed], chosen: Sequence[Candidate]
) -> tuple[list[Listed], dict[tuple[str, ...], list[Listed]], list[Listed]]:
    """Sort cells by whether they belong to the rows of chosen ones.

    Returns:
        Those of the same networks, images and seeds; those of the same models otherwise, by the
        reason; and a user's own ones of other models.
    """
    rows = {(c.identity.model, c.identity.seed) for c in chosen}
    known = {
        (c.identity.model, c.identity.seed, c.identity.data_sha256, network_key(c.identity))
        for c in chosen
    }
    same: list[Listed] = []
    stale: dict[tuple[str, ...], list[Listed]] = {}
    apart: list[Listed] = []
    for cell in cells:
        if (cell.model, cell.seed, cell.data, cell.model_key) in known:
            same.append(cell)
        elif (cell.model, cell.seed) in rows:
            other_data = cell.data not in {row[2] for row in known}
            stale.setdefault((OTHER_DATA if other_data else OTHER_WEIGHTS,), []).append(cell)
        elif not cell.published:
            apart.append(cell)
    return same, stale, apart


def other_run(cell: CellResult, *differs: str) -> OtherRun:
    """A cell as a run outside the tables."""
    return OtherRun(cell.model, cell.attack, cell.dataset, cell.hash, cell.status, differs)


def network_key(identity: Identity) -> str:
    """Equal for cells whose networks have the same weights and card."""
    i = identity
    return _key([i.fingerprint, i.model_config_, i.architecture_version])


def settings_of(identity: Identity) -> list[object]:
    """What two cells of an attack in one table have in common."""
    return [identity.implementation, identity.attack_version, identity.parameters]


def _key(data: object) -> str:
    return intern(hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32])
