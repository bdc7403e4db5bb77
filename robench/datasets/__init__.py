"""Data sets by name: those of robench and those that plug-ins bring."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from robench.datasets.base import Dataset, Images, Protocol, Split
from robench.datasets.cifar10 import CIFAR10
from robench.datasets.digits import DIGITS
from robench.datasets.digits_frames import DIGITS_FRAMES
from robench.datasets.files import download, look_first_in
from robench.datasets.mnist import MNIST
from robench.errors import PluginError, UsageError, nearest

GROUP = "robench.datasets"
_BUILT_IN = {dataset.name: dataset for dataset in (CIFAR10, DIGITS, DIGITS_FRAMES, MNIST)}


def dataset_names() -> tuple[str, ...]:
    """All known names, sorted; nothing is imported for it."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def is_plugin(name: str) -> bool:
    """Whether a plug-in brings a data set of that name; nothing is imported for it."""
    return bool(entry_points(group=GROUP, name=name))


def find_dataset(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        UsageError: there is none; the message offers the nearest.
        PluginError: a plug-in brings it and cannot be loaded, or two bring it.
    """
    points = entry_points(group=GROUP, name=name)
    plugins = list({(_owner(point), point.value): point for point in points}.values())
    if len(plugins) + (name in _BUILT_IN) > 1:
        owners = [_owner(point) for point in plugins] + ["robench"] * (name in _BUILT_IN)
        raise PluginError(f"data set {name!r} is brought by {' and by '.join(owners)}")
    if plugins:
        return _load(plugins[0])
    if name not in _BUILT_IN:
        known = dataset_names()
        raise UsageError(
            f"unknown data set {name!r}{nearest(name, known)}; available: {', '.join(known)}"
        )
    return _BUILT_IN[name]


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def _load(point: EntryPoint) -> Dataset:
    try:
        dataset = point.load()
    except (Exception, SystemExit) as error:  # a plug-in may raise anything
        raise PluginError(f"data set {point.name!r} of {_owner(point)}: {error}") from error
    if not isinstance(dataset, Dataset):
        raise PluginError(f"data set {point.name!r} of {_owner(point)} is no robench Dataset")
    return dataset


__all__ = [
    "CIFAR10",
    "DIGITS",
    "DIGITS_FRAMES",
    "MNIST",
    "Dataset",
    "Images",
    "Protocol",
    "Split",
    "dataset_names",
    "download",
    "find_dataset",
    "is_plugin",
    "look_first_in",
]
