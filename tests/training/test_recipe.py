from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robench.architectures import VGG
from robench.datasets import find_dataset
from robench.errors import ContentError
from robench.training import Recipe, find_recipe
from tests.support.checkpoints import ROOT
from tests.support.recipes import adversarial, recipe


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("epochs = 2", 'epochs = "two"', "training.epochs"),
        ("epochs = 2", 'epochs = 2\nautocast = "float16"', "training.autocast"),
        ("epochs = 2", 'epochs = 2\nschedule = "step"', "training.schedule"),
        ("epochs = 2", "", "training.epochs"),
        ("epochs = 2", "epochs = 0", "training"),
        (
            "warmup_epochs = 1",
            "warmup_epoch = 1",
            "warmup_epoch: there is no such key; did you mean",
        ),
        ("[training]", "[trainig]", "trainig: there is no such key; did you mean"),
        ("learning_rate = 0.05", "learning_rate = inf", "training.learning_rate"),
        ("epochs = 2", "epochs = 2\nseed = 9223372036854775808", "training.seed"),
        ("epochs = 2", "epochs = 2\nthreads = 99999999999", "training.threads"),
        ("batch_size = 32", "batch_size = 99999999999", "training.batch_size"),
        ("warmup_epochs = 1", "warmup_epochs = 3", "warmup_epochs is 3, epochs is 2"),
        ('"shift"', '"mixup"', "training.augment"),
        ("classes = 10", "classes = 1", "model.classes"),
        ("warmup_epochs", 'loss = "tet"\nwarmup_epochs', "tet belong to stbp"),
        (
            "batch_size",
            "timesteps_schedule = [{epochs = 1, timesteps = 2}]\nbatch_size",
            "training",
        ),
    ],
)
def test_bad_recipe_names_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    recipe(tmp_path)
    path = tmp_path / "recipe.toml"
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(ContentError) as caught:
        Recipe.read(path)
    assert str(path) in str(caught.value)
    assert key in str(caught.value)
    assert "Value error" not in str(caught.value)  # the prefix of pydantic


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"digits"', '"digit"', "key model.dataset: unknown data set 'digit'"),
        ('"digits"', '"mnist"', "key model.dataset: 'mnist', but the folder lies in 'digits'"),
        ("classes = 10", "classes = 5", "model has 5 classes, digits has 10"),
        ("classes = 10", "classes = 20", "model has 20 classes, digits has 10"),
        ("[training]", '[training]\ninit = "digits/tiny"', "digits/tiny is the model itself"),
    ],
)
def test_recipe_that_does_not_fit_data_set_or_folder_is_refused(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    folder = tmp_path / "digits" / "tiny"
    folder.mkdir(parents=True)
    recipe(folder)
    path = folder / "recipe.toml"
    assert find_recipe(str(folder))[0] == path
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(ContentError) as caught:
        find_recipe(str(path))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


RECIPES = sorted(ROOT.glob("models/*/*/recipe.toml"))


def model_id(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.parent.name}"


def test_every_image_data_set_has_recipes_of_all_six_kinds() -> None:
    found = {model_id(path) for path in RECIPES}
    for dataset in ("cifar10", "digits", "mnist"):
        for mode in ("ann", "hybrid", "stbp"):
            assert {f"{dataset}/vgg16-{mode}", f"{dataset}/flex-{mode}"} <= found


@pytest.mark.parametrize("path", RECIPES, ids=model_id)
def test_published_recipes_are_readable_and_build(path: Path) -> None:
    made = Recipe.read(path)
    assert made.model.dataset == path.parent.parent.name
    assert made.about.control == path.parent.name.startswith("control-")
    dataset = find_dataset(made.model.dataset)
    hybrid = made.model.mode == "hybrid"
    net = VGG(made.model, counterpart=hybrid).eval()
    if made.model.input_kind == "images":
        net.timesteps = min(net.timesteps, 2)
    assert net(torch.rand(1, *dataset.shape)).shape == (1, dataset.classes)
    if made.training.init:
        start = VGG(Recipe.read(ROOT / "models" / made.training.init / "recipe.toml").model)
        shapes = {name: value.shape for name, value in start.state_dict().items()}
        for name, value in net.state_dict().items():
            if not name.endswith(".threshold"):
                assert shapes[name] == value.shape, name
    if hybrid:  # the trained network is the deployed one
        VGG(made.model).load_state_dict(net.state_dict(), strict=True)


@pytest.mark.parametrize(
    ("epsilon", "message"), [("8/0", "no|not a number"), ("-1/255", "negative"), ("2", "above 1")]
)
def test_an_epsilon_of_training_has_to_be_one(tmp_path: Path, epsilon: str, message: str) -> None:
    with pytest.raises(ContentError, match=message):
        recipe(tmp_path, training=adversarial((1, "0"), (1, epsilon)))


def test_an_adversarial_schedule_covers_all_epochs(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="adversarial_schedule has 1 epochs, epochs says 2"):
        recipe(tmp_path, training=adversarial((1, "8/255")))
