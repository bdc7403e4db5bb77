"""AutoAttack by its authors' code, beside our attacks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import robench
from studies.autoattack import AUTHORS
from studies.findings import Stores, findings_page
from studies.pages import TABLES
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli, Finished

MODELS = ("--models", "digits/vgg16-ann,digits/vgg16-stbp")


def succeeded(done: Finished) -> str:
    assert done.code == 0, done.err
    return done.out


def test_it_is_no_weaker_than_pgd_and_is_not_repeated(study: Cli, tmp_path: Path) -> None:
    table = tmp_path / "autoattack.csv"
    lines = (*MODELS, "--limit", "8", "--table", table)
    succeeded(study("autoattack", *lines))
    rows = pd.read_csv(table)
    assert list(rows["model"]) == ["digits/vgg16-ann"]  # the other one spikes
    ours = robench.evaluate("digits/vgg16-ann", ["pgd"], limit=8, eps="16/255").to_frame()
    assert rows["robust"][0] <= ours["accuracy"].min() + 1 / 8
    text = table.read_text("utf-8")
    assert "is done" in succeeded(study("autoattack", *lines))
    assert table.read_text("utf-8") == text


def test_other_images_replace_the_row_of_a_network(study: Cli, tmp_path: Path) -> None:
    table = tmp_path / "autoattack.csv"
    for limit in ("2", "3"):
        succeeded(study("autoattack", *MODELS, "--limit", limit, "--table", table))
    assert list(pd.read_csv(table)["samples"]) == [3]


def test_the_page_leaves_out_networks_that_have_other_weights(tmp_path: Path) -> None:
    stores = Stores.of(ROOT / "results", ROOT / "models", ROOT / "none.csv")
    rows = pd.read_csv(ROOT / AUTHORS)
    rows.loc[rows["model"] == "digits/flex-ann", "weights_sha256"] = "0" * 64
    changed = tmp_path / "autoattack.csv"
    rows.to_csv(changed, index=False)
    page = findings_page(stores, [], ROOT / TABLES / "published.csv", changed)
    _, _, section = page.partition("## AutoAttack by its authors' code")
    section, _, _ = section.partition("\n## ")
    assert "| Digits | `vgg16-ann` | 16/255 |" in section
    assert "| Digits | `flex-ann` |" not in section
