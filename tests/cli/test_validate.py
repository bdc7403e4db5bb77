"""``robench validate``: each rule finds its damage, and a sound folder has no findings."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import robench
from robench.datasets import find_dataset
from robench.epsilon import parse_grid
from robench.registry import ModelEntry, locations
from robench.results import CellResult, ResultStore
from robench.validation import RULES, validate
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli, refused
from tests.support.damages import DAMAGES, Damage, add, arrays, farther, pixel
from tests.support.stored import Stored, run_cells, without_links


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "root"
    Stored(root).make()
    return root


@pytest.fixture
def stored(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """A copy of the folder, which is the current one and the only place of models."""
    root = tmp_path / "root"
    shutil.copytree(whole, root)
    monkeypatch.setattr(locations, "_roots", lambda: [root])
    monkeypatch.chdir(root)
    return Stored(root)


def findings(cli: Cli, *options: object) -> list[dict[str, str]]:
    done = cli("validate", "--json", *options)
    data = json.loads(done.out)
    assert done.err == ""
    assert data["errors"] + data["warnings"] == len(data["findings"])
    assert done.code == (1 if data["errors"] else 0)
    return list(data["findings"])


def test_a_sound_folder_has_no_findings_and_stays_as_it_is(cli: Cli, stored: Stored) -> None:
    before = {path: path.read_bytes() for path in stored.root.rglob("*") if path.is_file()}
    done = cli("validate")
    assert (done.code, done.err) == (0, "")
    (line,) = done.out.splitlines()
    assert "1 results, 1 files of examples, 1 analyses, 1 models, 1 attack cards, 1 pages" in line
    assert line.endswith("0 errors, 0 warnings")
    assert findings(cli) == []
    assert before == {path: path.read_bytes() for path in stored.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        pytest.param(rule, damage, id=f"{rule}-{number}")
        for rule, damages in DAMAGES.items()
        for number, damage in enumerate(damages)
    ],
)
def test_a_damage_is_found(cli: Cli, stored: Stored, rule: str, damage: Damage) -> None:
    damage(stored)
    found = findings(cli)
    assert rule in [finding["rule"] for finding in found], found
    (one, *_) = (finding for finding in found if finding["rule"] == rule)
    assert one["severity"] == RULES[rule].severity
    assert one["what"]


def test_each_rule_has_a_test_and_a_line_in_the_documentation() -> None:
    text = (ROOT / "docs" / "validation.md").read_text("utf-8")
    documented = re.findall(r"^\| `([a-z-]+)` \| (error|warning) \|", text, re.MULTILINE)
    assert dict(documented) == {rule: severity for rule, (severity, _) in RULES.items()}
    assert DAMAGES.keys() == RULES.keys()


def test_a_finding_is_one_line_and_says_what_to_do(cli: Cli, stored: Stored) -> None:
    stored.edit(lambda record: record.update(hash="\n\x1b[31m" + "x" * 999))
    stored.model.rename(stored.model.with_name("a\n\x1b[31mb"))
    done = cli("validate")
    assert done.code == 1
    *lines, last = done.out.splitlines()
    assert len(lines) == len(findings(cli))
    assert all(re.match(r"(error|warning) [a-z-]+: .*: .*; [a-z]", line) for line in lines), lines
    assert all(line.isprintable() for line in lines)
    assert last.endswith(f"{len(lines)} errors, 0 warnings")


def test_a_result_without_images_is_left_out_of_the_leaderboard(cli: Cli, stored: Stored) -> None:
    stored.edit_rows(lambda frame: frame[:0])
    stored.edit_identity(samples=0)
    assert "rows-invalid" in [finding["rule"] for finding in findings(cli)]
    done = cli("leaderboard", "--check")
    assert done.code == 1
    assert "left out, damaged: " in done.err


def test_a_warning_alone_is_no_failure(cli: Cli, stored: Stored) -> None:
    add("results", "0123456789abcdef.chunks")(stored)
    done = cli("validate")
    assert done.code == 0
    assert done.out.startswith("warning leftover-chunks: ")


def test_what_is_not_there_is_refused(cli: Cli, stored: Stored, tmp_path: Path) -> None:
    refused(cli("validate", "--results", tmp_path / "none"), "there are no results in")
    refused(cli("validate", "--models-dir", tmp_path / "none"), "there is no such folder")
    refused(cli("validate", "--data-dir", tmp_path / "none"), "does not exist")


def test_any_page_of_the_leaderboard_can_be_named(cli: Cli, stored: Stored) -> None:
    record = json.loads(stored.json.read_text("utf-8"))
    failed = CellResult.model_validate(
        record | {"status": "failed", "outcome": None, "attack": "x"}
    )
    ResultStore(stored.results).write(failed)  # --all-runs shows it
    missing, *figures = findings(cli, "--leaderboard", "other.html")
    assert {finding["rule"] for finding in figures} == {"figure-missing"}
    assert (missing["rule"], missing["path"]) == ("page-stale", "other.html")
    for options in ((), ("--all-runs",), ("--format", "html")):
        ending = "html" if "html" in options else "md"
        page = stored.root / "pages" / f"other.{ending}"
        assert cli("leaderboard", "--output", page, *options).code == 0
        assert findings(cli, "--leaderboard", page) == []
    stored.page.unlink()
    assert findings(cli) == []  # no page beside the results


def test_weights_that_the_wheel_leaves_out_are_not_missing(
    cli: Cli, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored.model / "weights.safetensors").unlink()
    monkeypatch.setattr(locations, "_PACKAGE", stored.root)
    monkeypatch.setattr(locations, "_CARRIED", "models")
    assert findings(cli) == []


def test_files_of_a_file_system_without_links_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    stored = Stored(tmp_path / "root")
    stored.make()
    monkeypatch.setattr(locations, "_roots", lambda: [stored.root])
    store = ResultStore(stored.results)
    assert validate(store, None, []).findings == ()
    (examples,) = stored.results.rglob("*.examples.safetensors")
    examples.write_bytes(b"")
    (finding,) = validate(store, None, []).findings
    assert (finding.rule, finding.path) == ("examples-damaged", examples)


def test_without_the_clean_images_the_ball_is_not_checked(cli: Cli, stored: Stored) -> None:
    arrays(farther)(stored)
    stored.edit_identity(data_sha256="0" * 64)
    rules = {finding["rule"] for finding in findings(cli)}
    assert rules == {"page-stale"}
    pixel(2)(stored)
    assert "examples-outside-box" in {finding["rule"] for finding in findings(cli)}


@pytest.mark.parametrize(
    ("dataset", "attack", "beyond"),
    [
        ("digits", "pgd-l2", 0.09),  # of each pixel: inside the ball of L∞
        ("digits-frames", "pgd-l2[frames=shared]", 0.09),
        ("digits-frames", "fgsm[frames=shared]", 0.6),
        ("digits-frames", "fgsm", 0.6),
    ],
)
def test_the_ball_is_that_of_the_attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, attack: str, beyond: float
) -> None:
    torch.manual_seed(0)
    shape = find_dataset(dataset).shape
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 10))
    model = robench.Model(net, dataset=dataset)
    store = ResultStore(tmp_path)
    entry = ModelEntry(model.id, "test", False, "", lambda: model)
    run_cells(store, [entry], attack, parse_grid(["1", "4"] if "l2" in attack else ["0.1", "0.5"]))
    monkeypatch.setattr(locations, "_roots", list)  # no models and no attack cards
    assert validate(store, None, []).findings == ()

    def farther(found: dict[str, np.ndarray]) -> None:
        clean = find_dataset(dataset).read("test").tensor().numpy()[found["index"][0]]
        found["images"][0] = clean + np.where(clean < 0.5, beyond, -beyond)

    stored = Stored(tmp_path)
    stored.results = tmp_path
    stored.edit_examples(farther)
    (finding,) = validate(store, None, []).findings
    assert finding.rule == "examples-outside-ball"
    assert "1 of " in finding.what
