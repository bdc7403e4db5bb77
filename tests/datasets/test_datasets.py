import re
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from robench import plugins
from robench.datasets import DIGITS, Images, dataset_names, digits, find_dataset
from robench.datasets.digits import enlarge, interpolation
from robench.epsilon import make_grid
from robench.errors import PluginError, UsageError


def test_digits_splits_every_eighth_image_off() -> None:
    train, test = DIGITS.load("train"), DIGITS.load("test")
    assert (len(train), len(test)) == (1572, 225)
    assert test.images.shape[1:] == DIGITS.shape
    assert set(test.labels) == set(train.labels) == set(range(DIGITS.classes))
    assert len(test) == DIGITS.protocol.slice


def test_digits_pixels_are_the_published_ones() -> None:
    sha = "4e2f0aaeebb3541f3db28377b4df2d4276f50e30fb792158dd28ba6f4e3e5367"
    assert DIGITS.load("test").sha256 == sha


def test_enlarging_is_bilinear_to_half_a_grey_level() -> None:
    raw = np.random.default_rng(0).integers(0, 17, (5, 8, 8))
    ours = enlarge(raw)
    exact = interpolate(
        torch.tensor(raw)[:, None] * 255 / 16, scale_factor=4.0, mode="bilinear"
    ).numpy()
    assert ours.dtype == np.uint8
    assert ours.shape == (5, 3, 32, 32)
    assert np.abs(ours - exact).max() <= 0.5 + 1e-4  # the reference is computed in float32


def test_interpolation_weights_sum_to_one() -> None:
    weights = interpolation(8, 4)
    assert weights.shape == (32, 8)
    assert (weights.sum(1) == 8).all()
    assert (weights >= 0).all()


def test_images_become_float32_in_the_unit_interval() -> None:
    x = DIGITS.load("test").tensor()
    assert x.dtype == torch.float32
    assert 0 == x.min() < x.max() == 1


def test_digest_depends_on_pixels_labels_and_order() -> None:
    images = DIGITS.load("test").first(4)
    pixels = images.images.copy()
    pixels[0, 0, 0, 0] += 1
    labels = images.labels.copy()
    labels[0] += 1
    order = [1, 0, 2, 3]
    variants = [
        images,
        images.first(3),
        Images(pixels, images.labels),
        Images(images.images, labels),
        Images(images.images[order], images.labels[order]),
    ]
    assert len({variant.sha256 for variant in variants}) == len(variants)
    assert Images(images.images.copy(), images.labels.copy()).sha256 == images.sha256


@pytest.mark.parametrize("name", dataset_names())
def test_protocol_is_consistent(name: str) -> None:
    protocol = find_dataset(name).protocol
    for norm, grid in protocol.grids.items():
        assert make_grid(grid) == grid
        assert grid[0].text == "0"
        assert protocol.headline[norm] in grid
        assert set(protocol.auc_limits[norm]) <= set(grid)
    assert protocol.seeds


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=re.escape("'cifar'; did you mean cifar10?")):
        find_dataset("cifar")


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("mine", "no_such_module:DATA", "'mine'.*no_such_module"),
        ("mine", "robench.errors:UsageError", "no robench Dataset"),
        ("digits", "robench.datasets.digits:DIGITS", "and by robench"),
    ],
)
def test_bad_plugin_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, match: str
) -> None:
    points = EntryPoints([EntryPoint(name, value, plugins.DATASETS)])
    monkeypatch.setattr(plugins, "_installed", lambda group, path: points.select(group=group))
    assert name in dataset_names()
    with pytest.raises(PluginError, match=match):
        find_dataset(name)


def test_plugin_provides_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("mine", "robench.datasets:DIGITS", plugins.DATASETS)])
    monkeypatch.setattr(plugins, "_installed", lambda group, path: points.select(group=group))
    assert find_dataset("mine") is DIGITS


@pytest.mark.parametrize("found", [True, False])
def test_digits_are_those_of_scikit_learn_wherever_its_file_is(
    found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not found:
        monkeypatch.setattr(digits, "find_spec", lambda name: None)
    expected = load_digits()
    pixels, labels = digits._read()
    assert (pixels == expected.images).all()
    assert (labels == expected.target).all()
