from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robench.datasets import MNIST
from robench.evaluation import find_grid
from studies.replication import replication_page
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished, refused
from tests.support.made_up import Builder

Cli = Callable[..., Finished]
N = MNIST.protocol.slice
PROTOCOL = MNIST.protocol.grids["linf"]
FIGURE = find_grid("bioflexnet").epsilons("pgd", "linf")
AREA = (0.09 + 0.005) / 0.29  # of a curve that is 1 up to 0.09 and 0 from 0.1 on


def at(position: int, samples: int = N) -> np.ndarray:
    """All samples have this minimal position."""
    return np.full(samples, position)


def row(page: str, model: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if f"| {model} |" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_without_results_the_published_numbers_stand_alone(builder: Builder) -> None:
    page, damaged = replication_page(builder.store)
    assert not damaged
    assert row(page, "mnist/vgg16-ann") == [
        "ANN", "mnist/vgg16-ann", "0.4598", "0.3995", "0.3621",
    ]  # fmt: skip
    assert "No results of ours on this grid are stored yet" in page
    assert "fgsm here" not in page


@pytest.mark.parametrize("grid", [PROTOCOL, FIGURE], ids=["protocol", "figure"])
def test_our_area_is_that_up_to_the_end_of_the_figure(builder: Builder, grid: tuple) -> None:
    builder.add("mnist/vgg16-stbp", "pgd", at(10), grid=grid)
    page, _ = replication_page(builder.store)
    assert row(page, "mnist/vgg16-stbp")[4:6] == [
        "0.8102", f"{AREA:.3f} [{AREA:.3f}, {AREA:.3f}]",
    ]  # fmt: skip
    assert row(page, "mnist/vgg16-stbp")[3] == "—"
    assert f"first {N} test images" in page
    assert "pgd version 1" in page


def test_an_invalid_area_is_withheld(builder: Builder) -> None:
    without_gradient = {
        "verdict": "invalid",
        "reasons": ("gradient-unavailable",),
        "mode": "hybrid",
    }
    builder.add("mnist/flex-hybrid", "fgsm", at(-1), grid=PROTOCOL, **without_gradient)
    builder.add("mnist/flex-ann", "fgsm", at(10), grid=PROTOCOL, mode="ann")
    builder.add("mnist/flex-ann", "pgd", at(12), grid=PROTOCOL, mode="ann")
    page, _ = replication_page(builder.store)
    alone = "one step, and no attack of more"
    assert row(page, "mnist/flex-hybrid")[3] == f"— invalid (gradient-unavailable, {alone})"
    assert row(page, "mnist/flex-ann")[5] == "— invalid (fgsm is 100.0 points lower)"
    assert row(page, "mnist/flex-ann")[3].startswith(f"{AREA:.3f}")


def test_what_is_computed_otherwise_is_left_out(builder: Builder) -> None:
    builder.add("mnist/vgg16-ann", "fgsm", at(5, 100), grid=PROTOCOL, mode="ann")
    builder.add("mnist/vgg16-ann", "pgd[steps=3]", at(5), grid=PROTOCOL, mode="ann")
    builder.add("mnist/vgg16-ann", "spgd", at(2), grid=PROTOCOL[::2], mode="ann")
    builder.add("mnist/vgg16-ann", "pgd", at(2), grid=PROTOCOL, mode="ann", sweep="raw")
    builder.add("mnist/other", "pgd", at(2), grid=PROTOCOL, mode="ann")
    page, _ = replication_page(builder.store)
    assert "No results of ours" in page


def test_the_settings_of_the_source_have_columns_of_their_own(builder: Builder) -> None:
    builder.add("mnist/vgg16-stbp", "pgd", at(10), grid=FIGURE)
    builder.add("mnist/vgg16-stbp", "pgd-bioflexnet", at(12), grid=FIGURE)
    page, _ = replication_page(builder.store)
    (head,) = [line for line in page.splitlines() if line.startswith("| There")]
    assert "| pgd there | pgd here | pgd-bioflexnet here | spgd there | spgd here |" in head
    ours = row(page, "mnist/vgg16-stbp")[4:8]
    assert ours[1].startswith(f"{AREA:.3f}")
    assert ours[2].startswith(f"{AREA + 0.02 / 0.29:.3f}")
    assert ours[3] == "0.7852"
    assert row(page, "mnist/vgg16-ann")[6] == "—"


def test_the_command_writes_the_page_and_reports_a_stale_one(
    study: Cli, tmp_path: Path, builder: Builder
) -> None:
    page = tmp_path / "page.md"
    absent = study("replication", "--results", tmp_path / "nope", "--output", page)
    assert (absent.code, absent.out) == (2, "")
    assert "nope" in absent.err
    builder.store.root.mkdir()
    empty = study("replication", "--results", builder.store.root, "--output", page)
    assert empty.code == 2
    assert not page.exists()
    builder.add("mnist/vgg16-ann", "pgd", at(10), grid=PROTOCOL)
    command = ("replication", "--results", builder.store.root, "--output", page)
    assert study(*command, "--check").code == 1
    assert study(*command).code == 0
    assert "0.9303" in page.read_text("utf-8")
    assert study(*command, "--check").code == 0
    builder.add("mnist/vgg16-stbp", "pgd", at(10), grid=PROTOCOL)
    done = study(*command, "--check")
    assert (done.code, done.out) == (1, "")
    assert "python -m studies replication" in done.err


@pytest.mark.parametrize(
    ("option", "says"), [("--results", "name a folder"), ("--output", "can lie in it")]
)
def test_a_file_in_the_way_is_one_line(study: Cli, tmp_path: Path, option: str, says: str) -> None:
    path = tmp_path / "file"
    path.write_text("")
    below = path / "below" if option == "--output" else path
    refused(study("replication", option, below), f"{option} {below}", "is a file", says)
    refused(study("replication", option, ""), option, "is empty")


def test_a_folder_where_a_file_is_meant(study: Cli, tmp_path: Path) -> None:
    refused(study("replication", "--output", tmp_path), tmp_path, "is a folder", "name a file")


def test_the_committed_page_shows_the_committed_results(study: Cli) -> None:
    page = ROOT / "studies" / "tables" / "replication.md"
    done = study("replication", "--check", "--results", ROOT / "results", "--output", page)
    assert (done.code, done.err) == (0, "")
