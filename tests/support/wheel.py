"""An environment with the built wheel and without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.support.checkpoints import ROOT


def installed_wheel(folder: Path) -> Path:
    """Build the wheel into a folder and install it there; returns the folder of the scripts.

    The dependencies are those of this environment.
    """
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    output(sys.executable, "-m", "pip", *build)
    (wheel,) = folder.glob("robench-*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    # the wheel goes in first, then the dependencies of this environment come behind it on the path:
    # a .pth file adds a folder, but does not read that folder's own .pth of the editable robench
    output(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", str(wheel))
    site = Path(output(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def output(*command: str, at: Path | None = None) -> str:
    """The output of a command that has to succeed."""
    done = call(*command, at=at)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def call(
    *command: str, at: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A command without this process's Python settings."""
    dropped = ("PYTHONPATH", "ROBENCH_MODELS", "PIP_REQUIRE_VIRTUALENV")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    return subprocess.run(
        command, cwd=at, env=environment | variables, capture_output=True, text=True, check=False
    )
