"""Where data sets are looked for, and the messages of run and list if they are missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from robench.architectures import VGG, ModelConfig
from robench.datasets import CIFAR10, files
from robench.errors import MissingDataError
from robench.registry import AboutTable, attack_files, locations, save_checkpoint
from tests.support.commands import Finished
from tests.support.data_files import encode, pixels, write_parquet

pytestmark = pytest.mark.usefixtures("home")
Cli = Callable[..., Finished]
CARDS = attack_files()


def test_missing_images_are_an_error_that_says_where_and_how_to_get_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "mine"))
    with pytest.raises(MissingDataError) as caught:
        CIFAR10.load("test")
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    for part in (
        tmp_path / "mine" / "cifar10",
        home / "data" / "cifar10",
        "test-*.parquet",
        "cifar-10-batches-py",
        "robench data download cifar10",
        "--data-dir",
        "ROBENCH_DATA",
    ):
        assert str(part) in text


def test_the_first_folder_with_the_split_is_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "flag", tmp_path / "variable", home / "data"]
    made = pixels(CIFAR10, 1)
    for i, place in enumerate(places):
        write_parquet(place / "cifar10" / "test-0.parquet", [encode(made[0])], [i])
    write_parquet(home / "data" / "cifar10" / "train-0.parquet", [encode(made[0])], [9])
    assert CIFAR10.load("test").labels.tolist() == [2]
    monkeypatch.setenv(files.VARIABLE, str(places[1]))
    assert CIFAR10.load("test").labels.tolist() == [1]
    files.look_first_in(places[0])
    assert CIFAR10.load("test").labels.tolist() == [0]
    assert CIFAR10.load("train").labels.tolist() == [9]


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A folder of models with an untrained one for CIFAR-10."""
    text = dict(architecture="vgg16", mode="ann", dataset="cifar10", classes=10, width=0.02)
    config = ModelConfig.model_validate(text)
    about = AboutTable(description="A test.", clean_accuracy=0.1, clean_samples=1)
    save_checkpoint(tmp_path / "models" / "cifar10" / "tiny", VGG(config), config, about)
    return tmp_path / "models"


def run_in(models_dir: Path, tmp_path: Path) -> tuple[object, ...]:
    """A run over a folder of models."""
    output = tmp_path / "results"
    return ("run", "--models-dir", models_dir, "--attacks", "fgsm", "--output", output)


def test_all_skips_models_without_images_and_a_named_one_is_an_error(
    cli: Cli, tmp_path: Path, models_dir: Path
) -> None:
    command = run_in(models_dir, tmp_path)
    everything = cli(*command, "--models", "all", "--dry-run")
    assert everything.code == 0
    (line,) = (line for line in everything.err.splitlines() if "cifar10/tiny" in line)
    assert line.startswith("skipped cifar10/")  # one line for all models of the data set
    assert "robench data download cifar10" in line
    assert "digits/vgg16-ann  fgsm " in everything.out
    named = cli(*command, "--models", "cifar10/tiny")
    assert named.code == 2
    assert len(named.err.splitlines()) == 1
    assert "robench data download cifar10" in named.err


def test_a_run_in_which_every_model_is_skipped_is_an_error(
    cli: Cli, tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "_roots", list)
    shutil.copytree(models_dir / "cifar10" / "tiny", models_dir / "cifar10" / "tiny-copy")
    command = run_in(models_dir, tmp_path)
    monkeypatch.setattr("robench.registry.attacks.attack_files", lambda: CARDS)
    for options in (("all", "--dataset", "cifar10"), ("cifar10/*",), ("all", "--dry-run")):
        done = cli(*command, "--models", *options)
        assert (done.code, len(done.out.splitlines())) == (2, 1)  # where results go
        (line,) = done.err.splitlines()
        assert line.startswith("robench: no model can run: the test images of cifar10")
        assert "robench data download cifar10" in line
    (models_dir / "cifar10" / "tiny-copy" / "weights.safetensors").unlink()
    done = cli(*command, "--models", "all")
    assert done.code == 2
    first, second, last = done.err.splitlines()
    assert first.startswith("skipped cifar10/tiny: the test images")
    assert second.startswith("skipped cifar10/tiny-copy: weights are absent")
    assert last == "robench: no model can run: each is skipped for the reason above"


@pytest.mark.parametrize("analysis", ["transfer", "landscape", "sparsity"])
def test_an_analysis_without_any_images_is_an_error(
    cli: Cli, tmp_path: Path, models_dir: Path, analysis: str
) -> None:
    shutil.copytree(models_dir / "cifar10" / "tiny", models_dir / "cifar10" / "tiny-copy")
    places = ("--models-dir", models_dir, "--results", tmp_path / "results")
    done = cli("analyze", analysis, "--models", "cifar10/tiny*", *places)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("robench: no model can run: the test images of cifar10")


def test_list_shows_what_is_missing(cli: Cli, tmp_path: Path, models_dir: Path) -> None:
    def states(what: str, *options: object) -> dict[str, str]:
        rows = json.loads(cli("list", what, "--json", *options).out)
        return {row[what.removesuffix("s")]: row["state"] for row in rows}

    models = ("models", "--models-dir", models_dir)
    assert states(*models)["cifar10/tiny"] == "no data: robench data download cifar10"
    assert states("datasets") == {
        "cifar10": "no data: robench data download cifar10",
        "digits": "ready",
        "digits-frames": "ready",
        "mnist": "no data: robench data download mnist",
    }
    mine = tmp_path / "mine"
    write_parquet(mine / "cifar10" / "test-0.parquet", [encode(pixels(CIFAR10, 1)[0])], [0])
    assert states("datasets", "--data-dir", mine)["cifar10"] == "ready"
    assert states(*models, "--data-dir", mine)["cifar10/tiny"] == "ready"


def test_folders_are_named_as_the_file_system_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "absent" / ".." / "mine"))
    assert files.places()[0] == tmp_path / "mine"


def test_data_dir_of_a_run(cli: Cli, tmp_path: Path, models_dir: Path) -> None:
    made = pixels(CIFAR10, 2)
    mine = tmp_path / "mine"
    write_parquet(mine / "cifar10" / "test-0.parquet", [encode(image) for image in made], [0, 1])
    command = run_in(models_dir, tmp_path)
    done = cli(*command, "--models", "cifar10/tiny", "--eps", "8/255", "--data-dir", mine)
    assert done.code == 0
    (path,) = (tmp_path / "results").rglob("*.json")
    assert CIFAR10.load("test").sha256 in json.dumps(json.loads(path.read_text()))
    missing = cli(*command, "--models", "cifar10/tiny", "--data-dir", tmp_path / "nothing")
    assert missing.code == 2
    assert str(tmp_path / "nothing") in missing.err
