"""A user's own data set: images and labels in memory, or those that a function returns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robench.datasets.arrays import as_array
from robench.datasets.base import Dataset, Images, Protocol, Split
from robench.datasets.cifar10 import CIFAR10
from robench.errors import ContentError, MissingDataError, PluginError, RobenchError, UsageError
from robench.user_code import SILENT, called, imported

if TYPE_CHECKING:
    from torch.utils.data import Dataset as Pairs

OWN: dict[str, Dataset] = {}
"""The data sets of functions by their names, in this process."""
_MADE: dict[tuple[str, str], Dataset] = {}
_NAME = re.compile(r"\w[\w+.-]*\Z")
_RETURNS = "return (images, labels), a torch Dataset of pairs, or a robench.datasets.Dataset"


def of_images(name: str, load: Callable[[Split], Images], classes: int | None = None) -> Dataset:
    """A data set with the shape of its test images, and the ε of CIFAR-10.

    Args:
        name: in results.
        load: returns the images of a split.
        classes: by default those that the test labels show; a network may have more.
    """
    test = load("test")
    if not len(test):
        raise UsageError("there are no images; give one sample or more")
    return Dataset(
        name=name,
        title=name,
        classes=max(2, int(test.labels.max()) + 1) if classes is None else classes,
        shape=test.images.shape[1:],
        protocol=replace(CIFAR10.protocol, slice=len(test)),
        load=load,
        derived=classes is None,
    )


def of_function(text: str, taken: Callable[[str], bool]) -> Dataset:
    """The data set of ``file.py:make`` or ``module:make``, which is called once in a process.

    Args:
        text: names a function, which returns ``(images, labels)``, a torch Dataset of such pairs or
            a :class:`Dataset`; its parameter ``split``, if it has one, is ``train`` or ``test``.
            It may also name a :class:`Dataset` itself.
        taken: whether another data set has a name.

    Raises:
        PluginError: it cannot be imported, raises, or returns something else.
    """
    key = str(Path.cwd()), text
    if key not in _MADE:
        _MADE[key] = _made(text, taken)
    dataset = OWN[_MADE[key].name] = _MADE[key]
    return dataset


def to_images(given: object) -> Images:
    """The images and labels that a user gives as a pair, or as a torch Dataset of pairs.

    Raises:
        UsageError: it is something else, or they are not images and labels; the text has advice.
    """
    from torch.utils import data

    if isinstance(given, Images):
        return given
    if isinstance(given, data.DataLoader):
        raise UsageError("a DataLoader may shuffle its images; give its data set, loader.dataset")
    if isinstance(given, data.Dataset):
        given = _stacked(given)
    if not isinstance(given, tuple | list) or len(given) != 2:
        kind = type(given).__name__
        many = f" of {len(given)}" if isinstance(given, tuple | list) else ""
        raise UsageError(f"images and labels are a {kind}{many}; {_RETURNS}")
    return Images.of(*given)


def _stacked(pairs: Pairs[Any]) -> tuple[Any, Any]:
    """The images and labels of a torch Dataset, in its order."""
    try:
        count = len(pairs)  # type: ignore[arg-type]  # refused without one
    except TypeError:
        raise UsageError("an iterable data set has no order; give images and labels") from None
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for index in range(count):
        sample = pairs[index]
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            kind = type(sample).__name__
            raise UsageError(f"sample {index} is a {kind}; it has to be a pair (image, label)")
        if hasattr(sample[0], "getbands"):
            raise UsageError(
                f"sample {index} is an image of Pillow; add transforms.ToTensor() to its transform"
            )
        image = as_array(sample[0])
        if images and image.shape != images[0].shape:
            raise UsageError(
                f"sample {index} is {image.shape}, and sample 0 is {images[0].shape}; give all "
                "the same shape, as with transforms.Resize((32, 32))"
            )
        images.append(image)
        labels.append(as_array(sample[1]))
    return (np.stack(images), np.stack(labels)) if images else (np.empty((0, 1, 1, 1)), [])


def _made(text: str, taken: Callable[[str], bool]) -> Dataset:
    with imported(text) as make:
        given = make if isinstance(make, Dataset) else _call(text, make, "test")
        if not isinstance(given, Dataset):
            test = _converted(text, given)
    if isinstance(given, Dataset):
        dataset = replace(given, load=partial(_load, text, given.load))
        _require_sound(text, dataset)
    else:
        dataset = of_images(_name(text), _Loader(text, test))
    if not _NAME.match(dataset.name) or taken(dataset.name):
        why = "is that of another one" if _NAME.match(dataset.name) else "is no name"
        raise PluginError(
            f"data set {text}: {dataset.name!r} {why}; rename the file, or return a "
            "robench.datasets.Dataset with another name, in letters, digits and . _ + -"
        )
    return dataset


class _Loader:
    """Returns the images of a split, and calls the function of a user for each split once."""

    def __init__(self, text: str, test: Images) -> None:
        self.text, self.known = text, {"test": test}

    def __call__(self, split: Split) -> Images:
        if split not in self.known:
            with imported(self.text) as make:
                self.known[split] = _converted(self.text, _call(self.text, make, split))
        return self.known[split]


def _call(text: str, make: Any, split: Split) -> Any:
    """What the function of a user returns for a split."""

    def fail(what: str) -> RobenchError:
        return PluginError(f"data set {text} {what}")

    try:
        takes = "split" in signature(make).parameters
    except (TypeError, ValueError):  # no function, or compiled code without a signature
        takes = False
    if split == "train" and not takes:
        raise MissingDataError(
            f"data set {text} has no training images: give the function a parameter split, which "
            "is 'train' or 'test'"
        )
    return called(make, fail, **({"split": split} if takes else {}))


def _converted(text: str, given: object) -> Images:
    """:func:`to_images` for what a function returned, whose samples may raise anything."""

    def fail(what: str) -> RobenchError:
        return ContentError(f"data set {text}: {what.removeprefix('failed: ')}")

    images: Images = called(to_images, fail, given)
    return images


def _load(text: str, load: Callable[[Split], Images], split: Split) -> Images:
    """The images of a data set that a function returned."""
    with imported(text):
        images: Images = called(load, lambda what: ContentError(f"its load {what}"), split)
        return images


def _require_sound(text: str, dataset: Dataset) -> None:
    """Refuse a data set with fields of other types."""
    shape = dataset.shape
    sides = isinstance(shape, tuple) and len(shape) in (3, 4)
    good = {
        "name": isinstance(dataset.name, str),
        "title": isinstance(dataset.title, str),
        "classes": isinstance(dataset.classes, int) and dataset.classes >= 2,
        "shape": sides and all(isinstance(side, int) and side > 0 for side in shape),
        "protocol": isinstance(dataset.protocol, Protocol),
    }
    for field, fits in good.items():
        if not fits:
            value = getattr(dataset, field)
            raise PluginError(f"data set {text}: {field} is {value!r:.80}; see docs/data.md")


def _name(text: str) -> str:
    """The name of a data set by that of its file, and of a function other than ``make``."""
    place, _, function = text.rpartition(":")
    stem = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    parts = [stem] if function in SILENT else [stem, function]
    return re.sub(r"[^\w+.-]+|_", "-", "-".join(parts)).strip("-.")
