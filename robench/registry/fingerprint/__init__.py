"""The fingerprint of a network without a weight file: all that defines what it computes.

It covers

- the state: parameters and buffers, saved or not, ``state_dict()`` and ``get_extra_state()``;
- the configuration: every attribute of every module, with the content of its objects;
- the code: the compiled methods, and the functions, classes, constants and modules of the user
  that they name. The name and version of an installed library stand for its code.

It does not cover the state of a library's neurons between calls, tensors with a graph,
``training``, ``requires_grad`` and the device. It is the same in every process of one version of
Python.
"""

from __future__ import annotations

from typing import Any

from torch import nn

# they register their rules
from robench.registry.fingerprint import code, networks, tensors, torchscript  # noqa: F401
from robench.registry.fingerprint.hasher import Hasher, not_hashable, without_compiler


def network_sha256(module: nn.Module) -> str:
    """SHA-256 of a network, in 64 digits.

    Raises:
        UsageError: something in it cannot be hashed, or has no values yet.
    """
    hasher = Hasher()
    try:
        network = hasher.digest(module, "")
        shared = hasher.digest(_shared(without_compiler(module)), "")
        state = module.state_dict(keep_vars=True)  # the parameters themselves, not copies
        rest = {name: value for name, value in state.items() if not hasher.has(value)}
        beside = hasher.digest(rest, "state_dict()")
        return hasher.digest([network, shared, beside, hasher.code()], "").hex()
    except RecursionError as error:
        raise not_hashable(module, "") from error


def _shared(module: Any) -> list[tuple[str, int]]:
    """The names of all parts, parameters and buffers in order, with the first name of each.

    A neuron that two layers share has one state, and two equal neurons have two.
    """
    named = (
        *module.named_modules(remove_duplicate=False),
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    first: dict[int, int] = {}
    found = []
    for name, part in named:
        if without_compiler(part) is part:  # a compiled module is the module
            plain = ".".join(step for step in name.split(".") if step != "_orig_mod")
            found.append((plain, first.setdefault(id(part), len(first))))
    return found
