"""The checkpoints and images that a run measures on."""

from __future__ import annotations

from functools import cache

from robench import Model, select_models
from robench.datasets import Dataset, Images, find_dataset
from robench.datasets.base import Split
from robench.errors import RobenchError
from robench.model_id import ModelId

REPLACEMENTS = {"cifar10/vgg16-stbp": "digits/vgg16-stbp", "cifar10/vgg16-ann": "digits/vgg16-ann"}
"""The replacements for checkpoints whose weights or data are missing."""


def load_model(model_id: str) -> Model:
    """A checkpoint, loaded from its folder."""
    (entry,) = select_models([model_id])
    return entry.load()


def load_images(model_id: str, count: int, split: Split = "test") -> tuple[Dataset, Images]:
    """The data set of a model and its first images."""
    dataset = find_dataset(ModelId(model_id).dataset)
    return dataset, dataset.load(split).first(count)


@cache
def weights_of(model_id: str) -> str:
    """The first digits of the weights' SHA-256; empty if the checkpoint cannot be loaded."""
    try:
        return load_model(model_id).fingerprint[:16]
    except (RobenchError, OSError):
        return ""


def available(model_id: str) -> str:
    """The id itself, or that of its replacement if weights or data are missing.

    Raises:
        RobenchError: the model cannot be loaded and has no replacement.
    """
    try:
        load_model(model_id)
        load_images(model_id, 1)
    except (RobenchError, OSError):
        if model_id not in REPLACEMENTS:
            raise
        return REPLACEMENTS[model_id]
    return model_id
