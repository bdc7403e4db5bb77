"""Tables as pandas frames."""

from __future__ import annotations

import pandas as pd

from robench.reporting.report import Estimate, Report, Row, Table, row_verdict


def frame(table: Table, *, controls: bool = False) -> pd.DataFrame:
    """A table, or its controls, with one row for each model and seed."""
    rows = table.controls if controls else table.rows
    return pd.DataFrame([_record(table, row) for row in rows])


def others_frame(report: Report) -> pd.DataFrame:
    """The cells without a row in a table, and why."""
    columns = ["dataset", "model", "attack", "status", "reason", "hash"]
    records = [
        [r.dataset, r.model, r.attack, r.status, "; ".join(r.differs), r.hash]
        for r in report.others
    ]
    return pd.DataFrame(records, columns=columns)


def _record(table: Table, row: Row) -> dict[str, object]:
    record: dict[str, object] = {
        "dataset": table.dataset.name,
        "norm": table.norm,
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
    work = row.work
    record |= _columns("spikes", work.spikes if work else None)
    record |= _columns("synops", work.synops if work else None)
    record |= _columns("energy_pj", work.energy_pj if work else None)
    record["verdict"] = row_verdict(row)
    record["registered"] = row.registered
    record["differs"] = "; ".join(row.differs or table.differs)
    record["published"] = row.published
    return record


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {
        name: estimate.value if estimate else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
    }
