"""The checkpoints and images that a run measures on."""

from __future__ import annotations

from functools import cache

from robench import Model, select_models
from robench.datasets import Dataset, Images, find_dataset
from robench.errors import RobenchError

STAND_INS = {"cifar10/vgg16-stbp": "digits/vgg16-stbp", "cifar10/vgg16-ann": "digits/vgg16-ann"}
"""What is measured where the checkpoint or its data are not at hand."""


def load_model(model_id: str) -> Model:
    """A checkpoint, fresh from its folder."""
    (entry,) = select_models([model_id])
    return entry.load()


def load_images(model_id: str, count: int) -> tuple[Dataset, Images]:
    """The data set that an id begins with and its first test images."""
    dataset = find_dataset(model_id.partition("/")[0])
    return dataset, dataset.load("test").first(count)


@cache
def weights_of(model_id: str) -> str:
    """What tells the weights of a checkpoint from others under its name; empty without any."""
    try:
        return load_model(model_id).fingerprint[:16]
    except (RobenchError, OSError):
        return ""


def at_hand(model_id: str) -> str:
    """The id itself, or its stand-in where weights or data are missing.

    Raises:
        RobenchError: the model cannot be loaded and has no stand-in.
    """
    try:
        load_model(model_id)
        load_images(model_id, 1)
    except (RobenchError, OSError):
        if model_id not in STAND_INS:
            raise
        return STAND_INS[model_id]
    return model_id
