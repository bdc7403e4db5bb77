"""The first minutes of a user: from the wheel to a network's number, interval, verdict and figure.

The commands run in a real terminal, with an installed wheel outside the checkout, and the lines of
Python in a notebook.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.checkpoints import ROOT
from tests.support.needs import needs
from tests.support.wheel import installed_wheel

pytestmark = pytest.mark.slow
needs_tmux = needs(shutil.which("tmux") is not None, "no tmux")
NET = """
import snntorch as snn
import torch
from torch import nn

import robench


class SNN(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1 = nn.Linear(3072, 64), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(64, 10), snn.Leaky(beta=0.9)

    def forward(self, x):
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        membranes = 0
        for _ in range(4):
            spikes, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
            spikes, mem2 = self.lif2(self.fc2(spikes), mem2)
            membranes = membranes + mem2
        return membranes


def trained():
    net = SNN()
    x, y = robench.load_images("digits", "train")
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(5):
        for rows in torch.arange(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel."""
    return installed_wheel(tmp_path_factory.mktemp("first"))


class Terminal:
    """A window of tmux with 100 columns."""

    def __init__(self, folder: Path, scripts: Path) -> None:
        self.socket, self.number = str(folder / "tmux"), 0
        path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
        variables = {"PATH": path, "OMP_NUM_THREADS": "1", "PS1": "$ "}
        command = ["env", "-u", "PYTHONPATH", *(f"{k}={v}" for k, v in variables.items()), "sh"]
        size = ("-x", "100", "-y", "60")
        self._tmux("new-session", "-d", *size, "-c", str(folder), shlex.join(command))

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self.socket, "-f", "/dev/null", *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    def screen(self) -> str:
        """What is shown, with the lines that have scrolled away."""
        return self._tmux("capture-pane", "-p", "-S", "-", "-t", "0")

    def run(self, command: str, watch: Callable[[str], None] = lambda screen: None) -> str:
        """Type a command and wait for its end; returns what it printed."""
        self.number += 1
        end = f"ended {self.number} with code "
        self._tmux(
            "send-keys", "-t", "0", f"{command}; echo ended {self.number} with code $?", "Enter"
        )
        until = time.monotonic() + 300
        while time.monotonic() < until:
            screen = self.screen()
            watch(screen)
            if found := re.search(rf"^{end}(\d+)", screen, re.MULTILINE):
                assert found[1] == "0", screen
                return screen.rpartition(f"{command};")[2]
            time.sleep(0.1)
        raise AssertionError(f"{command} did not end:\n{self.screen()}")

    def close(self) -> None:
        """End the session."""
        self._tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path, scripts: Path) -> Iterator[Terminal]:
    (tmp_path / "nets.py").write_text(NET, "utf-8")
    shown = Terminal(tmp_path, scripts)
    yield shown
    shown.close()


@needs_tmux
def test_a_network_of_snntorch_gets_its_number_in_a_terminal(
    terminal: Terminal, tmp_path: Path
) -> None:
    bars: list[str] = []

    def watch(screen: str) -> None:
        bars.extend(line for line in screen.splitlines() if "━" in line)

    run = "robench run --models nets.py:trained --dataset digits --attacks pgd,spgd --limit 12"
    shown = terminal.run(run, watch)
    number = re.search(
        r"^ +[≤ ]? *(\d+\.\d)% \[(\d+\.\d), (\d+\.\d)\] +at 16/255  AUC .*"
        r"  (valid|suspect|invalid) +spgd",
        shown, re.MULTILINE,
    )  # fmt: skip
    assert number is not None, shown
    assert float(number[2]) <= float(number[1]) <= float(number[3])
    assert "digits/snn  clean " in shown
    assert bars, "no progress bar was drawn"
    assert any(re.search(r"cell \d of 2 .*passes/s", bar) for bar in bars)
    (next_step,) = re.findall(r"look closer: (robench show \S+)", shown)
    shown = terminal.run(next_step)
    assert "█" in shown
    shown = terminal.run("robench leaderboard")
    assert "digits/snn | yours; 12 of 225 images" in (tmp_path / "leaderboard.md").read_text(
        "utf-8"
    )
    assert list((tmp_path / "results" / "figures").glob("*.png"))


def test_the_same_in_a_notebook(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NET, "utf-8")
    lines = [
        "import robench\nfrom nets import trained",
        "result = robench.evaluate(trained(), ['pgd', 'spgd'], dataset='digits', limit=12)",
        "print(result)",
        "%matplotlib inline\nresult.plot()",
    ]
    assert sum(len(cell.splitlines()) for cell in lines) <= 10
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in lines])
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute(env=os.environ | {"PYTHONPATH": str(ROOT)})
    *_, printed, figure = ([dict(o) for o in c.outputs] for c in notebook.cells)
    text = "".join(o.get("text", "") for o in printed)
    assert re.search(r"\d% \[[\d.]+, [\d.]+\] +at 16/255 .* spgd", text), text
    assert any("image/png" in o.get("data", {}) for o in figure)
