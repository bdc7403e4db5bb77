"""What an inference of each model takes, from the analyses that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from robench.reporting.report import Estimate, Row, Table, Work
from robench.results import E_AC, E_MAC, Analysis, AnalysisStore, Damaged

Key = tuple[str, str, int | None]
"""Model, fingerprint and T."""


def read_work(store: AnalysisStore) -> tuple[Mapping[Key, Work], list[Damaged]]:
    """The analysis of the most clean images for each model, and the files that cannot be read.

    Of several with as many images the newest counts.
    """
    found, damaged = store.analyses("activity")
    clean = [analysis for analysis in found if "attack" not in analysis.identity.settings]
    clean.sort(key=lambda a: (a.identity.samples, a.run.created, a.hash))
    work: dict[Key, Work] = {}
    for analysis in clean:
        who = analysis.identity
        try:
            work[who.model, who.fingerprint, who.timesteps] = _work(analysis)
        except (LookupError, TypeError, ValueError) as error:
            damaged.append(Damaged(store.path(who), f"its summary is of no activity: {error!r}"))
    return work, damaged


def with_work(table: Table, work: Mapping[Key, Work]) -> Table:
    """A table whose rows have what an inference takes, where it was measured for their weights."""

    def measured(rows: Sequence[Row]) -> tuple[Row, ...]:
        keys = ((row.model, row.fingerprint, row.timesteps) for row in rows)
        return tuple(replace(row, work=work.get(key)) for row, key in zip(rows, keys, strict=True))

    return replace(table, rows=measured(table.rows), controls=measured(table.controls))


def _work(analysis: Analysis) -> Work:
    part = analysis.summary["clean"]
    total = part["total"]
    spiking = total["rate"] is not None
    return Work(
        spikes=_estimate(total["spikes"]) if spiking else None,
        synops=_estimate(total["synops"]),
        energy_pj=_estimate(total["energy"]),
        images=int(part["images"]),
    )


def _estimate(found: dict[str, float]) -> Estimate:
    value, low, high = (float(found[name]) for name in ("value", "low", "high"))
    if not 0 <= low <= high < inf or not 0 <= value < inf:
        raise ValueError(f"{found} is no number of operations with its interval")
    return Estimate(value, low, high)


_UNITS = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
COLUMNS = ("Spikes", "SynOps", "Energy, µJ")


def has_work(table: Table) -> bool:
    """Whether a model of a table was measured."""
    return any(row.work is not None for row in (*table.rows, *table.controls))


def work_texts(row: Row) -> tuple[str, str, str]:
    """Spikes, synaptic operations and energy of an inference; dashes where there are none."""
    if row.work is None:
        return "—", "—", "—"
    spikes, synops, energy = row.work.spikes, row.work.synops, row.work.energy_pj
    return (
        "—" if spikes is None else short(spikes.value),
        short(synops.value),
        f"{energy.value * 1e-6:.3g}",
    )


def short(count: float) -> str:
    """A count in three digits, e.g. ``34.0 k`` or ``2.20 M``."""
    factor, unit = next(((f, u) for f, u in _UNITS if count >= f), (1.0, ""))
    value = count / factor
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{unit}"


def work_line(table: Table) -> str:
    """How the columns were measured."""
    images = sorted({row.work.images for row in (*table.rows, *table.controls) if row.work})
    return (
        f"means over {' and '.join(map(str, images))} clean test images; {E_MAC} pJ a MAC and "
        f"{E_AC} pJ an AC, without memory"
    )
