"""The pages for researchers with their own network do what they show.

The training and the attack are cut down here, so the numbers differ from those on the pages. These
are written by ``python -m tests.support.pages docs/your-network/*.md``, in some minutes each.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from tests.support import pages
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli

FOLDER = ROOT / "docs" / "your-network"
MODULES = {
    "pytorch": "my_cnn",
    "snntorch": "my_snntorch",
    "spikingjelly": "my_spikingjelly",
    "norse": "my_norse",
    "handwritten": "my_snn",
}
CUTS = {
    "range(10)": "range(1)",
    '"pgd", "spgd"': '"pgd[steps=2]", "spgd[pgd_steps=2,steps=2]"',
    "limit=50": "limit=4",
}
COMMAND_CUTS = {"pgd,spgd": "pgd[steps=2],spgd[pgd_steps=2,steps=2]", "50": "4"}


def shape(output: str) -> list[str]:
    """What spikes, and the ε and the attack of each line with a number."""
    model, *lines = output.splitlines()
    spikes = re.findall(r"; (spikes of [^)]*\))", " ".join(output.split()))
    rows = [line for line in lines if " at " in line and "  AUC " in line]
    names = [re.sub(r"\[.*?\]", "", line.split()[-1]) for line in rows]
    epsilons = [re.findall(r" at (\S+)", line) for line in rows]
    return [model.split()[0], *spikes, *names, *map(str, epsilons)]


def test_each_page_has_a_test_and_a_row() -> None:
    assert {page.stem for page in FOLDER.glob("*.md")} == {"README", *MODULES}
    index = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"({name}.md)" in index for name in MODULES)


def test_the_pages_can_be_compared() -> None:
    headings = {
        tuple(re.findall(r"^## .*", (FOLDER / f"{name}.md").read_text("utf-8"), re.M))
        for name in MODULES
    }
    assert len(headings) == 1


@pytest.mark.parametrize("name", MODULES)
def test_a_page_runs_and_the_command_line_repeats_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    page = FOLDER / f"{name}.md"
    text = page.read_text("utf-8")
    assert all(text.count(old) == 1 for old in CUTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULES[name], raising=False)
    with torch.random.fork_rng():
        ((shown, printed),) = pages.run(page, CUTS)
    assert shape(printed) == shape(shown)
    (command,) = re.findall(r"^    robench run (.*)$", text, re.M)
    done = cli("run", *(COMMAND_CUTS.get(word, word) for word in shlex.split(command)))
    assert done.code == 0, done.err
    assert "\n2 cells, 2 of them done already\n" in done.out
