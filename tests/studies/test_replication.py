from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robench.analysis import replication_section
from robench.analysis.document import END, begin, fill
from robench.datasets import MNIST
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.evaluation import find_grid
from robench.results import ResultStore
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished
from tests.support.made_up import Builder

Cli = Callable[..., Finished]
N = MNIST.protocol.slice
BEGIN = begin("replication")
PROTOCOL = parse_grid(MNIST.protocol.grids["linf"])
FIGURE = parse_grid(find_grid("bioflexnet").texts("pgd", "linf"))
AREA = (0.09 + 0.005) / 0.29  # of a curve that is 1 up to 0.09 and 0 from 0.1 on


def at(position: int, samples: int = N) -> np.ndarray:
    """All samples break at one position of the grid."""
    return np.full(samples, position)


def row(section: str, model: str) -> list[str]:
    (line,) = [line for line in section.splitlines() if f"| {model} |" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_without_results_the_published_numbers_stand_alone(builder: Builder) -> None:
    section, damaged = replication_section(builder.store)
    assert not damaged
    assert row(section, "mnist/vgg16-ann") == [
        "ANN", "mnist/vgg16-ann", "0.4598", "0.3995", "0.3621",
    ]  # fmt: skip
    assert "No results of ours on this grid are stored yet" in section
    assert "fgsm here" not in section


@pytest.mark.parametrize("grid", [PROTOCOL, FIGURE], ids=["protocol", "figure"])
def test_our_area_is_that_up_to_the_end_of_the_figure(builder: Builder, grid: tuple) -> None:
    builder.add("mnist/vgg16-stbp", "pgd", at(10), grid=grid)
    section, _ = replication_section(builder.store)
    assert row(section, "mnist/vgg16-stbp")[4:6] == [
        "0.8102", f"{AREA:.3f} [{AREA:.3f}, {AREA:.3f}]",
    ]  # fmt: skip
    assert row(section, "mnist/vgg16-stbp")[3] == "—"
    assert f"first {N} test images" in section
    assert "pgd version 1" in section


def test_an_invalid_area_is_withheld(builder: Builder) -> None:
    without_gradient = {
        "verdict": "invalid",
        "reasons": ("gradient-unavailable",),
        "mode": "hybrid",
    }
    builder.add("mnist/flex-hybrid", "fgsm", at(-1), grid=PROTOCOL, **without_gradient)
    builder.add("mnist/flex-ann", "fgsm", at(10), grid=PROTOCOL, mode="ann")
    builder.add("mnist/flex-ann", "pgd", at(12), grid=PROTOCOL, mode="ann")
    section, _ = replication_section(builder.store)
    assert row(section, "mnist/flex-hybrid")[3] == "— invalid (gradient-unavailable)"
    assert row(section, "mnist/flex-ann")[5] == "— invalid (pgd-above-fgsm)"
    assert row(section, "mnist/flex-ann")[3].startswith(f"{AREA:.3f}")


def test_what_is_computed_otherwise_is_left_out(builder: Builder) -> None:
    builder.add("mnist/vgg16-ann", "fgsm", at(5, 100), grid=PROTOCOL, mode="ann")
    builder.add("mnist/vgg16-ann", "pgd[steps=3]", at(5), grid=PROTOCOL, mode="ann")
    builder.add("mnist/vgg16-ann", "spgd", at(2), grid=PROTOCOL[::2], mode="ann")
    builder.add("mnist/vgg16-ann", "pgd", at(2), grid=PROTOCOL, mode="ann", sweep="raw")
    builder.add("mnist/other", "pgd", at(2), grid=PROTOCOL, mode="ann")
    section, _ = replication_section(builder.store)
    assert "No results of ours" in section


def test_the_settings_of_the_source_have_columns_of_their_own(builder: Builder) -> None:
    builder.add("mnist/vgg16-stbp", "pgd", at(10), grid=FIGURE)
    builder.add("mnist/vgg16-stbp", "pgd-source", at(12), grid=FIGURE)
    section, _ = replication_section(builder.store)
    (head,) = [line for line in section.splitlines() if line.startswith("| There")]
    assert "| pgd there | pgd here | pgd-source here | spgd there | spgd here |" in head
    ours = row(section, "mnist/vgg16-stbp")[4:8]
    assert ours[1].startswith(f"{AREA:.3f}")
    assert ours[2].startswith(f"{AREA + 0.02 / 0.29:.3f}")
    assert ours[3] == "0.7852"
    assert row(section, "mnist/vgg16-ann")[6] == "—"


def test_the_rest_of_the_document_stays(builder: Builder) -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    filled = fill(document, "replication", "new\n")
    assert filled == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert fill(filled, "replication", "new\n") == filled
    for broken in ("", f"{BEGIN}\n", f"{END}\n", f"{END}\n{BEGIN}\n"):
        with pytest.raises(UsageError, match="no place"):
            fill(broken, "replication", "new\n")


def test_the_command_fills_the_document_and_tells_when_it_is_stale(
    cli: Cli, tmp_path: Path, builder: Builder
) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"{BEGIN}\n{END}\n", "utf-8")
    absent = cli("analyze", "replication", "--results", tmp_path / "nope", "--output", document)
    assert (absent.code, absent.out) == (2, "")
    assert "nope" in absent.err
    builder.store.root.mkdir()
    empty = cli("analyze", "replication", "--results", builder.store.root, "--output", document)
    assert empty.code == 2
    assert "0.9303" not in document.read_text("utf-8")
    builder.add("mnist/vgg16-ann", "pgd", at(10), grid=PROTOCOL)
    command = ("analyze", "replication", "--results", builder.store.root, "--output", document)
    assert cli(*command, "--check").code == 1
    assert cli(*command).code == 0
    assert "0.9303" in document.read_text("utf-8")
    assert cli(*command, "--check").code == 0
    builder.add("mnist/vgg16-stbp", "pgd", at(10), grid=PROTOCOL)
    done = cli(*command, "--check")
    assert (done.code, done.out) == (1, "")
    assert "robench analyze replication" in done.err


@pytest.mark.parametrize(("text", "told"), [(None, "cannot read"), ("text\n", "no place")])
def test_a_document_without_a_place_is_one_line(
    cli: Cli, tmp_path: Path, builder: Builder, text: str | None, told: str
) -> None:
    document = tmp_path / "page.md"
    if text is not None:
        document.write_text(text, "utf-8")
    builder.add("mnist/vgg16-ann", "pgd", at(10), grid=PROTOCOL)
    done = cli("analyze", "replication", "--results", builder.store.root, "--output", document)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert str(document) in line
    assert told in line
    assert (document.read_text("utf-8") if document.exists() else None) == text


def test_the_committed_page_says_what_the_committed_results_say() -> None:
    page = (ROOT / "docs" / "replication.md").read_text("utf-8")
    section, damaged = replication_section(ResultStore(ROOT / "results"))
    assert not damaged
    assert fill(page, "replication", section) == page
