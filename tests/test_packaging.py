"""The installation: light imports, the public names, and a wheel outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import types
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import robench
from tests.support.checkpoints import ROOT
from tests.support.wheel import call, installed_wheel, output

HEAVY = ("torch", "pandas")
WHEEL_BYTES = 5_000_000


@pytest.mark.parametrize(
    ("flag", "text"), [("--help", "leaderboard"), ("--version", f"robench {version('robench')}\n")]
)
def test_help_and_version_import_neither_torch_nor_pandas(flag: str, text: str) -> None:
    code = (
        f"import sys; from robench.cli import main; sys.argv = ['robench', {flag!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert text in done.stdout


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
    return installed_wheel(tmp_path_factory.mktemp("wheel"))


def test_a_wheel_carries_every_card_and_the_weights_of_digits_alone(installed: Path) -> None:
    (wheel,) = installed.parents[1].glob("robench-*.whl")
    assert wheel.stat().st_size < WHEEL_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    contents = {
        name.removeprefix("robench/_contents/")
        for name in names
        if name.startswith("robench/_contents/")
    }
    cards = [path for folder in ("attacks", "models") for path in (ROOT / folder).rglob("*.toml")]
    assert {path.relative_to(ROOT).as_posix() for path in cards} <= contents
    weights = {name for name in contents if name.endswith(".safetensors")}
    digits = (ROOT / "models").glob("digits*/*/weights.safetensors")
    assert weights == {path.relative_to(ROOT).as_posix() for path in digits}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "robench").rglob("*.j2")}
    assert templates
    assert templates <= set(names)
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {".training", "tests", "performance", "studies"}
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"robench"}
    published = {p.relative_to(ROOT).as_posix() for p in (ROOT / "results").rglob("*.json")}
    assert published <= contents
    assert not {name for name in contents if name.startswith("results/figures")}


@pytest.mark.slow
def test_a_wheel_skips_what_it_does_not_carry_and_says_how_to_get_it(
    installed: Path, tmp_path: Path
) -> None:
    command = (str(installed / Path(sys.executable).name), "-m", "robench", "run", "--dry-run")
    selection = ("--models", "all", "--dataset", "cifar10", "--attacks", "fgsm")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = call(*command, *selection, at=tmp_path, **cache)
    assert done.returncode == 2, done.stderr  # no model can run
    (line,) = [line for line in done.stderr.splitlines() if "cifar10/vgg16-ann:" in line]
    assert line.startswith("skipped cifar10/vgg16-ann: weights are absent")
    assert "robench train cifar10/vgg16-ann" in line
    # the command in that line finds its recipe, and then lacks the images
    train = (*command[:3], "train", "cifar10/vgg16-ann", "--data-dir", str(tmp_path))
    done = call(*train, at=tmp_path, **cache, ROBENCH_DATA=str(tmp_path))
    assert done.returncode == 2
    assert "robench data download cifar10" in done.stderr
    # --models-dir finds the weights
    found = call(*command, *selection, "--models-dir", str(ROOT / "models"), at=tmp_path, **cache)
    assert "weights are absent" not in found.stderr


@pytest.mark.slow
def test_a_wheel_runs_the_main_job_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    python, command = installed / Path(sys.executable).name, installed / "robench"
    package = Path(
        output(str(python), "-c", "import robench; print(robench.__file__)", at=tmp_path)
    )
    assert ROOT not in package.parents
    ask = (
        "from robench.registry.locations import attack_files, model_folders\n"
        "print(model_folders()['digits/vgg16-ann'], attack_files()['fgsm'], sep='\\n')"
    )
    folder, card = map(Path, output(str(python), "-c", ask, at=tmp_path).splitlines())
    contents = package.parent / "_contents"
    assert folder == contents / "models" / "digits" / "vgg16-ann"
    assert card == contents / "attacks" / "fgsm.toml"

    results, table = tmp_path / "results", tmp_path / "leaderboard.md"
    selection = ("--models", "digits/vgg16-ann", "--attacks", "fgsm", "--limit", "20")
    output(str(command), "run", *selection, "--output", str(results), at=tmp_path)
    assert len(list(results.glob("digits/vgg16-ann/fgsm/*.json"))) == 1

    options = ("--results", str(results), "--output", str(table), "--all-runs")
    output(str(command), "leaderboard", *options, at=tmp_path)
    assert "digits/vgg16-ann" in table.read_text("utf-8")
