"""The script for SLURM runs, with what SLURM gives to its tasks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robench import load_results
from tests.support.checkpoints import ROOT
from tests.support.needs import needs_linux

PAGE = (ROOT / "docs" / "clusters.md").read_text("utf-8")
STANDING_IN = f"""
srun() {{ "$@"; }}
robench() {{ {sys.executable} -m robench "$@" --limit 4 --eps 8/255 --checks off; }}
"""


@needs_linux
@pytest.mark.slow
def test_the_tasks_of_the_array_compute_the_run(tmp_path: Path) -> None:
    (script,) = re.findall(r"```\n(#!/bin/bash\n#SBATCH.*?)```", PAGE, re.DOTALL)
    for old, new in (
        ("--models all", "--models digits/vgg16-ann,digits/flex-ann"),
        ("fgsm,pgd,spgd", "fgsm"),
        ("/shared/results", str(tmp_path / "results")),
    ):
        assert old in script
        script = script.replace(old, new)
    for task in ("2", "1"):
        subprocess.run(
            ["bash", "-euc", STANDING_IN + script],
            env=os.environ | {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2"},
            cwd=ROOT, check=True, timeout=300,
        )  # fmt: skip
    frame = load_results(tmp_path / "results").to_frame()
    assert set(frame["model"]) == {"digits/vgg16-ann", "digits/flex-ann"}
