"""What is installed: light imports, one public surface, and a wheel that works by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import types
import venv
from pathlib import Path

import pytest

import robench

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "pandas")


def test_help_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from robench.cli import main; sys.argv = ['robench', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "leaderboard" in done.stdout


def test_all_names_exactly_what_is_exported() -> None:
    for name in robench.__all__:
        assert getattr(robench, name) is not None, name
    public = {
        name
        for name, value in vars(robench).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    public.discard("annotations")  # from __future__
    assert public <= set(robench.__all__)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the built wheel and no checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    _run(sys.executable, "-m", "pip", *build)
    (wheel,) = folder.glob("robench-*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    # the wheel goes in first, then the dependencies of this environment come behind it on the path:
    # a .pth file adds a folder, but does not read that folder's own .pth of the editable robench
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", str(wheel))
    site = Path(_run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def test_a_wheel_runs_the_main_job_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    python, command = installed / Path(sys.executable).name, installed / "robench"
    package = Path(_run(str(python), "-c", "import robench; print(robench.__file__)", at=tmp_path))
    assert ROOT not in package.parents
    ask = (
        "from robench.zoo.contents import attack_files, model_folders\n"
        "print(model_folders()['digits/vgg16-ann'], attack_files()['fgsm'], sep='\\n')"
    )
    folder, card = map(Path, _run(str(python), "-c", ask, at=tmp_path).splitlines())
    contents = package.parent / "_contents"
    assert folder == contents / "models" / "digits" / "vgg16-ann"
    assert card == contents / "attacks" / "fgsm.toml"

    results, table = tmp_path / "results", tmp_path / "leaderboard.md"
    selection = ("--models", "digits/vgg16-ann", "--attacks", "fgsm", "--limit", "20")
    _run(str(command), "run", *selection, "--output", str(results), at=tmp_path)
    assert len(list(results.glob("digits/vgg16-ann/fgsm/*.json"))) == 1

    options = ("--results", str(results), "--output", str(table), "--all-runs")
    _run(str(command), "leaderboard", *options, at=tmp_path)
    assert "digits/vgg16-ann" in table.read_text("utf-8")


def _run(*command: str, at: Path | None = None) -> str:
    """The output of a command that has to succeed, without this process's Python settings."""
    dropped = ("PYTHONPATH", "ROBENCH_MODELS", "PIP_REQUIRE_VIRTUALENV")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    done = subprocess.run(
        command, cwd=at, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
