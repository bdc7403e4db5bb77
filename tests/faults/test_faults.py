"""A short run of the fault suite, and whether it would find something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.support.needs import needs_linux

pytestmark = [needs_linux, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, whose copies are disturbed."""
    return subprocess.run(
        [sys.executable, *script.split(), *arguments], cwd=ROOT, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=600,
    )  # fmt: skip


def test_random_faults_lose_nothing() -> None:
    done = run("-m tests.faults --quick --count 6 --seed 1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "10 faults, 0 problems" in done.stdout


def test_the_suite_notices_what_does_not_hold(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"0.json": {}})
    scene.run = lambda output, **_: 0  # type: ignore[method-assign]
    output = tmp_path / "out"
    (output / "0.chunks").mkdir(parents=True)
    (output / ".0.json.robench-1.tmp").touch()
    scene.settle(output, {output / "gone.json": 0, output / ".0.json.robench-1.tmp": 1})
    assert [problem.split()[-1] for problem in scene.problems[:2]] == ["lost", "again"]
    assert scene.problems[2] == "the result is another one"
    assert len([problem for problem in scene.problems if "left over" in problem]) >= 2
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    scene.orphans(set())
    assert child.wait(30) == -9
    assert "orphan" in scene.problems[-1]
