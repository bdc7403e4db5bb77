"""The page about faults and hostile input, from what ``make faults`` and ``make fuzz`` measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robench.errors import UsageError
from studies.pages import render, table_of


def reliability_page(faults: Path, fuzz: Path) -> str:
    """The page.

    Args:
        faults: JSON file of ``make faults``.
        fuzz: JSON file of ``make fuzz``.

    Raises:
        UsageError: one of them cannot be read.
    """
    made, given = read_json(faults), read_json(fuzz)
    kinds = made["kinds"]
    return render(
        "reliability",
        faults=table_of(
            ("fault", "times", "problems", "seconds each"),
            [
                (k["kind"], f"{k['faults']}", f"{len(k['problems'])}", f"{_each(k):.1f}")
                for k in kinds
            ],
            words=1,
        ),
        fault_count=f"{sum(kind['faults'] for kind in kinds):,}",
        fault_problems=sum(len(kind["problems"]) for kind in kinds),
        seed=made["seed"],
        fuzz=table_of(
            ("reader", "fuzzer", "inputs", "refused", "accepted", "findings", "most MB"),
            [_fuzzed(report) for report in given],
            words=2,
        ),
        fuzz_count=f"{sum(report['inputs'] for report in given):,}",
        fuzz_findings=sum(len(report["findings"]) for report in given),
    )


def _each(kind: dict[str, Any]) -> float:
    return float(kind["seconds"] / max(1, kind["faults"]))


def _fuzzed(report: dict[str, Any]) -> tuple[str, ...]:
    numbers = [report["inputs"], report["refused"], report["accepted"], len(report["findings"])]
    sizes = (f"{number:,}" for number in numbers)
    return report["target"], report["fuzzer"], *sizes, f"{report['peak_mb']:.0f}"


def read_json(path: Path) -> Any:
    """The content of a JSON file that a suite wrote.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}; make it again") from None
