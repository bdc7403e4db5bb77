from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from robench.errors import ContentError, UsageError
from robench.registry import ModelCard, seed_folder
from robench.training import Recipe, train
from studies.seeds import find_seeds, seeds_page
from tests.support.checkpoints import ROOT
from tests.support.commands import Finished
from tests.support.recipes import recipe_text

Cli = Callable[..., Finished]

TRAINING = 'epochs = 0\nbatch_size = 32\nlearning_rate = 0.05\ninit = "digits/{}"'


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models with two trained recipes; the second starts from the first."""
    for name, init in (("start", "vgg16-ann"), ("tiny", "start")):
        folder = tmp_path / "models" / "digits" / name
        folder.mkdir(parents=True)
        text = recipe_text(TRAINING.format(init), 'pool = "max"')
        (folder / "recipe.toml").write_text(text, "utf-8")
        train(Recipe.read(folder / "recipe.toml"), folder)
    return tmp_path / "models"


def edit(card: Path, old: str, new: str) -> None:
    text = card.read_text("utf-8")
    assert old in text
    card.write_text(text.replace(old, new), "utf-8")


def test_a_seed_goes_beside_its_model_and_finds_the_weights_to_start_from(
    models: Path, cli: Cli
) -> None:
    recipe = models / "digits" / "tiny" / "recipe.toml"
    assert cli("train", recipe, "--seed", "7").code == 0
    folder = seed_folder(recipe.parent, 7)
    assert ModelCard.read(folder / "model.toml").about.seed == 7
    assert (folder / "training.csv").is_file()
    assert ModelCard.read(recipe.parent / "model.toml").about.seed == 0


def test_the_recipes_own_seed_and_a_folder_of_the_users_have_no_folder_of_seeds(
    models: Path, tmp_path: Path, cli: Cli
) -> None:
    recipe = models / "digits" / "start" / "recipe.toml"
    assert cli("train", recipe, "--seed", "0", "--restart").code == 0
    assert cli("train", recipe, "--seed", "1", "--output", models / "..").code == 0
    assert not (recipe.parent / "seeds").exists()
    assert (tmp_path / "digits" / "start" / "model.toml").is_file()


def test_the_table_has_each_seed_and_how_far_they_scatter(models: Path) -> None:
    folder = models / "digits" / "tiny"
    own = Recipe.read(folder / "recipe.toml")
    for seed, accuracy in ((2, "0.5"), (10, "0.7")):
        train(own.with_seed(seed), seed_folder(folder, seed))
        card = seed_folder(folder, seed) / "model.toml"
        lines = card.read_text("utf-8").splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("clean_accuracy"))
        lines[at] = f"clean_accuracy = {accuracy}"
        card.write_text("\n".join(lines), "utf-8")
    mine = next(one for one in find_seeds(models) if one.model == "digits/tiny")
    first = mine.accuracies[0]
    assert list(mine.accuracies) == [0, 2, 10]
    mean = (first + 1.2) / 3
    squares = (first - mean) ** 2 + (0.5 - mean) ** 2 + (0.7 - mean) ** 2
    assert mine.mean == pytest.approx(mean)
    assert mine.deviation == pytest.approx((squares / 2) ** 0.5)
    assert f"0: {first:.1%}, 2: 50.0%, 10: 70.0% | {mean:.1%}" in seeds_page([mine])


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("epochs = 0", "epochs = 3", "another number of epochs"),
        ('pool = "max"', 'pool = "average"', "another network"),
        ("seed = 1", "seed = 2", "the seed is 2, not the folder's"),
    ],
)
def test_a_card_of_another_training_is_an_error(
    models: Path, old: str, new: str, what: str
) -> None:
    folder = models / "digits" / "tiny"
    train(Recipe.read(folder / "recipe.toml").with_seed(1), seed_folder(folder, 1))
    edit(seed_folder(folder, 1) / "model.toml", old, new)
    with pytest.raises(ContentError, match=what):
        find_seeds(models)


def test_a_seed_that_is_the_models_own_is_an_error(models: Path) -> None:
    folder = models / "digits" / "tiny"
    train(Recipe.read(folder / "recipe.toml"), seed_folder(folder, 0))
    with pytest.raises(ContentError, match="the same seed as the model's"):
        find_seeds(models)


def test_without_a_second_seed_there_is_no_table() -> None:
    with pytest.raises(UsageError, match="--seed"):
        seeds_page([])


def test_a_stale_page_is_reported_with_the_command_that_writes_it(
    study: Cli, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("old\n", "utf-8")
    stale = study("seeds", "--output", page, "--check")
    assert (stale.code, stale.out) == (1, "")
    assert stale.err.endswith("make it again with: python -m studies seeds\n")
    assert study("seeds", "--output", page).code == 0
    assert study("seeds", "--output", page, "--check").code == 0


def test_the_published_page_is_that_of_the_cards(study: Cli) -> None:
    page = ROOT / "studies" / "tables" / "seeds.md"
    done = study("seeds", "--check", "--models-dir", ROOT / "models", "--output", page)
    assert (done.code, done.err) == (0, "")
