"""The synaptic operations of a forward pass, counted from the tensors that are multiplied.

An operation is effective if both the activation and the weight are not zero; biases, poolings,
norms and the neurons themselves are not counted (NeuroBench, Yik et al., Nature Communications
2025). Where the activations are spikes it is an accumulation, AC; else a multiplication and an
accumulation, MAC. This is decided by the values, not by the kind of the layer: activations are
spikes if all that are not zero have one magnitude, which can be multiplied into the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

aten = torch.ops.aten


@dataclass
class Product:
    """A call in which activations are multiplied with weights.

    Attributes:
        rows: the activations, whose last axes are summed over in the product.
        effective: operations of each row, of the first axes of ``rows``.
        dense: operations of each row, also those with a zero.
        spikes: whether the activations are spikes.
        shape: of the weights.
        layer: its name.
    """

    rows: Tensor
    effective: Tensor
    dense: float
    spikes: bool
    shape: tuple[int, ...]
    layer: str = ""


def are_spikes(x: Tensor) -> bool:
    """Whether all values that are not zero have one magnitude."""
    sizes = x[x != 0].abs()
    return sizes.numel() == 0 or bool(sizes.min() == sizes.max())


class Counting:
    """Counts the synaptic operations of a forward pass, call by call.

    Attributes:
        products: the calls.
        uncounted: operations of torch that were met and are not counted.

    Args:
        module: the network; its parameters and buffers are weights.
        layer: the name of the part that is being called, empty for the network itself.
    """

    def __init__(self, module: nn.Module, layer: Callable[[], str]) -> None:
        self.weights = memory_of(module)
        self.layer = layer
        self.products: list[Product] = []
        self.uncounted: set[str] = set()

    def operated(self, function: Any, args: Any, out: object) -> None:
        """Count an operation of torch."""
        packet = function.overloadpacket
        if packet in _COUNTED:
            product = _COUNTED[packet](self, *args)
            shape = "×".join(map(str, product.shape))
            product.layer = self.layer() or f"{packet.__name__} {shape}"
            self.products.append(product)
        elif packet.__name__ in _NOT_COUNTED:
            self.uncounted.add(packet.__name__)

    def is_weight(self, x: Tensor) -> bool:
        """Whether a tensor is a parameter or a buffer, or a view of one."""
        return x.untyped_storage().data_ptr() in self.weights


def memory_of(module: nn.Module) -> Mapping[int, object]:
    """The memory of the parameters and buffers of a network, by where it is.

    It is kept, so that no activation gets that of a state which the network replaces.
    """
    state = [part.untyped_storage() for part in (*module.parameters(), *module.buffers())]
    return {storage.data_ptr(): storage for storage in state}


def _convolution(
    mode: Counting, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any
) -> Product:
    """Each input value takes part in as many operations as it has weights that reach an output."""
    one = torch.ones_like(x[:1], dtype=torch.float64)

    def reach(values: Tensor) -> Tensor:
        values = values.double()
        out = aten.convolution(one, values, None, *how)
        mask = [True, False, False]
        ones = torch.ones_like(out)
        reached: Tensor = aten.convolution_backward(ones, one, values, None, *how, mask)[0]
        return reached

    effective = (x != 0).double().flatten(1) @ reach(weight != 0).flatten()
    dense = float(reach(torch.ones_like(weight)).sum())
    return Product(x, effective, dense, are_spikes(x), tuple(weight.shape))


def _matrix(mode: Counting, first: Tensor, second: Tensor) -> Product:
    """A product of ``(M, K)`` and ``(K, L)``; one of them may be the weights."""
    rows = not mode.is_weight(first)
    x, weight = (first, second) if rows else (second.t(), first.t())
    reach = (weight != 0).double().sum(1)
    effective = (x != 0).double() @ reach
    spikes = are_spikes(x) or not (mode.is_weight(weight) or not are_spikes(weight))
    return Product(x, effective, float(weight.numel()), spikes, tuple(weight.t().shape))


def _batched(mode: Counting, first: Tensor, second: Tensor) -> Product:
    """Products of ``(B, M, K)`` and ``(B, K, L)``, as of queries and keys."""
    reach = (second != 0).double().sum(2)
    effective = ((first != 0).double() @ reach[..., None]).squeeze(2)
    sides = [part for part in (first, second) if not mode.is_weight(part)]
    dense = float(first.shape[2] * second.shape[2])
    return Product(first, effective, dense, any(map(are_spikes, sides)), tuple(second.shape[1:]))


def _added(mode: Counting, _: Tensor, first: Tensor, second: Tensor, *__: Any) -> Product:
    return _matrix(mode, first, second)


def _added_batched(mode: Counting, _: Tensor, first: Tensor, second: Tensor, *__: Any) -> Product:
    return _batched(mode, first, second)


def _vector(mode: Counting, matrix: Tensor, vector: Tensor) -> Product:
    return _matrix(mode, matrix, vector[:, None])


_COUNTED: dict[Any, Callable[..., Product]] = {
    aten.convolution: _convolution,
    aten.mm: _matrix,
    aten.addmm: _added,
    aten.bmm: _batched,
    aten.baddbmm: _added_batched,
    aten.mv: _vector,
}
PRODUCTS = tuple(_COUNTED)
"""The operations of torch that are counted."""
_NOT_COUNTED = (
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
    *("mkldnn_rnn_layer", "_cudnn_rnn", "_native_multi_head_attention"),
    *("_transformer_encoder_layer_fwd", "_trilinear"),
)
"""Fused operations; it is on record that they were met."""
