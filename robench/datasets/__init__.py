"""Data sets by name: those of robench and those of plug-ins."""

from __future__ import annotations

from robench.datasets.base import Dataset, Images, Protocol, Split
from robench.datasets.cifar10 import CIFAR10
from robench.datasets.digits import DIGITS
from robench.datasets.digits_frames import DIGITS_FRAMES
from robench.datasets.files import download, look_first_in
from robench.datasets.mnist import MNIST
from robench.datasets.own import OWN, of_function, of_images, to_images
from robench.errors import PluginError, UsageError, nearest
from robench.plugins import DATASETS, plugins, the_plugin
from robench.user_code import is_reference

_BUILT_IN = {dataset.name: dataset for dataset in (CIFAR10, DIGITS, DIGITS_FRAMES, MNIST)}


def dataset_names() -> tuple[str, ...]:
    """All known names, sorted; no plug-in is imported."""
    return tuple(sorted({*_BUILT_IN, *plugins(DATASETS)}))


def is_plugin(name: str) -> bool:
    """Whether a plug-in provides a data set of that name; no plug-in is imported."""
    return name in plugins(DATASETS)


def find_dataset(name: str) -> Dataset:
    """The data set of that name, or of a user's ``file.py:make`` or ``module:make``.

    Raises:
        UsageError: the name is unknown; the message offers the nearest.
        PluginError: its plug-in or function cannot be loaded, or the name is claimed twice.
    """
    if is_reference(name):
        return of_function(name, lambda made: made in dataset_names())
    found = plugins(DATASETS)
    if name in _BUILT_IN:
        if name in found:
            origins = " and by ".join(plugin.origin for plugin in found[name])
            raise PluginError(f"data set {name!r} is claimed by {origins} and by robench")
        return _BUILT_IN[name]
    if name not in found:
        if name in OWN:
            return OWN[name]
        known = dataset_names()
        raise UsageError(
            f"unknown data set {name!r}{nearest(name, known)}; available: {', '.join(known)}, and "
            "your own as file.py:make"
        )
    plugin = the_plugin(found, name)
    dataset = plugin.load()
    if not isinstance(dataset, Dataset):
        raise plugin.error("is no robench Dataset")
    return dataset


__all__ = [
    "CIFAR10",
    "DIGITS",
    "DIGITS_FRAMES",
    "MNIST",
    "OWN",
    "Dataset",
    "Images",
    "Protocol",
    "Split",
    "dataset_names",
    "download",
    "find_dataset",
    "is_plugin",
    "look_first_in",
    "of_images",
    "to_images",
]
