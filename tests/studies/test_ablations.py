"""What each part of FLEX contributes: recipes, trainings that continue, and the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robench.results import ResultStore
from robench.training import Recipe, find_recipe
from studies import ablations
from studies.ablations import (
    MODES,
    REFERENCE,
    VARIANTS,
    Variant,
    ablation_table,
    merged,
    train_variants,
    variants,
)
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli


def test_a_variant_differs_only_in_what_its_name_says() -> None:
    known = {name: Variant("digits", "stbp", name, 1).recipe() for name in VARIANTS}
    first = known[REFERENCE]
    assert first.model.flex.plasticity == 0
    for name, recipe in known.items():
        Recipe.model_validate(recipe.model_dump(exclude_defaults=True))  # it can be trained
        own = Variant("digits", "ann", name, 1).id
        assert (recipe.training.seed, recipe.training.init) == (1, own)
        assert recipe.training.model_copy(update={"init": ""}) == first.training.model_copy(
            update={"init": ""}
        )
        _, options = VARIANTS[name]
        if options is None:
            assert recipe.model.architecture == "vgg16"
            continue
        assert recipe.model.architecture == "flex-vgg16"
        changed = recipe.model.flex.model_dump().items() - first.model.flex.model_dump().items()
        assert dict(changed) == options
    ids = [one.id for one in variants(["digits"], 2, list(VARIANTS), MODES)]
    assert len(ids) == len(set(ids)) == 4 * len(VARIANTS)


@pytest.mark.parametrize(
    "options",
    [("--variants", "soft"), ("--variants", "flex,sofd"), ("--modes", "stbp"), ("--modes", "")],
)
def test_what_cannot_be_compared_is_refused(study: Cli, options: tuple[str, str]) -> None:
    done = study("ablations", *options)
    assert done.code == 2
    assert options[0] in done.err


def test_trainings_are_attacked_and_compared_by_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: Cli
) -> None:
    def quick(name: str) -> tuple[Path, Recipe]:
        path, recipe = find_recipe(name)
        once: dict[str, Any] = {"epochs": 1, "warmup_epochs": 0}
        training = recipe.training.model_copy(update=once)
        return path, recipe.model_copy(update={"training": training})

    monkeypatch.setattr(ablations, "find_recipe", quick)
    wanted = variants(["digits"], 1, [REFERENCE, "vgg16"], ["ann"])
    train_variants(wanted, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
    assert len(before) == 2
    train_variants(wanted, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    store = ResultStore(tmp_path / "results")
    table = ablation_table(wanted, tmp_path, store, "fgsm", "20").set_index("variant")
    assert list(table.index) == [REFERENCE, "vgg16"]
    assert table.loc[REFERENCE, "difference"] == 0
    gap = table.loc["vgg16", "accuracy"] - table.loc[REFERENCE, "accuracy"]
    assert table.loc["vgg16", "difference"] == pytest.approx(gap)
    assert float(table.loc["vgg16", "robust_by_seed"]) == table.loc["vgg16", "accuracy"]
    assert float(table.loc["vgg16", "clean_by_seed"]) == table.loc["vgg16", "clean"]
    old = table.reset_index().assign(dataset="mnist")
    both = merged(table.reset_index(), pd.concat([old, table.reset_index()]))
    assert list(both["dataset"]) == ["mnist", "mnist", "digits", "digits"]
    page = tmp_path / "ablations.md"
    options = ("--dataset", "digits", "--trainings", "1", "--attack", "fgsm", "--limit", "20")
    some = ("--variants", "flex,vgg16", "--modes", "ann")
    run = ("ablations", *some, *options, "--folder", tmp_path, "--output", page)
    assert study(*run).code == 0
    assert "| VGG16 | " in page.read_text("utf-8")
    assert study("ablations", "--output", page, "--check").code == 0
    page.write_text("stale", "utf-8")
    assert study("ablations", "--output", page, "--check").code == 1


def test_the_committed_page_is_that_of_its_table(study: Cli) -> None:
    page = ROOT / "studies" / "tables" / "ablations.md"
    assert study("ablations", "--check", "--output", page).code == 0
