"""The rule for a network and its modules."""

from __future__ import annotations

from torch import fx, nn

from robench.registry.fingerprint.hasher import Hasher, Parts, has_graph, hashed_alone, parts
from robench.registry.fingerprint.libraries import library_class

COMPILED = {"_compiled_call_impl", "_is_torch_compile"}
"""What ``torch.compile`` notes in a module."""
BOOKKEEPING = frozenset(vars(nn.Module())) | COMPILED
GRAPH = frozenset(vars(fx.GraphModule(nn.Module(), fx.Graph()))) - BOOKKEEPING
"""What a traced module has beside its code: the graph that the code was generated from."""
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
DECLARED = {
    "snntorch": {"mem", "syn", "syn_exc", "syn_inh", "spk", "reset"},
    "spikingjelly": {"_memories", "v_seq", "i_seq"},
    "robench": {"_folded", "sparse"},
}
"""The state between calls of a library's modules and of classes derived from them."""


def state_names(module: nn.Module) -> set[str]:
    """The attributes that are state: those of a library, and what torch's hooks compute.

    By the contract of a model, its output does not depend on what an earlier call left behind.
    Other state is part of the fingerprint; an evaluation puts it back.
    """
    names = set[str]()
    for base in type(module).__mro__:
        names |= DECLARED.get(base.__module__.partition(".")[0], set())
    for hook in module._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils."):  # weight_norm and pruning
            names |= {getattr(hook, "name", ""), getattr(hook, "_tensor_name", "")}
    return names


@parts.register
def _network(value: nn.Module, hasher: Hasher, path: str) -> Parts:
    """Class, parameters, buffers, extra state, hooks, attributes and submodules.

    State between calls is left out, and ``training`` and ``requires_grad``.
    """
    attributes = vars(value)
    yield hasher.reference(type(value))
    state, skipped = state_names(value), BOOKKEEPING
    if isinstance(value, fx.GraphModule):
        skipped |= GRAPH
        yield hasher.digest(type(value).forward, path)
    for name, tensor in sorted((value._parameters | value._buffers).items()):
        unsaved = name in value._non_persistent_buffers_set
        if tensor is not None and not (unsaved and (name in state or has_graph(tensor))):
            yield name
            yield hasher.digest(tensor, _join(path, name))
    if type(value).get_extra_state is not nn.Module.get_extra_state:
        yield "extra state"
        yield hasher.digest(value.get_extra_state(), _join(path, "get_extra_state()"))
    for kind in HOOKS:
        for hook in attributes[kind].values():
            yield kind
            yield hasher.digest(hook, _join(path, kind))
    own = {
        name: item
        for name, item in attributes.items()
        if name not in skipped
        and name not in state
        and not _is_default(value, name, item, _join(path, name))
    }
    yield "attributes"
    yield from hasher.attributes(own, path)
    yield "modules"
    for name, child in value._modules.items():
        if child is not None:
            yield name
            yield hasher.digest(child, _join(path, name))


def _is_default(module: nn.Module, name: str, item: object, path: str) -> bool:
    """Whether an attribute says no more than its absence: it is None, or that of a library's class.

    A state is None before the first call, and what an attack overrides is restored to a value.
    """
    owner = next((base for base in type(module).__mro__ if name in vars(base)), None)
    if owner is None:
        return item is None
    if item is None or library_class(owner) is None:
        return False
    default = vars(owner)[name]
    same = type(item) is type(default) and not has_graph(item)
    return same and hashed_alone(item, path) == hashed_alone(default, path)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
