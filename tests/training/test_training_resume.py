import csv
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import robench.datasets as registry
from robench.datasets import DIGITS, Images
from robench.errors import ContentError, UsageError
from robench.registry import load_folder
from robench.training import Recipe, Row, train
from robench.training.checkpoint import checkpoint_file
from tests.support.commands import Finished
from tests.support.recipes import recipe_text

Cli = Callable[..., Finished]
ANN = recipe_text("""epochs = 3
batch_size = 32
warmup_epochs = 1
augment = ["crop", "flip", "cutout"]""")
STBP = (
    ANN.replace('"vgg16"', '"flex-vgg16"')
    .replace('"ann"', '"stbp"\ntimesteps = 2')
    .replace(
        "[training]",
        """[model.flex]
plasticity = 0.1
threshold = "redrawn"

[training]
loss = "tet"
timesteps_schedule = [{ epochs = 1, timesteps = 1 }, { epochs = 2, timesteps = 2 }]""",
    )
)
HYBRID = (
    ANN.replace('"vgg16"', '"flex-vgg16"')
    .replace('"ann"', '"hybrid"\ntimesteps = 2\npool = "average"')
    .replace("[training]", "[training]\ncalibration_steps = 2\nreestimate_norm = 2")
)

KILLER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path

import torch

import robench.datasets as registry
from robench.datasets import DIGITS
from robench.training import Recipe, train

few = replace(DIGITS, load=lambda split: DIGITS.load(split).first(128))
registry._BUILT_IN["digits"] = few


def advance(epochs):
    if epochs >= float(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)


