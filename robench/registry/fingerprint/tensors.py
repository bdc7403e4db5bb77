"""The rules for tensors, arrays and random generators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from robench.errors import UsageError
from robench.registry.fingerprint.hasher import Hasher, Parts, not_hashable, parts

COMPRESSED: dict[torch.layout, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    torch.sparse_csr: (Tensor.crow_indices, Tensor.col_indices),
    torch.sparse_bsr: (Tensor.crow_indices, Tensor.col_indices),
    torch.sparse_csc: (Tensor.ccol_indices, Tensor.row_indices),
    torch.sparse_bsc: (Tensor.ccol_indices, Tensor.row_indices),
}
PER_CHANNEL = (torch.per_channel_affine, torch.per_channel_affine_float_qparams)


@parts.register
def _tensor(value: Tensor, hasher: Hasher, path: str) -> Parts:
    """Type, shape and bytes; neither the device nor ``requires_grad`` nor the strides."""
    if is_lazy(value):
        raise UsageError(
            f"the network's {path} has no values yet; call the network once with images before "
            "it becomes a robench.Model"
        )
    yield from hasher.attributes({k: v for k, v in vars(value).items() if k[0] != "_"}, path)
    if type(value).__module__.partition(".")[0] != "torch":  # it may compute in another way
        yield hasher.reference(type(value))
    tensor = value.detach()
    if tensor.is_nested:  # it has no shape
        yield f"nested {tensor.layout}"
        yield hasher.digest(list(tensor.unbind()), path)
        return
    yield f"tensor {tensor.dtype} {tuple(tensor.shape)} {tensor.layout}"
    if tensor.is_meta:
        raise not_hashable(value, path)
    if is_traceable_wrapper_subclass(tensor):
        names, context = tensor.__tensor_flatten__()
        yield hasher.reference(type(tensor))
        yield from hasher.attributes({name: getattr(tensor, name) for name in names}, path)
        yield hasher.digest(context, path)
    elif tensor.is_quantized:
        yield str(tensor.qscheme())
        if tensor.qscheme() in PER_CHANNEL:
            scales = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
            yield hasher.digest([*scales, tensor.q_per_channel_axis()], path)
        else:
            yield hasher.digest([tensor.q_scale(), tensor.q_zero_point()], path)
        yield _bytes(tensor.int_repr())
    elif tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        yield _bytes(tensor.indices())
        yield _bytes(tensor.values())
    elif tensor.layout in COMPRESSED:
        for read in (*COMPRESSED[tensor.layout], Tensor.values):
            yield _bytes(read(tensor))
    else:
        yield _bytes(tensor.to_dense())


def _bytes(tensor: Tensor) -> memoryview:
    """The bytes of a strided tensor of any type, without a copy if it is contiguous on the CPU."""
    plain = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    return plain.flatten().view(torch.uint8).numpy().data


@parts.register
def _array(value: np.ndarray, hasher: Hasher, path: str) -> Parts:
    yield hasher.reference(type(value))
    yield f"{value.dtype!r} {value.shape}"
    if value.dtype.hasobject:
        yield hasher.digest(value.tolist(), path)
    else:
        yield value.tobytes()
    if type(value) is not np.ndarray:  # e.g. the mask of a masked array
        yield hasher.digest(value.__reduce__()[2], path)


@parts.register
def _scalar(value: np.generic, hasher: Hasher, path: str) -> Parts:
    yield "scalar"
    yield hasher.digest(np.asarray(value), path)


@parts.register
def _generator(value: torch.Generator, hasher: Hasher, path: str) -> Parts:
    """The seed and not the state, which each draw changes."""
    yield f"torch.Generator {value.device.type} {value.initial_seed()}"


@parts.register
def _numpy_generator(value: np.random.Generator, hasher: Hasher, path: str) -> Parts:
    seed = value.bit_generator.seed_seq
    if not isinstance(seed, np.random.SeedSequence):
        raise not_hashable(value, path)
    yield f"{hasher.reference(type(value.bit_generator))} {seed.entropy} {seed.spawn_key}"


@parts.register(torch.layout)
@parts.register(torch.memory_format)
@parts.register(torch._ops.OpOverloadPacket)
@parts.register(torch._ops.OpOverload)
def _named(value: object, hasher: Hasher, path: str) -> Parts:
    yield f"{type(value).__name__} {value}"


@parts.register
def _script_object(value: torch._C.ScriptObject, hasher: Hasher, path: str) -> Parts:
    """An object of a C++ class, as the packed weights of a quantised layer."""
    yield value._type().qualified_name()
    try:
        state = value.__getstate__()
    except Exception as error:
        raise not_hashable(value, path) from error
    yield hasher.digest(state, path)
