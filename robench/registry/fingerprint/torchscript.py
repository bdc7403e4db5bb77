"""The rule for TorchScript, whose code is in the network and not in Python.

What enters is the graph of the forward pass, with all functions and submodules inlined. It is read
from a saved copy, because a network that was loaded has another graph than before, but both are
saved as the same code. Names of types and values are left out: they count what the process
compiled before, and contain the name of the Python module.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import torch

from robench.registry.fingerprint.hasher import Hasher, Parts, parts

TYPE = re.compile(r"__torch__(?:\.\w+)*\.(\w+)")


@parts.register
def _module(value: torch.jit.ScriptModule, hasher: Hasher, path: str) -> Parts:
    """The code, and the attributes of all submodules that it reads."""
    graph = _load(_without_weights(value._c).save_to_buffer()).inlined_graph
    yield "TorchScript"
    yield from _block(graph, {}, hasher, path)
    read = {node.s("name") for node in graph.findAllNodes("prim::GetAttr")}
    for prefix, part in value.named_modules(remove_duplicate=False):
        for name in sorted(read):
            content = part._c.getattr(name) if part._c.hasattr(name) else None
            if content is not None and not isinstance(content, torch._C.ScriptModule):
                yield f"{prefix}.{name}"
                yield hasher.digest(content, ".".join(filter(None, (path, prefix, name))))


@parts.register
def _function(value: torch.jit.ScriptFunction, hasher: Hasher, path: str) -> Parts:  # type: ignore[type-arg]
    yield hasher.digest(_load(value.save_to_buffer({})), path)


def _load(saved: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch wants no new TorchScript
        return torch.jit.load(io.BytesIO(saved))  # type: ignore[no-untyped-call]


def _without_weights(module: Any) -> Any:
    """The same code with empty parameters and buffers, so that saving it takes no time."""
    copy = module._replicate_for_data_parallel()
    read: Any = torch._C  # its readers have no types
    for name, _ in (*read.ParameterDict(module).items(), *read.BufferDict(module).items()):
        copy.setattr(name, torch.empty(0))
    for name, child in read.ModuleDict(module).items():
        copy.setattr(name, _without_weights(child))
    return copy


def _block(block: Any, numbers: dict[str, int], hasher: Hasher, path: str) -> Parts:
    """The nodes of a graph in their order; the values are numbered as they occur."""
    for value in block.inputs():
        numbers.setdefault(value.debugName(), len(numbers))
    for node in block.nodes():
        yield f"{node.kind()} {[numbers[value.debugName()] for value in node.inputs()]}"
        for value in node.outputs():
            numbers.setdefault(value.debugName(), len(numbers))
            yield TYPE.sub(r"\1", str(value.type()))
        if node.kind() == "prim::Constant":
            yield hasher.digest(node.output().toIValue(), path)
        else:
            for name in node.attributeNames():
                if (kind := node.kindOf(name)) != "g":
                    yield hasher.digest([name, getattr(node, kind)(name)], path)
        for inner in node.blocks():
            yield from _block(inner, numbers, hasher, path)
    yield str([numbers[value.debugName()] for value in block.outputs()])
