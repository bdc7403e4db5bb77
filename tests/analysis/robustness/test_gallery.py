from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robench.analysis.robustness.examples import find_galleries, first_of_each_class
from robench.analysis.robustness.gallery import draw_gallery
from robench.analysis.robustness.stored import read_tables
from robench.datasets import DIGITS, DIGITS_FRAMES
from robench.epsilon import parse_grid
from robench.errors import ContentError, UsageError
from robench.results import ROBUST, AdversarialExamples
from tests.support.commands import Cli, refused
from tests.support.made_up import GRID, Builder

SAMPLES = 20
IMAGES = DIGITS.read("test").first(SAMPLES)


def add(
    builder: Builder, model: str, found: set[int], *, by: float = 8 / 255, **more
) -> np.ndarray:
    """A cell with adversarial examples of some samples, brighter by ``by``; sample 0 is wrong."""
    positions = np.array([4 if k in found else ROBUST for k in range(SAMPLES)])
    positions[0] = 0
    facts = {"data_sha256": IMAGES.sha256} | more
    cell = builder.add(model, "spgd", positions, **facts)
    index = np.flatnonzero(positions != ROBUST)
    clean = IMAGES.tensor()[index].numpy()
    bright = np.clip(clean + np.where(positions[index] > 0, by, 0)[:, None, None, None], 0, 1)
    builder.change(cell, AdversarialExamples(index, bright.astype(np.float32)))
    return bright


def test_the_same_images_are_shown_for_all_models(builder: Builder) -> None:
    add(builder, "digits/a-stbp", set(range(2, 9)))
    add(builder, "digits/b-stbp", set(range(5, 15)), by=4 / 255)
    (gallery,) = find_galleries(read_tables(builder.store), "spgd", 8)
    assert sorted(gallery.labels) == sorted(IMAGES.labels[5:9])
    assert [one.name for one in gallery.examples] == ["a-stbp", "b-stbp"]
    for one, by in zip(gallery.examples, (8 / 255, 4 / 255), strict=True):
        assert (one.images - gallery.clean).max() == pytest.approx(by, abs=1e-6)
        assert set(one.epsilons) == {GRID[4].text}
        assert one.predictions is None  # no such model is installed
    assert gallery.factor == int(0.5 * 255 / 8)
    captions = [text.get_text() for text in draw_gallery(gallery).texts]
    label = gallery.labels[0]
    assert captions.count(f"class {label}") == 1
    assert f"{GRID[4].text}: {label} → ?" in captions
    assert f"perturbation × {gallery.factor}" in captions


def test_as_many_classes_as_possible_are_shown() -> None:
    labels = np.array([3, 3, 1, 3, 2, 1])
    index = np.arange(6)
    assert first_of_each_class(index, labels, 3).tolist() == [2, 4, 0]
    assert first_of_each_class(index, labels, 5).tolist() == [2, 5, 4, 0, 1]
    assert first_of_each_class(index[1:2], labels, 5).tolist() == [1]


def test_the_prediction_is_that_of_the_cells_model(builder: Builder) -> None:
    import robench

    model = robench.load_model("digits/vgg16-ann")
    facts = {"fingerprint": model.fingerprint, "mode": "ann"}
    add(builder, "digits/vgg16-ann", {1, 2, 3}, **facts)
    add(builder, "digits/flex-ann", {1, 2, 3}, mode="ann")  # of other weights than the installed
    (gallery,) = find_galleries(read_tables(builder.store), "spgd", 8)
    by_name = {one.name: one for one in gallery.examples}
    assert by_name["flex-ann"].predictions is None
    found = by_name["vgg16-ann"].predictions
    assert found is not None
    assert len(found) == 3
    assert all(0 <= guess < 10 for guess in found)


def test_frames_show_their_mean_over_time(builder: Builder) -> None:
    frames = DIGITS_FRAMES.read("test").first(SAMPLES)
    positions = np.ones(SAMPLES, dtype=int)
    grid = parse_grid(["8/255"])
    cell = builder.add("digits-frames/a-stbp", "spgd", positions, grid=grid, timesteps=4,
                       dataset="digits-frames", data_sha256=frames.sha256)  # fmt: skip
    bright = np.clip(frames.tensor().numpy() + 8 / 255, 0, 1)
    builder.change(cell, AdversarialExamples(np.arange(SAMPLES), bright))
    (gallery,) = find_galleries(read_tables(builder.store), "spgd", 3)
    assert gallery.clean.ndim == 4
    assert gallery.examples[0].images.shape == gallery.clean.shape
    assert any("mean over time" in text.get_text() for text in draw_gallery(gallery).texts)


def test_other_images_than_those_of_the_results_are_refused(builder: Builder) -> None:
    add(builder, "digits/a-stbp", {1, 2}, data_sha256="e" * 64)
    with pytest.raises(ContentError, match="not those of the results"):
        find_galleries(read_tables(builder.store), "spgd", 8)


def test_models_without_a_common_image_are_refused(builder: Builder) -> None:
    add(builder, "digits/a-stbp", {1, 2})
    add(builder, "digits/b-stbp", {3})
    with pytest.raises(UsageError, match="no image has an adversarial example of each"):
        find_galleries(read_tables(builder.store), "spgd", 8)


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_the_command_writes_a_figure(cli: Cli, builder: Builder, tmp_path: Path, form: str) -> None:
    add(builder, "digits/a-stbp", set(range(1, 20)))
    done = cli("analyze", "gallery", "--results", builder.store.root, "--output",
               tmp_path / "figures", "--format", form, "--count", "3")  # fmt: skip
    assert done.code == 0, done.err
    assert "3 images of a-stbp" in done.out
    path = tmp_path / "figures" / f"digits-gallery-spgd.{form}"
    assert path.stat().st_size > 1000
    if form == "png":
        with Image.open(path) as picture:
            assert picture.mode == "RGB"  # 256 colours are too few for images


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--attack", "pgd"), ("robench run --models all --attacks pgd --keep-examples",)),
        (("--models", "digits/b-stbp"), ("run --models digits/b-stbp --attacks spgd",)),
        (("--count", "0"), ("--count 0", "between 1 and 12")),
        (("--count", "13"), ("between 1 and 12",)),
        (("--models", "nothing*"), ("no such model",)),
    ],
)
def test_a_wrong_argument_is_one_line(cli: Cli, builder, tmp_path, arguments, texts) -> None:
    add(builder, "digits/a-stbp", {1, 2})
    builder.add("digits/b-stbp", "spgd", np.ones(SAMPLES, dtype=int), data_sha256=IMAGES.sha256)
    command = ["--results", builder.store.root, "--output", tmp_path / "figures", *arguments]
    refused(cli("analyze", "gallery", *command), *texts)
