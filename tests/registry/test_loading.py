import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from robench.checks.rows import CARD_ACCURACY
from robench.datasets import DIGITS
from robench.errors import ContentError, UsageError
from robench.registry import (
    find_attack,
    load_folder,
    locations,
    model_folders,
    recipe_files,
    select_models,
    split_names,
    training_folder,
)
from tests.support.checkpoints import sign

SIX = {f"digits/{net}-{mode}" for net in ("vgg16", "flex") for mode in ("ann", "hybrid", "stbp")}
CONTROLS = {"digits/control-zero-gradient", "digits/control-random-mask"}


def test_six_models_and_two_controls() -> None:
    assert set(model_folders()) >= SIX | CONTROLS


def test_all_and_globs_leave_out_controls() -> None:
    assert {entry.id for entry in select_models(["all"])} >= SIX
    for patterns in (["all"], ["digits/*"], ["*"]):
        assert not CONTROLS & {entry.id for entry in select_models(patterns)}
    assert {entry.id for entry in select_models(sorted(CONTROLS))} == CONTROLS
    assert {entry.id for entry in select_models(["digits/flex-*", "digits/flex-ann"])} == {
        name for name in SIX if "flex" in name
    }
    with pytest.raises(UsageError):
        select_models(["digits/control-*"])


@pytest.mark.parametrize("name", sorted(SIX | {"digits/control-zero-gradient"}))
def test_card_accuracy_is_that_of_a_fresh_evaluation(name: str) -> None:
    model = load_folder(model_folders()[name])
    images = DIGITS.load("test").first(DIGITS.protocol.slice)
    with torch.no_grad():
        guess = torch.cat([model.logits(part) for part in images.tensor().split(75)]).argmax(1)
    accuracy = (guess == images.targets()).double().mean().item()
    assert model.clean_accuracy is not None
    assert abs(accuracy - model.clean_accuracy) <= CARD_ACCURACY
    if name in SIX:
        assert accuracy >= 0.95


@pytest.mark.parametrize("name", sorted(SIX))
def test_an_ann_counterpart_has_finite_logits_and_gradient(name: str) -> None:
    model = load_folder(model_folders()[name])
    counterpart = model.counterpart()
    if name.endswith("-ann"):
        assert counterpart is None
        return
    assert counterpart is not None
    images = DIGITS.load("test").first(8)
    x = images.tensor().requires_grad_()
    logits = counterpart(x)
    logits.gather(1, images.targets()[:, None]).sum().backward()
    assert logits.shape == (8, 10)
    assert logits.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.flatten(1).any(1).all()


def test_weights_load_strictly(tmp_path: Path) -> None:
    source = model_folders()["digits/vgg16-ann"]
    state = load_file(source / "weights.safetensors")
    key = next(name for name, tensor in state.items() if tensor.dim() == 4)
    damaged = {
        "missing": {k: v for k, v in state.items() if k != key},
        "unexpected": state | {"extra": torch.zeros(1)},
        "shape": state | {key: state[key].flatten()[:1].clone()},
    }
    for name, tensors in damaged.items():
        folder = shutil.copytree(source, tmp_path / name)
        save_file(tensors, folder / "weights.safetensors")
        sign(folder)
        with pytest.raises(ContentError, match=r"weights\.safetensors: cannot be loaded") as caught:
            _ = load_folder(folder).module
        assert ("extra" if name == "unexpected" else key) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_attack_parameters() -> None:
    attack = find_attack("pgd[steps=100,restarts=5]")
    assert attack.name == "pgd[restarts=5,steps=100]"
    assert attack.attack.model_dump()["steps"] == 100
    assert attack.attack.model_dump()["restarts"] == 5
    assert find_attack("pgd[restarts=5, steps=100]") == attack
    assert find_attack("pgd").name == "pgd"
    assert split_names("fgsm, pgd[steps=100,restarts=5],spgd") == [
        "fgsm",
        "pgd[steps=100,restarts=5]",
        "spgd",
    ]


def test_recipes_are_found_where_models_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = model_folders()["digits/vgg16-ann"]
    shutil.copytree(source, tmp_path / "digits" / "mine")
    monkeypatch.setenv(locations.VARIABLE, str(tmp_path))
    assert model_folders()["digits/mine"] == tmp_path / "digits" / "mine"
    assert recipe_files()["digits/mine"] == tmp_path / "digits" / "mine" / "recipe.toml"


def test_a_checkpoint_trained_beside_an_installation_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, source = "digits/vgg16-ann", model_folders()["digits/vgg16-ann"]
    package, cache = tmp_path / "site-packages" / "robench", tmp_path / "cache"
    carried = package / "_contents" / "models" / name
    monkeypatch.setattr(locations, "_PACKAGE", package)
    monkeypatch.setattr(locations, "user_cache_path", lambda _: cache)
    assert training_folder(source / "recipe.toml") == source

    shutil.copytree(source, carried, ignore=shutil.ignore_patterns("weights.*"))
    assert model_folders() == {name: carried}
    (entry,) = select_models(["all"])
    assert f"robench train {name}" in entry.missing

    trained = training_folder(recipe_files()[name])
    assert trained == cache / "models" / name
    shutil.copytree(source, trained)
    assert model_folders() == {name: trained}
    (entry,) = select_models(["all"])
    assert not entry.missing

    shutil.copy(source / "weights.safetensors", carried)
    assert model_folders() == {name: carried}
    # a folder that the user names wins even without weights
    chosen = tmp_path / "chosen" / name
    shutil.copytree(source, chosen, ignore=shutil.ignore_patterns("weights.*"))
    assert model_folders(tmp_path / "chosen") == {name: chosen}