torch.rand(7)  # the state of the global generator does not matter
train(Recipe.read(Path(sys.argv[1])), Path(sys.argv[2]), start="resume", advance=advance)
"""


def few(split: Any) -> Images:
    return DIGITS.load(split).first(128)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "digits", replace(DIGITS, load=few))


def recipe_file(folder: Path, text: str = ANN) -> Path:
    path = folder / "models" / "digits" / "tiny" / "recipe.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "training.csv").open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


class StoppedError(Exception):
    pass


def stop_at(epochs: float) -> Callable[[float], None]:
    def advance(done: float) -> None:
        if done >= epochs:
            raise StoppedError

    return advance


@pytest.mark.parametrize("text", [ANN, STBP, HYBRID], ids=["ann", "stbp", "hybrid"])
def test_stopped_trainings_end_like_an_uninterrupted_one(tmp_path: Path, text: str) -> None:
    recipe = Recipe.read(recipe_file(tmp_path, text))
    undisturbed, stopped = tmp_path / "digits" / "undisturbed", tmp_path / "digits" / "stopped"
    train(recipe, undisturbed)
    for epochs in (0.5, 1.5, 2.0, 2.25):
        with pytest.raises(StoppedError):
            train(recipe, stopped, start="resume", advance=stop_at(epochs))
        torch.rand(3)  # the state of the global generator does not matter
    rows: list[Row] = []
    train(recipe, stopped, rows.append, start="resume")
    assert rows[0].epoch == 3
    ours, theirs = weights(stopped), weights(undisturbed)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert log(stopped) == log(undisturbed)
    assert {p.name for p in stopped.iterdir()} == {p.name for p in undisturbed.iterdir()}
    assert load_folder(stopped).fingerprint == load_folder(undisturbed).fingerprint


def test_the_card_names_the_initial_weights(tmp_path: Path) -> None:
    recipe = Recipe.read(recipe_file(tmp_path))
    first = train(recipe, tmp_path / "digits" / "start")
    text = ANN.replace("[training]", '[training]\ninit = "digits/start"')
    second, folder = Recipe.read(recipe_file(tmp_path, text)), tmp_path / "digits" / "tiny"
    with pytest.raises(StoppedError):
        train(second, folder, advance=stop_at(1.5))
    other = train(recipe.with_seed(1), tmp_path / "digits" / "start", start="restart")
    assert first.about.init == ""
    assert other.weights.sha256 != first.weights.sha256
    card = train(second, folder, start="resume")
    assert card.about.init == f"digits/start, weights SHA-256 {first.weights.sha256}"


def test_killed_training_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    path = recipe_file(tmp_path)
    undisturbed, killed = tmp_path / "digits" / "undisturbed", tmp_path / "digits" / "killed"
    train(Recipe.read(path), undisturbed)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(path), str(killed), "2.5"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert {p.name for p in killed.iterdir()} == {".training"}
    train(Recipe.read(path), killed, start="resume")
    ours, theirs = weights(killed), weights(undisturbed)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert log(killed) == log(undisturbed)


def test_log_is_written_during_the_training(tmp_path: Path) -> None:
    recipe, folder = Recipe.read(recipe_file(tmp_path)), tmp_path / "digits" / "tiny"
    with pytest.raises(StoppedError):
        train(recipe, folder, advance=stop_at(2.5))
    assert [row["epoch"] for row in log(folder / ".training")] == ["1", "2"]


def test_command_line_resumes_restarts_and_refuses(cli: Cli, tmp_path: Path) -> None:
    path = recipe_file(tmp_path)
    folder = path.parent
    with pytest.raises(StoppedError):
        train(Recipe.read(path), folder, advance=stop_at(1.5))
    refused = cli("train", path)
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    for part in (folder, "1 epochs done", "--resume", "--restart"):
        assert str(part) in refused.err
    assert cli("train", path, "--resume", "--restart").code == 2

    resumed = cli("train", path, "--resume")
    assert resumed.code == 0
    lines = resumed.out.splitlines()
    assert [line.split()[2] for line in lines[:-1]] == ["2/3", "3/3"]
    assert lines[0].startswith("digits/tiny  epoch 2/3  ann  train loss ")
    assert lines[-1].startswith("digits/tiny  trained, clean accuracy ")
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    kept = cli("train", path, "--resume")
    assert kept.code == 0
    assert kept.out.startswith("digits/tiny  kept, clean accuracy ")
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before

    again = cli("train", path)
    assert again.code == 2
    assert "a finished training is there" in again.err
    with pytest.raises(StoppedError):
        train(Recipe.read(path), folder, start="restart", advance=stop_at(1.5))
    restarted = cli("train", path, "--restart")
    assert restarted.code == 0
    assert "epoch 1/3" in restarted.out


def test_a_finished_training_of_another_recipe_is_refused(cli: Cli, tmp_path: Path) -> None:
    path = recipe_file(tmp_path)
    train(Recipe.read(path), path.parent)
    other = cli("train", path, "--seed", "7", "--resume", "--output", path.parents[2])
    assert other.code == 2
    assert "had another seed" in other.err
    weights = path.with_name("weights.safetensors")
    weights.write_bytes(bytes(500))
    damaged = cli("train", path, "--resume")
    assert damaged.code == 2
    assert str(weights) in damaged.err
    assert "start again with --restart" in damaged.err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('dataset = "digits"', 'dataset = "digit"', "unknown data set 'digit'"),
        ("[training]", '[training]\ninit = "digits/nope"', "no model 'digits/nope'"),
    ],
)
def test_restart_keeps_the_state_if_the_training_cannot_start(
    cli: Cli, tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = recipe_file(tmp_path)
    with pytest.raises(StoppedError):
        train(Recipe.read(path), path.parent, advance=stop_at(1.5))
    recipe_file(tmp_path, path.read_text("utf-8").replace(old, new))
    refused = cli("train", path, "--restart")
    assert refused.code == 2
    assert says in refused.err
    assert checkpoint_file(path.parent).is_file()


def test_two_recipes_cannot_train_in_one_folder(cli: Cli, tmp_path: Path) -> None:
    paths = [recipe_file(tmp_path / place) for place in ("a", "b")]
    done = cli("train", *paths, "--output", tmp_path / "c")
    assert done.code == 2
    assert f"two of these recipes would be trained into {tmp_path / 'c'}" in done.err
    assert not (tmp_path / "c").exists()


def test_state_of_another_recipe_or_other_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = recipe_file(tmp_path), tmp_path / "digits" / "tiny"
    with pytest.raises(StoppedError):
        train(Recipe.read(path), folder, advance=stop_at(1.5))
    other = recipe_file(tmp_path, ANN.replace("batch_size = 32", "batch_size = 16"))
    with pytest.raises(ContentError, match=r"training\.batch_size.*--restart"):
        train(Recipe.read(other), folder, start="resume")
    recipe = Recipe.read(recipe_file(tmp_path))
    fewer = replace(DIGITS, load=lambda split: few(split).first(64))
    with monkeypatch.context() as patch:
        patch.setitem(registry._BUILT_IN, "digits", fewer)
        with pytest.raises(ContentError, match="other images"):
            train(recipe, folder, start="resume")
    saved = checkpoint_file(folder)
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ContentError, match=r"cannot be read.*--restart"):
        train(recipe, folder, start="resume")
    train(recipe, folder, start="restart")
    assert not saved.exists()


def test_tensorboard_gets_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Writer:
        def __init__(self, folder: Path, purge_step: int) -> None:
            calls.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            calls.append((name, step))

        def close(self) -> None:
            calls.append("closed")

    recipe, folder = Recipe.read(recipe_file(tmp_path)), tmp_path / "digits" / "tiny"
    module = "torch.utils.tensorboard"
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(SummaryWriter=Writer))
    train(recipe, folder, events=tmp_path / "events")
    assert calls[0] == (tmp_path / "events", 1)
    assert [step for name, step in calls[1:-1] if name == "train_loss"] == [1, 2, 3]
    assert calls[-1] == "closed"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match="pip install"):
        train(recipe, folder, start="restart", events=tmp_path / "events")
