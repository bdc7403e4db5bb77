"""The README's lines of Python, as a reader runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import robench
from tests.support.checkpoints import ROOT

LINES = re.search(
    r"## Your own model\n\n```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S
)


@pytest.fixture
def lines() -> str:
    assert LINES is not None
    found = LINES[1]
    assert len(found.strip().splitlines()) <= 10
    return found


def test_in_a_script_they_run_and_a_second_run_computes_nothing(lines: str, tmp_path: Path) -> None:
    # the weights of an untrained network are new in each process
    script = f"import torch; torch.manual_seed(0)\n{lines}"
    created = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True,
            text=True, env=os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "digits/sequential" in done.stdout
        found = robench.load_results(tmp_path / "out" / "mine")
        created.append([cell.run.created for cell in found.cells])
        assert [cell.attack for cell in found.cells] == ["pgd", "spgd"]
    assert created[0] == created[1]


@pytest.mark.slow
def test_in_a_notebook_they_run_and_show_table_and_figure(lines: str, tmp_path: Path) -> None:
    cells = [
        lines,
        "%matplotlib inline\nresult.plot()",
        "result",
        "robench.check(net, dataset='digits', limit=4)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute(env=os.environ | {"PYTHONPATH": str(ROOT)})
    first, figure, table, checks = ([dict(o) for o in c.outputs] for c in notebook.cells)
    text = "".join(o.get("text", "") for o in first)
    assert "digits/sequential" in text
    assert "ipywidgets" not in text
    assert any("image/png" in o.get("data", {}) for o in figure)
    for shown in (table, checks):
        assert any("<table" in o.get("data", {}).get("text/html", "") for o in shown)
