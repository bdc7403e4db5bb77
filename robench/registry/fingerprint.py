"""The fingerprint of a network without a weight file: its state and the code that defines it.

Networks with equal weights can differ: a change in ``forward`` changes the function. So the
fingerprint covers all parameters and buffers, the structure, the plain attributes of each module,
and the source files of the classes and functions that occur in the structure.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_OURS = ("builtins", "robench", "torch")
"""Packages whose code is not hashed; the hash of a cell covers robench's ``protocol``."""


def network_sha256(module: nn.Module) -> str:
    """SHA-256 of a network, in 64 digits, the same in every process."""
    digest = hashlib.sha256()
    for name, tensor in sorted({**module.state_dict(), **dict(module.named_buffers())}.items()):
        if isinstance(tensor, Tensor):  # a state may contain other objects
            _add_tensor(digest.update, name, tensor)
    sources: set[Path] = set()
    for name, part in module.named_modules():
        digest.update(f"\n{name}: {_name(type(part))}".encode())
        sources |= set(_class_files(type(part)))
        for key, value in sorted(vars(part).items()):
            if not key.startswith("_") and key != "training":
                _add_attribute(digest.update, sources, f"{name}.{key}", value)
    digest.update(sources_sha256(sources).encode())
    return digest.hexdigest()


def sources_sha256(paths: set[Path]) -> str:
    """SHA-256 of the contents of files, in 64 digits; their paths do not matter."""
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def source_files(module_name: str) -> Iterator[Path]:
    """The file of an imported module, if it has one and is not part of robench or torch."""
    if module_name.partition(".")[0] in _OURS:
        return
    path = Path(getattr(sys.modules.get(module_name), "__file__", None) or "")
    if path.is_file():
        yield path


def _class_files(kind: type) -> Iterator[Path]:
    for base in kind.__mro__:
        yield from source_files(base.__module__)


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _add_tensor(add: Callable[[bytes], None], name: str, tensor: Tensor) -> None:
    array = tensor.detach().cpu().contiguous()
    if array.dtype == torch.bfloat16:  # numpy has no bfloat16; float32 is exact
        array = array.float()
    add(f"{name}{tuple(array.shape)}{tensor.dtype}".encode())
    add(array.numpy().tobytes())


def _add_attribute(add: Callable[[bytes], None], sources: set[Path], name: str, value: Any) -> None:
    """Add plain values, tensors, functions and containers of them; other objects by class."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        add(f"{name}={value!r}".encode())
    elif isinstance(value, Tensor):
        _add_tensor(add, name, value)
    elif isinstance(value, list | tuple):
        add(f"{name}[{len(value)}]".encode())
        for position, item in enumerate(value):
            _add_attribute(add, sources, f"{name}.{position}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _add_attribute(add, sources, f"{name}.{key!r}", item)
    elif isinstance(value, partial):
        _add_attribute(add, sources, name, [value.func, list(value.args), value.keywords])
    elif isinstance(value, type) or inspect.isroutine(value):
        add(f"{name}={_name(value)}".encode())
        sources |= set(source_files(value.__module__ or ""))
    else:
        add(f"{name}={_name(type(value))}".encode())
        sources |= set(_class_files(type(value)))
