"""The arguments of robench in Python: networks, data sets, tensors and ε."""

from __future__ import annotations

from typing import Any, get_args

from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Pairs

from robench.datasets import (
    Dataset,
    Images,
    Split,
    dataset_names,
    find_dataset,
    of_images,
    to_images,
)
from robench.epsilon import Epsilon, parse_part, text_of
from robench.errors import UsageError
from robench.model_id import ModelId
from robench.registry import Model, select_models
from robench.registry.borrowing import count_logits
from robench.user_code import is_reference

TENSORS = "tensors"
"""The name of a data set of tensors without a name."""


def load_images(dataset: str, split: Split = "test") -> tuple[Tensor, Tensor]:
    """All images of a split of a data set with their labels, such as those to train on.

    Args:
        dataset: its name, or that of a function, ``file.py:make``.
        split: ``train`` or ``test``.

    Returns:
        Images, float32 in [0, 1], ``(N, C, H, W)`` or ``(N, T, C, H, W)`` for frames, and labels,
        int64, ``(N,)``; both are copies.

    Raises:
        UsageError: there is no such data set or split.
        MissingDataError: the images are not on this machine.
    """
    if split not in get_args(Split):
        raise UsageError(f"split={split!r}: give {' or '.join(get_args(Split))}")
    images = find_dataset(dataset).read(split)
    return images.tensor(), images.targets().clone()


def load_model(name: str, dataset: str | None = None) -> Model:
    """A model by its id, or that of a folder, ``module:function`` or ``file.py:function``.

    Args:
        name: of the model.
        dataset: of the network that a function returns.

    Raises:
        RobenchError: there is no such model, or it cannot be loaded.
    """
    entries = select_models([name], dataset=dataset)
    if len(entries) > 1:
        raise UsageError(f"{name!r} names {len(entries)} models; name one of them")
    if entries[0].missing:
        raise UsageError(f"model {entries[0].id}: {entries[0].missing}")
    return entries[0].load()


def epsilons_of(eps: Any) -> tuple[Epsilon, ...]:
    """One ε or several, as texts or numbers."""
    try:
        values = [eps] if isinstance(eps, str | int | float) else list(eps)
        texts = [value if isinstance(value, str) else text_of(float(value)) for value in values]
    except (TypeError, ValueError):
        raise UsageError(f"eps={eps!r}: give numbers or texts, such as [0.03, '8/255']") from None
    if not texts:
        raise UsageError("eps is empty; give one ε or more, such as [0.03, '8/255']")
    return tuple(epsilon for text in texts for epsilon in parse_part(text))


def model_of(model: str | Model | nn.Module, dataset: str | None, own: Dataset | None) -> Model:
    """The model that a user means; its data set is that of the tensors, if there are any."""
    if dataset is not None and is_reference(dataset):
        dataset = find_dataset(dataset).name
    if isinstance(model, str):
        model = load_model(model, None if own is not None else dataset)
    if isinstance(model, Model):
        if own is not None:
            return model.changed(id=ModelId(f"{own.name}/{model.id.name}"), dataset=own.name)
        if dataset not in (None, model.dataset):
            raise UsageError(f"model {model.id} is of data set {model.dataset}, not of {dataset!r}")
        return model
    _require_network(model)
    if own is not None:
        kind = "images" if own.frames is None else "frames"
        return Model(model, dataset=own.name, classes=own.classes, input_kind=kind)
    if dataset is None:
        raise UsageError(
            "a network needs a data set: dataset='cifar10', or images=x and labels=y of your own"
        )
    return Model(model, dataset=dataset)


def dataset_of(
    model: str | Model | nn.Module,
    name: str | None,
    images: Tensor | ArrayLike | Pairs[Any] | None,
    labels: Tensor | ArrayLike | None,
) -> Dataset | None:
    """A data set of the user's images, with the ε of CIFAR-10; None without any."""
    if images is None and labels is None:
        return None
    if labels is None and isinstance(images, Pairs | DataLoader):
        found = to_images(images)
    elif images is None or labels is None or isinstance(images, Pairs | DataLoader):
        raise UsageError(
            "images and labels belong together: evaluate(net, images=x, labels=y); a torch Dataset "
            "has both, images=data"
        )
    else:
        found = Images.of(images, labels)
    if name is not None and (is_reference(name) or name in dataset_names()):
        raise UsageError(
            f"dataset {name!r} has its own images: leave images and labels out, or use another name"
        )
    if isinstance(model, str):
        model = load_model(model)
    name = name or TENSORS
    if isinstance(model, Model):
        classes = model.classes
    else:
        _require_network(model)
        classes = count_logits(model, found.first(1).tensor(), name)
    return of_images(name, lambda split: found, classes)


def _require_network(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"a model is an id, a robench.Model or a torch.nn.Module, not {type(model).__name__}"
        )
