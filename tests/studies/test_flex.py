"""The table of FLEX beside VGG16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robench.results import AnalysisStore
from robench.results.metrics import bootstrap
from studies.flex import Difference
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli, refused


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(10, 3, 200)  # the images differ more than the models
    easier = hard - 0.1 + rng.normal(0, 0.05, 200)
    lower = Difference.of(hard, easier)
    assert lower.interval == bootstrap(easier - hard)
    assert lower.answer("less", "more") == "less"
    same = Difference.of(hard, hard + np.tile([0.1, -0.1], 100))
    assert same.answer("less", "more") == "neither less nor more"
    assert Difference.of(hard, hard + 1).answer("less", "more") == "more"


def test_the_page_is_made_of_what_is_stored(
    cli: Cli, study: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, page = tmp_path / "results", tmp_path / "flex.md"
    refused(study("flex", "--results", results.parent / "none", "--output", page), "analyze energy")
    monkeypatch.chdir(tmp_path)
    models = "digits/vgg16-stbp,digits/flex-stbp"
    assert cli("analyze", "energy", "--models", models, "--limit", 6).code == 0
    assert study("flex", "--results", results, "--output", page).code == 0
    (row,) = [line for line in page.read_text("utf-8").splitlines() if "| stbp |" in line]
    store = AnalysisStore(results)
    stored, _ = store.analyses("activity")
    means = {a.identity.model: a.summary["clean"]["total"]["energy"]["value"] for a in stored}
    plain, flex = (means[f"digits/{name}-stbp"] * 1e-6 for name in ("vgg16", "flex"))
    assert f"| {plain:.2f} → {flex:.2f} [" in row
    assert row.endswith("| — | sparser, more costly |")
    assert study("flex", "--results", results, "--output", page, "--check").code == 0
    page.write_text("stale", "utf-8")
    assert study("flex", "--results", results, "--output", page, "--check").code == 1


def test_the_committed_page_shows_the_committed_results(study: Cli) -> None:
    page = ROOT / "studies" / "tables" / "flex.md"
    assert study("flex", "--check", "--results", ROOT / "results", "--output", page).code == 0
