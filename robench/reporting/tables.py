"""From the store to tables: which cells are comparable, what they say, and who ranks where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.datasets import Dataset, find_dataset
from robench.errors import RobenchError
from robench.evaluation.metrics import area, bootstrap, curve, sample_areas, wilson
from robench.numbers import Epsilon, parse_grid
from robench.results import (
    NEVER,
    PROTOCOL,
    CellResult,
    CurvePoint,
    Damaged,
    Identity,
    Outcome,
    ResultStore,
    Verdict,
)

NORM = "linf"
SWEEP = "ascending"
BASELINE = "noise"
"""An attack without gradient: it counts in ``worst``, but a rank does not ask for it."""

FGSM_MARGIN = 0.01
"""How far PGD's robust accuracy may lie above FGSM's at equal ε (Athalye et al., ICML 2018)."""

ABOVE_FGSM = "pgd-above-fgsm"
_ORDER = ("fgsm", "pgd", "spgd")


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Entry:
    """What one attack says about one model.

    Attributes:
        attack: the attack's name.
        verdict: of the stored checks and of those that compare cells.
        reasons: why it is not valid, short identifiers.
        auc: up to the first limit; None where the verdict withholds it.
        curve: robust accuracy at each ε.
        hash: of the cell.
    """

    attack: str
    verdict: Verdict
    reasons: tuple[str, ...]
    auc: Estimate | None
    curve: tuple[CurvePoint, ...]
    hash: str


@dataclass(frozen=True)
class Row:
    """A model under one seed.

    Attributes:
        rank: by the AUC of ``worst``; None for a control and where an attack is missing.
        family: the architecture, e.g. ``flex-vgg16``.
        timesteps: T, None without time.
        entries: by attack.
        not_applicable: attacks whose needs the model does not meet.
        missing: attacks of the table, the baseline aside, without a comparable cell.
        worst_auc: of the per-sample minimum over the entries, up to the first limit.
        worst_accuracy: at the headline ε.
        worst_curve: of the per-sample minimum.
    """

    rank: int | None
    model: str
    family: str
    mode: str
    timesteps: int | None
    seed: int
    control: bool
    clean: Estimate
    entries: Mapping[str, Entry]
    not_applicable: tuple[str, ...]
    missing: tuple[str, ...]
    worst_auc: Estimate
    worst_accuracy: Estimate
    worst_curve: tuple[CurvePoint, ...]

    @property
    def caught(self) -> bool:
        """Whether some check found the model out."""
        return any(entry.verdict == "invalid" for entry in self.entries.values())


@dataclass(frozen=True)
class Table:
    """The comparable results on a data set.

    Attributes:
        attacks: the columns.
        settings: for each attack the identity of one of its cells; all of them agree on
            implementation, version and parameters.
        data_sha256: of the images and labels that all cells saw.
        rows: best first.
        controls: models that exist to be caught.
    """

    dataset: Dataset
    attacks: tuple[str, ...]
    settings: Mapping[str, Identity]
    data_sha256: str
    rows: tuple[Row, ...]
    controls: tuple[Row, ...]

    @property
    def grid(self) -> tuple[Epsilon, ...]:
        """The ε of the protocol, 0 first."""
        return _grid(self.dataset)

    @property
    def headline(self) -> str:
        """The ε at which accuracies are quoted."""
        return self.dataset.protocol.headline[NORM]

    @property
    def limit(self) -> str:
        """The ε up to which the area is taken."""
        return self.dataset.protocol.auc_limits[NORM][0]


@dataclass(frozen=True)
class OtherRun:
    """A cell that no table shows, and what sets it apart."""

    model: str
    attack: str
    dataset: str
    hash: str
    status: str
    verdict: str
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All that a store has to say.

    Attributes:
        tables: one for each data set, the embedded digits last.
        others: cells outside the tables.
        damaged: files that cannot be read.
    """

    tables: tuple[Table, ...]
    others: tuple[OtherRun, ...]
    damaged: tuple[Damaged, ...]


@dataclass(frozen=True)
class _Candidate:
    """A cell that matches the protocol, with its break positions ``(N,)`` in data order."""

    cell: CellResult
    outcome: Outcome
    breaks: NDArray[np.int64]

    @property
    def identity(self) -> Identity:
        return self.outcome.identity

    @cached_property
    def attack_key(self) -> str:
        i = self.identity
        return _canonical([i.implementation, i.attack_version, i.parameters, i.search_dtype])

    @cached_property
    def model_key(self) -> str:
        i = self.identity
        return _canonical([i.fingerprint, i.model_config_, i.architecture_version])


