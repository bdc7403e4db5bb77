import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from robench.registry import attack_files, load_folder, locations, model_folders
from robench.results import ResultStore
from tests.support.checkpoints import sign
from tests.support.commands import Finished, refused

Cli = Callable[..., Finished]
TINY = ("--limit", "2", "--eps", "8/255", "--attacks", "fgsm")


def copy_checkpoint(tmp_path: Path, name: str) -> Path:
    """A copy of a checkpoint of digits that a test may damage."""
    folder = tmp_path / "models" / "digits" / name
    shutil.copytree(model_folders()[f"digits/{name}"], folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return copy_checkpoint(tmp_path, "vgg16-ann")


def run_copy(cli: Cli, checkpoint: Path, output: Path, *, by_folder: bool) -> Finished:
    if by_folder:
        return cli("run", "--models", checkpoint, *TINY, "--output", output)
    found = ("--models", f"digits/{checkpoint.name}", "--models-dir", checkpoint.parents[1])
    return cli("run", *found, *TINY, "--output", output)


def corrupt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("by_folder", [False, True], ids=["models-dir", "folder"])
@pytest.mark.parametrize("damage", [corrupt, truncate, empty])
def test_damaged_weights(
    cli: Cli, tmp_path: Path, checkpoint: Path, damage: Callable[[bytes], bytes], by_folder: bool
) -> None:
    weights = checkpoint / "weights.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    done = run_copy(cli, checkpoint, tmp_path / "results", by_folder=by_folder)
    refused(done, weights, "SHA-256", "damaged")


def test_truncated_weights_with_a_matching_digest(
    cli: Cli, tmp_path: Path, checkpoint: Path
) -> None:
    weights = checkpoint / "weights.safetensors"
    weights.write_bytes(truncate(weights.read_bytes()))
    sign(checkpoint)
    done = run_copy(cli, checkpoint, tmp_path / "results", by_folder=False)
    refused(done, weights, "cannot be loaded")


def listed(cli: Cli, what: str, name: str, *options: object) -> str:
    done = cli("list", what, "--json", *options)
    assert (done.code, done.err) == (0, "")
    (row,) = (row for row in json.loads(done.out) if row[what.removesuffix("s")] == name)
    return str(row["state"])


def test_list_says_what_is_wrong_with_a_model(cli: Cli, checkpoint: Path) -> None:
    name, options = "digits/vgg16-ann", ("--models-dir", checkpoint.parents[1])
    assert listed(cli, "models", name, *options) == "ready"
    weights, card = checkpoint / "weights.safetensors", checkpoint / "model.toml"
    whole, text = weights.read_bytes(), card.read_text("utf-8")
    for damage in (corrupt, truncate):
        weights.write_bytes(damage(whole))
        assert listed(cli, "models", name, *options).startswith(f"weights damaged: {weights}: SHA")
    sign(checkpoint)
    assert "weights damaged" in listed(cli, "models", name, *options)
    assert "cannot be loaded" in listed(cli, "models", name, *options)
    card.write_text(text.replace("classes = 10", ""), "utf-8")
    state = listed(cli, "models", name, *options)
    assert state.startswith("card damaged: ")
    assert "model.classes" in state


def test_a_card_of_another_data_set_than_its_folder_is_refused(
    cli: Cli, tmp_path: Path, checkpoint: Path
) -> None:
    card, text = checkpoint / "model.toml", (checkpoint / "model.toml").read_text("utf-8")
    card.write_text(text.replace('dataset = "digits"', 'dataset = "cifar10"'), "utf-8")
    texts = (card, "model.dataset", "'cifar10'", "'digits'")
    for by_folder in (False, True):
        refused(run_copy(cli, checkpoint, tmp_path / "out", by_folder=by_folder), *texts)
    state = listed(cli, "models", "digits/vgg16-ann", "--models-dir", checkpoint.parents[1])
    assert state.startswith("card damaged: ")
    assert "model.dataset" in state
    moved = checkpoint.rename(tmp_path / "anywhere")  # no data set's folder: the card decides
    assert load_folder(moved).id == "cifar10/anywhere"


def test_a_recipe_of_another_data_set_than_its_folder_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "models" / "cifar10" / "net" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    shutil.copy(model_folders()["digits/vgg16-ann"] / "recipe.toml", recipe)
    monkeypatch.setattr(locations, "_roots", lambda: [tmp_path])
    refused(cli("train", "cifar10/net"), recipe, "model.dataset", "'digits'", "'cifar10'")


def test_one_damaged_attack_card_hides_no_other(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = attack_files()
    damaged = {
        "implementation": ('"spgd"', '"spdg"'),
        "surrogate": ("assg_scaled(", "asgg_scaled("),
    }
    for name, change in damaged.items():
        cards[name] = tmp_path / f"{name}.toml"
        cards[name].write_text(cards["spgd"].read_text("utf-8").replace(*change), "utf-8")
    for module in ("attacks", "locations"):
        monkeypatch.setattr(f"robench.registry.{module}.attack_files", lambda: cards)
    assert listed(cli, "attacks", "fgsm") == "ready"
    assert listed(cli, "attacks", "spgd") == "ready"
    for name in damaged:
        state = listed(cli, "attacks", name)
        assert str(cards[name]) in state
        assert "did you mean" in state
        done = cli("run", "--attacks", name, "--output", tmp_path / "results")
        refused(done, cards[name])
    assert "fgsm" in cli("list", "attacks").out


def test_a_folder_without_a_card_is_reported(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    done = cli("run", "--models", tmp_path / "net", *TINY, "--output", tmp_path / "out")
    refused(done, tmp_path / "net", "has no model.toml")


def test_absent_weights(cli: Cli, tmp_path: Path, checkpoint: Path) -> None:
    (checkpoint / "weights.safetensors").unlink()
    done = run_copy(cli, checkpoint, tmp_path / "results", by_folder=False)
    refused(done, "weights.safetensors")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("classes = 10", "", "model.classes"),
        ("classes = 10", 'classes = "ten"', "model.classes"),
        ("classes = 10", "clases = 10\nclasses = 10", "model.clases"),
        ('architecture = "vgg16"', 'architecture = "vgg17"', "model.architecture"),
        ("classes = 10", "classes = 10\nmean = [nan, 0.5, 0.5]", "model.mean.0"),
        ("classes = 10", "classes = 10\nstd = [inf, 0.5, 0.5]", "model.std.0"),
        ("classes = 10", "classes = 10\nmean = []\nstd = []", "model.mean"),
        ("[weights]", "[wheights]", "weights"),
        ('sha256 = "', 'sha256 = "x', "weights.sha256"),
        ("[about]", "[about", "not valid TOML"),
    ],
)
def test_damaged_card(
    cli: Cli, tmp_path: Path, checkpoint: Path, old: str, new: str, key: str
) -> None:
    card = checkpoint / "model.toml"
    text = re.sub(r"^(mean|std) = \[[^]]*\]\n", "", card.read_text("utf-8"), flags=re.M)
    assert old in text
    card.write_text(text.replace(old, new, 1), "utf-8")
    for by_folder in (False, True):
        done = run_copy(cli, checkpoint, tmp_path / "results", by_folder=by_folder)
        refused(done, card, key)


def test_damaged_neuron(cli: Cli, tmp_path: Path) -> None:
    checkpoint = copy_checkpoint(tmp_path, "vgg16-stbp")
    card = checkpoint / "model.toml"
    text, old = card.read_text("utf-8"), 'surrogate = "atan(2)"'
    assert old in text
    card.write_text(text.replace(old, 'surrogate = "atam(2)"', 1), "utf-8")
    for by_folder in (False, True):
        done = run_copy(cli, checkpoint, tmp_path / "results", by_folder=by_folder)
        refused(done, card, "model.neuron.surrogate")


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("ending", [".json", ".parquet"])
def test_result_cut_in_half_is_reported_and_redone(cli: Cli, tmp_path: Path, ending: str) -> None:
    command = ("run", "--models", "smallmodels:small", "--attacks", "fgsm,noise", "--limit", "20")
    command += ("--eps", "8/255,32/255", "--output", str(tmp_path))
    assert cli(*command).code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    (cut,) = (path for path in before if path.suffix == ending and path.parent.name == "fgsm")
    cut.write_bytes(truncate(before[cut]))
    done = cli(*command)
    assert done.code == 0
    assert len(done.err.splitlines()) == 1
    assert str(cut) in done.err
    assert "computed again" in done.err
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for path, data in before.items():
        if path != cut:
            assert after[path] == data or (path.suffix == ".json" and path.parent.name == "fgsm")
    if ending == ".parquet":  # rows are never replaced: another run may be about to name them
        assert before[cut] in (data for path, data in after.items() if path not in before)
    assert cli(*command).err == ""


@pytest.mark.usefixtures("small_models")
def test_other_values_behind_a_whole_footer_are_reported_and_redone(
    cli: Cli, tmp_path: Path
) -> None:
    command = ("run", "--models", "smallmodels:small", "--attacks", "fgsm", "--limit", "20")
    command += ("--eps", "8/255,32/255", "--output", str(tmp_path))
    assert cli(*command).code == 0
    (path,) = tmp_path.rglob("*.parquet")
    before = pd.read_parquet(path)
    before.assign(minimal_position=-1).to_parquet(path, index=False)
    done = cli(*command)
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith(f"damaged result, computed again: {path}: ")
    store = ResultStore(tmp_path)
    (cell,), damaged = store.cells()
    assert not damaged
    assert store.rows(cell).equals(before)
    assert cli(*command).err == ""
