"""The arguments of robench in Python: networks, data sets, tensors and ε."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from robench.datasets import CIFAR10, Dataset, Images, dataset_names
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.isolation import contained
from robench.model_id import ModelId
from robench.registry import Model, select_models
from robench.runtime.borrowing import borrowed

TENSORS = "tensors"
"""The name of a data set of tensors without a name."""


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
        texts = [value if isinstance(value, str) else repr(float(value)) for value in values]
    except (TypeError, ValueError):
        raise UsageError(f"eps={eps!r}: give numbers or texts, such as [0.03, '8/255']") from None
    if not texts:
        raise UsageError("eps is empty; give one ε or more, such as [0.03, '8/255']")
    return tuple(map(Epsilon.parse, texts))


def whole(name: str, value: Any, least: int) -> int:
    """An integer from ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name}={value!r}: give an integer from {least}")
    return value


def model_of(model: str | Model | nn.Module, dataset: str | None, own: Dataset | None) -> Model:
    """The model that a user means; its data set is that of the tensors, if there are any."""
    if isinstance(model, str):
        model = load_model(model, None if own is not None else dataset)
    if isinstance(model, Model):
        if own is not None:
            return replace(model, id=ModelId(f"{own.name}/{model.id.name}"), dataset=own.name)
        if dataset not in (None, model.dataset):
            raise UsageError(f"model {model.id} is of data set {model.dataset}, not of {dataset!r}")
        return model
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"a model is an id, a robench.Model or a torch.nn.Module, not {type(model).__name__}"
        )
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
    images: Tensor | ArrayLike | None,
    labels: Tensor | ArrayLike | None,
) -> Dataset | None:
    """A data set of the user's tensors, with the ε of CIFAR-10; None without any."""
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise UsageError("images and labels belong together: evaluate(net, images=x, labels=y)")
    if name in dataset_names():
        raise UsageError(
            f"dataset {name!r} has its own images: leave images and labels out, or use another name"
        )
    if isinstance(model, str):
        model = load_model(model)
    found = Images.of(images, labels)
    classes = model.classes if isinstance(model, Model) else _count_logits(model, found)
    return Dataset(
        name=name or TENSORS,
        title=name or TENSORS,
        classes=classes,
        shape=found.images.shape[1:],
        protocol=replace(CIFAR10.protocol, slice=len(found)),
        load=lambda split: found,
    )


def _count_logits(network: nn.Module, images: Images) -> int:
    """The number of logits of a network for an image."""
    with borrowed(network), contained(), torch.no_grad():
        logits = network(images.first(1).tensor())
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise UsageError("the network has to return logits (N, K) for images (N, C, H, W)")
    return logits.shape[1]