def build_report(store: ResultStore) -> Report:
    """Sort the cells of a store into tables and other runs.

    A table holds done cells of registered models, at their card's own T, under the data set's
    protocol and the attacks' own parameters. Within a table all cells saw the same data, all
    cells of an attack have the same settings and all cells of a model the same weights; where
    runs differ the newest decides.
    """
    cells, bad = store.cells()
    damaged = list(bad)
    others: list[OtherRun] = []
    tables: list[Table] = []
    for name in sorted({cell.dataset for cell in cells}, key=lambda n: (n == "digits", n)):
        here = [cell for cell in cells if cell.dataset == name]
        try:
            dataset = find_dataset(name)
        except RobenchError as error:
            others += [_other(cell, [str(error)]) for cell in here]
            continue
        candidates: list[_Candidate] = []
        for cell in here:
            differs = differences(cell, dataset)
            if differs or cell.outcome is None:
                others.append(_other(cell, differs))
                continue
            found = _candidate(store, cell, cell.outcome)
            (damaged if isinstance(found, Damaged) else candidates).append(found)  # type: ignore[arg-type]
        chosen, rest = _choose(candidates)
        others += rest
        if chosen:
            tables.append(_table(dataset, chosen, here))
    others.sort(key=lambda run: (run.dataset, run.model, run.attack, run.hash))
    return Report(tuple(tables), tuple(others), tuple(damaged))


def differences(cell: CellResult, dataset: Dataset) -> list[str]:
    """What keeps a cell out of the data set's table; empty where nothing does."""
    outcome = cell.outcome
    if cell.status != "done" or outcome is None:
        return [f"{cell.status}: {cell.error}" if cell.error else cell.status]
    identity, protocol = outcome.identity, dataset.protocol
    # by value: the same ε can be written as a number or as a fraction
    values = [epsilon.value for epsilon in _grid(dataset)]
    own = identity.model_config_.get("timesteps")
    found = [
        (not outcome.registered, "model is not registered"),
        ("[" in identity.attack, "attack has parameters of its own"),
        (identity.samples != protocol.slice, f"{identity.samples} of {protocol.slice} images"),
        (identity.norm != NORM, f"norm {identity.norm}"),
        (
            [point.epsilon.value for point in outcome.curve] != values,
            f"ε {', '.join(point.epsilon.text for point in outcome.curve)}",
        ),
        (identity.seed not in protocol.seeds, f"seed {identity.seed}"),
        (identity.timesteps != own, f"T {identity.timesteps}, the card says {own}"),
        (identity.sweep != SWEEP, f"sweep {identity.sweep}"),
        (identity.search_dtype != "float32", f"search in {identity.search_dtype}"),
        (identity.protocol != PROTOCOL, f"robench protocol {identity.protocol}"),
    ]
    return [text for applies, text in found if applies]


def above_fgsm(pgd: Sequence[CurvePoint], fgsm: Sequence[CurvePoint], samples: int) -> bool:
    """Whether PGD's robust accuracy exceeds FGSM's by more than a point at some ε."""
    return any(p.robust - f.robust > FGSM_MARGIN * samples for p, f in zip(pgd, fgsm, strict=True))


def worst_positions(breaks: Iterable[NDArray[np.int64]], points: int) -> NDArray[np.int64]:
    """The smallest break position of each sample over several cells.

    Args:
        breaks: of each cell, ``(N,)``.
        points: number of ε in the grid.

    Returns:
        ``(N,)``, again with −1 for a sample that never breaks.
    """
    stacked = np.stack(list(breaks))
    lowest = np.where(stacked == NEVER, points, stacked).min(0)
    result: NDArray[np.int64] = np.where(lowest == points, NEVER, lowest)
    return result


def frame(table: Table, *, controls: bool = False) -> pd.DataFrame:
    """A table, or its controls, with one row for each model and one column for each number."""
    rows = table.controls if controls else table.rows
    return pd.DataFrame([_record(table, row) for row in rows])


def others_frame(report: Report) -> pd.DataFrame:
    """The cells outside the tables with what sets them apart."""
    columns = ["dataset", "model", "attack", "status", "verdict", "differs", "hash"]
    records = [
        [r.dataset, r.model, r.attack, r.status, r.verdict, "; ".join(r.differs), r.hash]
        for r in report.others
    ]
    return pd.DataFrame(records, columns=columns)


