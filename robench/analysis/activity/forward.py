"""Forward passes of a network with the activations and the operations of each image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from robench.analysis.activity.activations import Call, named_parts, watched
from robench.analysis.activity.layout import PROBED, Layout, layouts
from robench.analysis.activity.operations import Counting, Product
from robench.architectures import PlasticFlexLayer
from robench.engine.evaluation_draws import Draws
from robench.isolation import same_numbers
from robench.registry import Model
from robench.runtime.each_operation import EachOperation
from robench.spiking import bound, is_constant, kernels

MASK = 4
"""Multiplications of a FLEX mask for each unit and step: norm, sigmoid, and a product with each of
the two responses that it mixes."""


class Activation(NamedTuple):
    """The activations of a call of a layer: which are active, ``(t, N, …)``."""

    layer: str
    active: Tensor
    spikes: bool


class Operation(NamedTuple):
    """The operations of a call of a layer for each image, ``(N,)``."""

    layer: str
    effective: Tensor
    dense: Tensor
    spikes: bool


@dataclass(frozen=True)
class Forward:
    """A forward pass.

    Attributes:
        first: the place of its first image.
        logits: ``(N, K)``.
        activations: in the order of the calls.
        operations: in the order of the calls.
        uncounted: operations of torch that are not counted.
    """

    first: int
    logits: Tensor
    activations: list[Activation]
    operations: list[Operation]
    uncounted: set[str]


def forward_passes(model: Model, x: Tensor, index: np.ndarray, rows: int) -> Iterator[Forward]:
    """The forward passes of a model on images.

    Where it is not known which rows of a batch belong to which image, each has a pass of its own.

    Args:
        model: on its device, surveyed if it is a user's.
        x: images, ``(N, C, H, W)``.
        index: of each image's sample in the data set, ``(N,)``: its random numbers.
        rows: the most images of a pass.
    """
    known = _probe(model, x, index) if min(rows, len(x)) > 1 else None
    size = rows if known is not None else 1
    for first in range(0, len(x), size):
        some = slice(first, first + size)
        found = _pass(model, x[some], index[some])
        if known is None or (len(found.calls), len(found.products)) == tuple(map(len, known)):
            yield _resolved(found, model, first, len(x[some]), known)
            continue
        for place in range(first, first + len(x[some])):  # the images decide what is called
            one = _pass(model, x[place : place + 1], index[place : place + 1])
            yield _resolved(one, model, place, 1, None)


class _Pass(NamedTuple):
    logits: Tensor
    calls: list[Call]
    products: list[Product]
    uncounted: set[str]


_Layouts = tuple[list[Layout], list[Layout]]


def _probe(model: Model, x: Tensor, index: np.ndarray) -> _Layouts | None:
    """The layouts of the activations and of the products; None if they are not known."""
    if len(x) < PROBED:
        return None
    found = []
    for some in ([0, 1], [0, 2], [0, 1, 2]):
        with same_numbers():
            found.append(_pass(model, x[some], index[some]))
    names = [[call.layer for call in one.calls] for one in found]
    names += [[product.layer for product in one.products] for one in found]
    if not (names[0] == names[1] == names[2] and names[3] == names[4] == names[5]):
        return None
    active = layouts(*([call.active for call in one.calls] for one in found))
    axes = [product.effective.dim() for product in found[0].products]
    rows = layouts(*(_flat(one.products, axes) for one in found))
    return None if active is None or rows is None else (active, rows)


def _flat(products: Sequence[Product], axes: Sequence[int]) -> list[Tensor]:
    """The rows of products with one more axis than the counts."""
    return [of.rows.flatten(axis) for of, axis in zip(products, axes, strict=True)]


def _pass(model: Model, x: Tensor, index: np.ndarray) -> _Pass:
    module = model.module
    calls: list[Call] = []
    with ExitStack() as stack:
        draws = Draws(dataset=model.dataset).for_evaluation(torch.from_numpy(index))
        stack.enter_context(bound(draws[0]))
        stack.enter_context(_plain(module))
        parts = stack.enter_context(named_parts(module))
        counting = Counting(module, parts)
        stack.enter_context(_masks(module, counting))
        network = stack.enter_context(watched(model, parts, calls))
        stack.enter_context(EachOperation(counting.operated))
        logits = network(x.to(model.device)).detach()
    return _Pass(logits, calls, counting.products, counting.uncounted)


def _resolved(
    found: _Pass, model: Model, first: int, images: int, known: _Layouts | None
) -> Forward:
    of_calls, of_products = known or ([], [])
    activations = []
    for number, call in enumerate(found.calls):
        layout = of_calls[number] if of_calls else _alone(call.active)
        active = _over_time(layout, layout.rows(call.active, images), model.timesteps)
        activations.append(Activation(call.layer, active, call.spikes))
    operations = []
    for number, product in enumerate(found.products):
        layout = of_products[number] if of_products else Layout(None)
        effective = product.effective.double().cpu()
        if layout.axis == effective.dim():  # a product over the images
            layout = Layout(None)
        dense = torch.full_like(effective, product.dense)
        operations.append(
            Operation(
                product.layer,
                layout.sums(effective, images),
                layout.sums(dense, images),
                product.spikes,
            )
        )
    return Forward(first, found.logits, activations, operations, found.uncounted)


def _alone(active: Tensor) -> Layout:
    """The layout of the activations of a single image."""
    axis = next((k for k in (0, 1) if active.dim() > k + 1 and active.shape[k] == 1), None)
    return Layout(axis)


def _over_time(layout: Layout, active: Tensor, timesteps: int | None) -> Tensor:
    """Activations whose axis after the images is that of time, with time first."""
    first = layout.axis == 0 and layout.times == 1 and active.dim() > 3
    if first and timesteps not in (None, 1) and active.shape[2] == timesteps:
        return active[0].transpose(0, 1)
    return active


@contextmanager
def _plain(module: nn.Module) -> Iterator[None]:
    """Inside, layers are computed by operations of torch that are counted, one by one."""
    recurrent = any(isinstance(part, nn.RNNBase) for part in module.modules())
    fast = torch.backends.mha.get_fastpath_enabled()
    mkldnn: Any = torch.backends.mkldnn
    with ExitStack() as stack:
        stack.enter_context(kernels.reference())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if recurrent:
            with warnings.catch_warnings():  # of other hardware
                warnings.simplefilter("ignore")
                stack.enter_context(mkldnn.flags(enabled=False))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        yield


@contextmanager
def _masks(module: nn.Module, counting: Counting) -> Iterator[None]:
    """Inside, the masks of FLEX layers are counted: :data:`MASK` for each unit and step."""

    def hook(name: str) -> Any:
        def charge(_: nn.Module, __: Any, out: Tensor) -> None:
            rows = out[:1] if is_constant(out) else out
            cost = MASK * float(rows[0, 0].numel())
            effective = torch.full(rows.shape[:2], cost)
            product = Product(rows.detach(), effective, cost, False, tuple(rows.shape[2:]), name)
            counting.products.append(product)

        return charge

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if isinstance(part, PlasticFlexLayer):
                handle = part.register_forward_hook(hook(f"{name}.mask"))
                stack.callback(handle.remove)
        yield
