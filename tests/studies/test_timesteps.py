"""Accuracies at other T: which cells are planned, what the table and the pages say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import Cli


def test_the_command_measures_spiking_models_at_each_t(study: Cli, tmp_path: Path) -> None:
    command = (
        "timesteps", "--models", "digits/vgg16-ann,digits/vgg16-stbp", "--counts", "1,10",
        "--attack", "fgsm", "--limit", "40", "--results", tmp_path / "cells",
        "--output", tmp_path / "tables",
    )  # fmt: skip
    page = tmp_path / "tables" / "digits-timesteps.md"
    first = study(*command)
    assert first.code == 0, first.err
    assert "T = 10" in first.out
    table = pd.read_csv(page.with_suffix(".csv"))
    assert set(table["model"]) == {"digits/vgg16-stbp"}
    assert table["timesteps"].tolist() == [1, 10]
    assert set(table["own"]) == {10}
    few, own = table["clean"]
    assert few < own  # one time step is not enough for this network
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| 1")]
    assert ["**" in line for line in lines] == [False, True]
    assert page.with_suffix(".png").is_file()
    assert study(*command).out.count("kept") == 2
    assert study(*command, "--check").code == 0
    page.write_text("stale", "utf-8")
    assert study(*command, "--check").code == 1


@pytest.mark.parametrize("counts", ["0,1", "one"])
def test_what_is_no_number_of_time_steps_is_refused(study: Cli, tmp_path: Path, counts) -> None:
    done = study("timesteps", "--results", tmp_path / "r", "--counts", counts)
    assert done.code == 2
    assert "--counts" in done.err