def verdict_text(verdict: str, reasons: Sequence[str]) -> str:
    """A verdict with its reasons, e.g. ``invalid (gradient-unavailable)``."""
    return f"{verdict} ({', '.join(reasons)})" if reasons else verdict


def row_verdict(row: Row) -> str:
    """``valid`` where all cells are, else those that are not, and what is missing."""
    parts = [
        f"{entry.attack} {verdict_text(entry.verdict, entry.reasons)}"
        for entry in row.entries.values()
        if entry.verdict != "valid"
    ]
    parts += [f"{attack} not applicable" for attack in row.not_applicable]
    parts += [f"{attack} missing" for attack in row.missing]
    return "; ".join(parts) or "valid"


def _record(table: Table, row: Row) -> dict[str, object]:
    record: dict[str, object] = {
        "dataset": table.dataset.name,
        "rank": row.rank,
        "model": row.model,
        "mode": row.mode,
        "timesteps": row.timesteps,
        "seed": row.seed,
        **_columns("clean_accuracy", row.clean),
    }
    for attack in table.attacks:
        entry = row.entries.get(attack)
        record |= _columns(f"{attack}_auc", entry.auc if entry else None)
        absent = "not-applicable" if attack in row.not_applicable else "missing"
        record[f"{attack}_verdict"] = entry.verdict if entry else absent
        record[f"{attack}_reasons"] = ", ".join(entry.reasons) if entry else ""
    record |= _columns("worst_auc", row.worst_auc)
    record |= _columns("worst_accuracy", row.worst_accuracy)
    record["verdict"] = row_verdict(row)
    return record


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {
        name: estimate.value if estimate else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
    }


def _grid(dataset: Dataset) -> tuple[Epsilon, ...]:
    return parse_grid(dataset.protocol.grids[NORM])


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True)


def _other(cell: CellResult, differs: Sequence[str]) -> OtherRun:
    verdict = cell.outcome.verdict if cell.outcome else ""
    return OtherRun(
        cell.model, cell.attack, cell.dataset, cell.hash, cell.status, verdict, tuple(differs)
    )


