"""Tables as pandas frames, as CSV and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from robench.reporting.report import AtHeadline, Entry, Estimate, Report, Row, Table, row_verdict
from robench.results import PROTOCOL, Identity


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
        record[f"{attack}_verdict"] = entry.verdict if entry else _absence(row, attack)
        record[f"{attack}_reasons"] = ", ".join(entry.reasons) if entry else ""
    for attack in table.at_headline:
        alone = row.at_headline.get(attack)
        record |= _columns(f"{attack}_at_headline", alone.accuracy if alone else None)
        record[f"{attack}_at_headline_verdict"] = alone.verdict if alone else "missing"
        record[f"{attack}_at_headline_reasons"] = ", ".join(alone.reasons) if alone else ""
    record |= _columns("worst_auc", row.worst_auc if row.entries else None)
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


def _absence(row: Row, attack: str) -> str:
    """Why a row lacks an attack."""
    if attack in row.not_applicable:
        return "not-applicable"
    return "not-needed" if attack in row.not_needed else "missing"


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {
        name: estimate.value if estimate else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
    }


def csv_text(report: Report, *, header: bool) -> str:
    """The tables one below the other; without a row, the names of columns where there are runs."""
    frames = [
        frame(table, controls=controls).assign(control=controls)
        for table in report.tables
        for controls in (False, True)
        if (table.controls if controls else table.rows)
    ]
    if not frames and not header:
        return ""
    if report.others or not frames:
        frames.append(others_frame(report))
    columns = list(dict.fromkeys(name for each in frames for name in each.columns))
    records = [record for each in frames for record in each.to_dict("records")]
    whole = pd.DataFrame(records, columns=columns)
    for name in {"rank", "timesteps"} & {*columns}:
        whole[name] = whole[name].astype("Int64")
    return str(whole.to_csv(index=False, lineterminator="\n"))


def json_text(report: Report) -> str:
    """All tables with their settings; equal reports give equal texts."""
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "datasets": [_table_data(table) for table in report.tables],
        "without_result": others_frame(report).to_dict("records"),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _table_data(table: Table) -> dict[str, Any]:
    return {
        "name": table.dataset.name,
        "title": table.title,
        "norm": table.norm,
        "differs": list(table.differs),
        "samples": table.samples,
        "data_sha256": table.data_sha256,
        "reverified": table.reverified,
        "epsilons": [epsilon.text for epsilon in table.grid],
        "headline": table.headline.text,
        "auc_limit": table.limit.text,
        "attacks": _settings_data(table.settings),
        "attacks_at_headline": _settings_data(table.at_headline),
        "rows": [_row_data(row) for row in table.rows],
        "controls": [_row_data(row) | {"caught": row.caught} for row in table.controls],
    }


def _settings_data(settings: Mapping[str, Identity]) -> dict[str, Any]:
    return {
        attack: {
            "implementation": identity.implementation,
            "version": identity.attack_version,
            "parameters": identity.parameters,
        }
        for attack, identity in settings.items()
    }


def _row_data(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "model": row.model,
        "registered": row.registered,
        "published": row.published,
        "differs": list(row.differs),
        "architecture": row.family,
        "mode": row.mode,
        "timesteps": row.timesteps,
        "seed": row.seed,
        "clean_accuracy": asdict(row.clean),
        "attacks": {attack: _result_data(entry) for attack, entry in row.entries.items()},
        "at_headline": {name: _result_data(alone) for name, alone in row.at_headline.items()},
        "work": None if row.work is None else asdict(row.work),
        "not_applicable": list(row.not_applicable),
        "missing": list(row.missing),
        "not_needed": list(row.not_needed),
        "missing_at_headline": list(row.missing_at_headline),
        "worst": {
            "auc": asdict(row.worst_auc) if row.entries else None,
            "accuracy": asdict(row.worst_accuracy),
        },
    }


def _result_data(result: Entry | AtHeadline) -> dict[str, Any]:
    number = {"auc": result.auc} if isinstance(result, Entry) else {"accuracy": result.accuracy}
    return {
        "verdict": result.verdict,
        "reasons": list(result.reasons),
        **{name: asdict(estimate) for name, estimate in number.items()},
        "hash": result.hash,
    }
