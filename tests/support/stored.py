"""A folder with everything that robench stores: a model, an attack, results, examples, pages."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load, save

from robench.analysis.activity import Activity
from robench.analysis.measuring import analyse, models_of
from robench.epsilon import Epsilon, parse_grid
from robench.evaluation import Request, make_plan, run_plan
from robench.registry import (
    ModelEntry,
    attack_files,
    find_attacks,
    locations,
    model_folders,
    select_models,
)
from robench.registry.weights import file_sha256
from robench.reporting import build_report, render, write
from robench.reporting.plots import areas_name, curves_name
from robench.results import AnalysisStore, Identity, ResultStore

EPS = parse_grid(["0", "8/255", "16/255", "32/255"])


def run_cells(
    store: ResultStore, models: list[ModelEntry], attacks: str, eps: tuple[Epsilon, ...]
) -> None:
    """Evaluate a few images and keep the adversarial examples."""
    request = Request(limit="12", device="cpu", examples=True, eps=eps)
    plan = make_plan(models, find_attacks(attacks), request, store)
    assert [cell.status for cell, _ in run_plan(plan, store)] == ["done"] * len(plan.cells)


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file be linked, as on some file systems."""

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)


class Stored:
    """Such a folder, and the files in it that a test damages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = root / "results"
        self.model = root / "models" / "digits" / "vgg16-ann"
        self.attack = root / "attacks" / "fgsm.toml"
        self.page = root / "leaderboard.md"

    def make(self) -> None:
        """Fill the folder."""
        shutil.copytree(model_folders()["digits/vgg16-ann"], self.model)
        self.attack.parent.mkdir()
        shutil.copy(attack_files()["fgsm"], self.attack)
        store = ResultStore(self.results)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(locations, "_roots", lambda: [self.root])
            entries = select_models(["digits/vgg16-ann"])
            run_cells(store, entries, "fgsm", EPS)
            (planned,) = models_of(entries, Request(limit="4", device="cpu")).cells
            (found,) = analyse([planned.cell], Activity(), AnalysisStore(self.results))
            assert found.computed
        report = build_report(store)
        write(self.page, render(report))
        figures = self.results / "figures"
        figures.mkdir()
        for table in report.tables:
            for name in (curves_name(table), areas_name(table)):
                (figures / name).touch()

    @property
    def json(self) -> Path:
        """The record of the only result."""
        (path,) = self.results.glob("*/*/*/*.json")
        return path

    @property
    def analysis(self) -> Path:
        """The record of the only analysis."""
        (path,) = self.results.glob("*/*/analyses/*/*.json")
        return path

    @property
    def arrays(self) -> Path:
        """The arrays of the only analysis."""
        return self.analysis.with_suffix(".safetensors")

    @property
    def parquet(self) -> Path:
        """The rows of the only result."""
        return self.json.with_suffix(".parquet")

    @property
    def examples(self) -> Path:
        """The adversarial examples of the only result."""
        return self.json.with_suffix(".examples.safetensors")

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the record, and write its digest into it."""
        path = self.json
        record = json.loads(path.read_text("utf-8"))
        change(record)
        record.pop("sha256", None)
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        record["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps(record), "utf-8")

    def edit_outcome(self, **values: object) -> None:
        """Change keys of the outcome."""
        self.edit(lambda record: record["outcome"].update(values))

    def edit_identity(self, **values: object) -> None:
        """Change keys of the identity, and give the result the hash and the name for them."""
        before = [self.json, self.parquet, self.examples]

        def change(record: dict[str, Any]) -> None:
            outcome = record["outcome"]
            outcome["identity"] |= values
            outcome["hash"] = record["hash"] = Identity(**outcome["identity"]).digest()

        self.edit(change)
        stem = json.loads(self.json.read_text("utf-8"))["hash"][:16]
        for path in before:
            path.rename(path.with_name(f"{stem}.{path.name.partition('.')[2]}"))

    def edit_rows(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        """Change the rows, and write their digest into the record."""
        change(pd.read_parquet(self.parquet)).to_parquet(self.parquet, index=False)
        digest = file_sha256(self.parquet)
        self.edit(lambda record: record.update(rows_sha256=digest))

    def edit_examples(self, change: Callable[[dict[str, np.ndarray]], object]) -> None:
        """Change the adversarial examples, and write their digest into the record."""
        arrays = load(self.examples.read_bytes())
        change(arrays)
        self.examples.write_bytes(save(arrays))
        digest = file_sha256(self.examples)
        self.edit(lambda record: record.update(examples_sha256=digest))


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text that a file contains."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