def _candidate(store: ResultStore, cell: CellResult, outcome: Outcome) -> _Candidate | Damaged:
    path = store.path(cell.model, cell.attack, cell.hash).with_suffix(".parquet")
    n, points = outcome.identity.samples, len(outcome.identity.grid)
    try:
        rows = store.rows(cell).sort_values("index")
        index = rows["index"].to_numpy(np.int64)
        breaks = rows["break_position"].to_numpy(np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Damaged(path, (str(error).splitlines() or [type(error).__name__])[0])
    if not np.array_equal(index, np.arange(n)):
        return Damaged(path, f"the rows are not those of the first {n} images")
    if breaks.min() < NEVER or breaks.max() >= points:
        return Damaged(path, "a break position lies outside the grid")
    if len(outcome.curve) != points:
        return Damaged(path.with_suffix(".json"), "the curve and the grid differ in length")
    return _Candidate(cell, outcome, breaks)


def _choose(candidates: Sequence[_Candidate]) -> tuple[list[_Candidate], list[OtherRun]]:
    """Keep one comparable cell for each model, attack and seed; the newest decides."""
    chosen: dict[tuple[str, str, int], _Candidate] = {}
    rest: list[OtherRun] = []
    data = ""
    attacks: dict[str, str] = {}
    models: dict[str, str] = {}
    newest_first = sorted(candidates, key=lambda c: (c.cell.run.created, c.cell.hash), reverse=True)
    for candidate in newest_first:
        identity = candidate.identity
        data = data or identity.data_sha256
        key = (identity.model, identity.attack, identity.seed)
        if identity.data_sha256 != data:
            rest.append(_other(candidate.cell, ["other data than the newest run"]))
            continue
        # setdefault: a cell that one rule refuses does not decide for another
        same_weights = models.get(identity.model, candidate.model_key) == candidate.model_key
        same_settings = attacks.get(identity.attack, candidate.attack_key) == candidate.attack_key
        if not (same_weights and same_settings):
            reasons = [
                *(["other weights or card than the model's newest run"] * (not same_weights)),
                *(["other settings than the attack's newest run"] * (not same_settings)),
            ]
            rest.append(_other(candidate.cell, reasons))
        elif key in chosen:
            rest.append(_other(candidate.cell, ["an older run of the same cell"]))
        else:
            models[identity.model] = candidate.model_key
            attacks[identity.attack] = candidate.attack_key
            chosen[key] = candidate
    return list(chosen.values()), rest


def _table(dataset: Dataset, chosen: Sequence[_Candidate], cells: Sequence[CellResult]) -> Table:
    settings = {c.identity.attack: c.identity for c in chosen}
    attacks = tuple(sorted(settings, key=_attack_order))
    not_applicable = {(c.model, c.attack) for c in cells if c.status == "not-applicable"}
    groups: dict[tuple[str, int], dict[str, _Candidate]] = {}
    for candidate in chosen:
        identity = candidate.identity
        groups.setdefault((identity.model, identity.seed), {})[identity.attack] = candidate
    rows = [
        _row(dataset, attacks, groups[key], {a for m, a in not_applicable if m == key[0]})
        for key in sorted(groups)
    ]
    public = sorted(
        (row for row in rows if not row.control),
        key=lambda row: (bool(row.missing), -row.worst_auc.value, row.model, row.seed),
    )
    ranked = [
        replace(row, rank=None if row.missing else number)
        for number, row in enumerate(public, start=1)
    ]
    return Table(
        dataset=dataset,
        attacks=attacks,
        settings={attack: settings[attack] for attack in attacks},
        data_sha256=chosen[0].identity.data_sha256,
        rows=tuple(ranked),
        controls=tuple(row for row in rows if row.control),
    )


def _attack_order(attack: str) -> tuple[int, str]:
    if attack == BASELINE:
        return len(_ORDER) + 1, attack
    return (_ORDER.index(attack) if attack in _ORDER else len(_ORDER)), attack


def _row(
    dataset: Dataset,
    attacks: Sequence[str],
    group: Mapping[str, _Candidate],
    not_applicable: set[str],
) -> Row:
    first = next(iter(group.values()))
    identity, grid = first.identity, _grid(dataset)
    values = [epsilon.value for epsilon in grid]
    limit_text = dataset.protocol.auc_limits[NORM][0]
    limit = Epsilon.parse(limit_text).value
    headline = Epsilon.parse(dataset.protocol.headline[NORM]).value

    breaks = worst_positions([c.breaks for c in group.values()], len(grid))
    worst_curve = curve(breaks, grid)
    accuracies = np.array([point.accuracy for point in worst_curve])
    interval = bootstrap(sample_areas(breaks, values, limit))
    at_headline = worst_curve[values.index(headline)]
    clean = wilson(round(first.outcome.clean_accuracy * identity.samples), identity.samples)
    absent = [attack for attack in attacks if attack not in group]
    return Row(
        rank=None,
        model=identity.model,
        family=str(identity.model_config_.get("architecture", "other")),
        mode=first.outcome.mode,
        timesteps=identity.timesteps,
        seed=identity.seed,
        control=first.outcome.control,
        clean=Estimate(first.outcome.clean_accuracy, clean.low, clean.high),
        entries={a: _entry(group, a, limit_text) for a in attacks if a in group},
        not_applicable=tuple(a for a in absent if a in not_applicable),
        missing=tuple(a for a in absent if a not in not_applicable and a != BASELINE),
        worst_auc=Estimate(area(accuracies, values, limit), interval.low, interval.high),
        worst_accuracy=Estimate(
            at_headline.accuracy, at_headline.interval.low, at_headline.interval.high
        ),
        worst_curve=worst_curve,
    )


def _entry(group: Mapping[str, _Candidate], attack: str, limit: str) -> Entry:
    outcome = group[attack].outcome
    verdict, reasons = outcome.verdict, outcome.reasons
    if attack == "pgd" and "fgsm" in group:
        fgsm = group["fgsm"].outcome
        if above_fgsm(outcome.curve, fgsm.curve, outcome.identity.samples):
            verdict, reasons = "invalid", (*reasons, ABOVE_FGSM)
    auc = None
    if verdict != "invalid" and limit in outcome.auc and limit in outcome.auc_interval:
        interval = outcome.auc_interval[limit]
        auc = Estimate(outcome.auc[limit], interval.low, interval.high)
    return Entry(attack, verdict, reasons, auc, outcome.curve, outcome.hash)
