"""The rules for functions, classes and imported modules.

What enters is the compiled code and what it reads: constants, defaults, captured variables, and
the globals that it names. Comments, the place of a definition and the rest of its file do not, so
a network has the same fingerprint in a script, in a notebook and when it is imported.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from inspect import CO_VARARGS, CO_VARKEYWORDS
from logging import Logger
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MethodType,
    ModuleType,
)

import torch
from torch.utils.hooks import RemovableHandle

from robench.registry.fingerprint.hasher import CONSTRUCTORS, Body, Hasher, Parts, parts
from robench.registry.fingerprint.libraries import library


@parts.register
def _code(value: CodeType, hasher: Hasher, path: str) -> Parts:
    hasher.names.update(value.co_names)
    yield f"code {value.co_name} {value.co_flags & (CO_VARARGS | CO_VARKEYWORDS)}"
    yield f"{value.co_argcount} {value.co_posonlyargcount} {value.co_kwonlyargcount}"
    yield value.co_code
    yield value.co_exceptiontable
    names = value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars
    yield hasher.digest(names, path)
    yield hasher.digest(value.co_consts, path)


@parts.register
def _function(value: FunctionType, hasher: Hasher, path: str) -> Parts:
    known, name = library(value.__globals__.get("__name__")), value.__code__.co_qualname
    if "<" in name or value.__closure__:  # made by a call, which decides what it does
        yield from _body(Body(value, known), hasher, path)
    elif known is not None:
        yield f"{name} in {known}"
    else:  # later, so that functions that call each other make no long chain
        yield hasher.reference(value)


@parts.register
def _body(value: Body, hasher: Hasher, path: str) -> Parts:
    function, code = value.function, value.function.__code__
    yield f"function in {value.library}"
    yield hasher.digest(code, path)
    yield hasher.digest([function.__defaults__, function.__kwdefaults__], path)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if name != "__class__":
            _may_be_constructed(content, hasher)
            yield name
            yield hasher.digest(content, f"{path}: {name}")
    if value.library is None:
        yield from hasher.attributes(dict(vars(function)), path)
        yield from _globals(function, hasher, path)


def _globals(function: FunctionType, hasher: Hasher, path: str) -> Parts:
    """The globals and the imported modules that a function names."""
    values = function.__globals__
    for name in sorted(_global_names(function.__code__)):
        if name in values and not (name.startswith("__") and name.endswith("__")):
            _may_be_constructed(values[name], hasher)
            yield name
            yield hasher.digest(values[name], f"{path}: {name}")
    for level, names, name in sorted(_imports(function.__code__), key=str):
        module = None  # the function has another way if it cannot be imported, or fails too
        with suppress(Exception):
            module = __import__(name, values, None, names or (), level)
        yield hasher.digest(module, f"{path}: {name}")


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _global_names(code: CodeType) -> set[str]:
    """The globals that a function reads, and the functions inside it."""
    steps = (step for part in _nested(code) for step in dis.get_instructions(part))
    return {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def _imports(code: CodeType) -> set[tuple[int, tuple[str, ...] | None, str]]:
    """The import statements in a function: the dots, the names after ``import``, the module."""
    found = set()
    for part in _nested(code):
        steps = list(dis.get_instructions(part))
        for dots, names, step in zip(steps, steps[1:], steps[2:], strict=False):
            if step.opname == "IMPORT_NAME":
                found.add((dots.argval, names.argval, step.argval))
    return found


def _may_be_constructed(value: object, hasher: Hasher) -> None:
    """Take in the constructors too, once code that was found can make objects of a class."""
    if isinstance(value, type) and not issubclass(value, torch.autograd.Function):
        hasher.names |= CONSTRUCTORS


@parts.register
def _method(value: MethodType, hasher: Hasher, path: str) -> Parts:
    yield "method"
    yield hasher.digest(value.__func__, path)
    yield hasher.digest(value.__self__, path)


@parts.register
def _builtin(value: BuiltinFunctionType, hasher: Hasher, path: str) -> Parts:
    owner = value.__self__
    yield f"built-in {value.__module__}.{value.__qualname__}"
    if owner is not None and not isinstance(owner, ModuleType):
        yield hasher.digest(owner, path)
    elif value.__module__ in sys.modules:
        yield hasher.digest(sys.modules[value.__module__], path)


@parts.register
def _descriptor(value: GetSetDescriptorType, hasher: Hasher, path: str) -> Parts:
    yield f"{value.__name__} of {hasher.reference(value.__objclass__)}"


@parts.register
def _class(value: type, hasher: Hasher, path: str) -> Parts:
    yield f"class {hasher.reference(value)}"


@parts.register
def _module(value: ModuleType, hasher: Hasher, path: str) -> Parts:
    yield hasher.reference(value)
    file = value.__dict__.get("__file__") or ""
    if library(value.__name__) is None and file.endswith(tuple(EXTENSION_SUFFIXES)):
        yield Path(file).read_bytes()


@parts.register(staticmethod)
@parts.register(classmethod)
def _bound(value: staticmethod | classmethod, hasher: Hasher, path: str) -> Parts:  # type: ignore[type-arg]
    yield type(value).__name__
    yield hasher.digest(value.__func__, path)


@parts.register
def _property(value: property, hasher: Hasher, path: str) -> Parts:
    yield "property"
    yield hasher.digest([value.fget, value.fset, value.fdel], path)


@parts.register
def _cached_property(value: functools.cached_property, hasher: Hasher, path: str) -> Parts:  # type: ignore[type-arg]
    yield "cached property"
    yield hasher.digest(value.func, path)


@parts.register
def _cached(value: functools._lru_cache_wrapper, hasher: Hasher, path: str) -> Parts:  # type: ignore[type-arg]
    yield "cached"
    yield hasher.digest(value.__wrapped__, path)


@parts.register
def _handle(value: RemovableHandle, hasher: Hasher, path: str) -> Parts:
    """What the registration of a hook returns: it counts the hooks of the process."""
    yield "handle"


@parts.register
def _logger(value: Logger, hasher: Hasher, path: str) -> Parts:
    """Its name is often that of the module, which is another one in a script."""
    yield "logger"
