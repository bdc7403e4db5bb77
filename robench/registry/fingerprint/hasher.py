"""The recursion over everything that a network consists of, with the rules for plain data."""

from __future__ import annotations

import copyreg
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import singledispatch
from types import EllipsisType, FunctionType, MappingProxyType, ModuleType, NoneType
from weakref import ReferenceType

from torch import Tensor, nn

from robench.errors import UsageError
from robench.registry.fingerprint.libraries import library, library_class

Parts = Iterator[str | bytes | memoryview]
Space = type | ModuleType | FunctionType
PLAIN = (NoneType, EllipsisType, bool, int, float, complex, str, bytes)
"""Types whose ``repr`` is the value; a subclass may have attributes, so it is an object."""
ROUTINES = (FunctionType, staticmethod, classmethod, property)
RECORD = re.compile(r"__.*__|_abc_.*|_backward_cls")
"""Names of what Python, abc and torch.autograd.Function note in a class."""
ENUM = re.compile(r"_.*_")
"""Names of what Enum notes in a class."""
COMPILERS = {"triton": "fn", "numba": "py_func"}
"""Libraries that compile functions, and the attribute with the function."""
CONSTRUCTORS = frozenset({"__init__", "__new__", "__post_init__"})
DYNAMIC = frozenset(
    {
        "getattr",
        "__getattribute__",
        "vars",
        "__dict__",
        "attrgetter",
        "methodcaller",
        "eval",
        "exec",
    }
)
"""Code with one of these names may use any attribute."""


@dataclass(frozen=True)
class Body:
    """What a function does, beside its name.

    Attributes:
        function: the function.
        library: what stands for its module, None for the user's.
    """

    function: FunctionType
    library: str | None


class Hasher:
    """Computes one fingerprint.

    A value is hashed by its content, so that copies are equal. The classes and modules of the user
    are numbered as they occur, and :meth:`code` adds what is in them. Of a network's class and of a
    module this is only what the code found so far mentions by name: a method for training that no
    other code calls is not part of a network.
    """

    def __init__(self) -> None:
        self.names: set[str] = {"forward", "_call_impl", "train"}
        """Every name in the code that was found."""
        self._references: dict[Space, str] = {}
        self._spaces: list[tuple[Space, dict[str, object]]] = []
        self._known: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        self._alive: list[object] = []  # so that no id is used twice

    def digest(self, value: object, path: str) -> bytes:
        """SHA-256 of a value.

        Args:
            value: anything.
            path: where it is in the network, for the error.

        Raises:
            UsageError: it cannot be hashed.
        """
        value = without_compiler(value)
        if type(value) in PLAIN:
            text = f"{type(value).__name__} {value!r}"
            return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        if (depth := self._open.get(id(value))) is not None:
            return f"the object {depth} levels from the network".encode()
        if id(value) not in self._known:
            self._open[id(value)] = len(self._open)
            sha = hashlib.sha256()
            for part in parts(value, self, path):
                data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
                sha.update(len(data).to_bytes(8, "little"))
                sha.update(data)
            del self._open[id(value)]
            self._known[id(value)] = sha.digest()
            self._alive.append(value)
        return self._known[id(value)]

    def has(self, value: object) -> bool:
        """Whether an object was hashed before."""
        return id(value) in self._known

    def attributes(self, values: dict[str, object], path: str) -> Parts:
        """The parts of named values, in the order of their names."""
        for name in sorted(values):
            if not has_graph(values[name]):
                yield name
                yield self.digest(values[name], f"{path}.{name}" if path else name)

    def reference(self, space: Space) -> str:
        """What stands for a piece of code: a library's by name, the user's by its number."""
        if space not in self._references:
            known = None
            if not isinstance(space, FunctionType):
                known = library_class(space) if isinstance(space, type) else library(space.__name__)
            self._references[space] = known or f"{type(space).__name__} {len(self._spaces)}"
            self._spaces.append((space, _content(space, known)))
        return self._references[space]

    def code(self) -> bytes:
        """SHA-256 of the classes and modules that were found, as far as code mentions them."""
        found: dict[tuple[int, str], bytes] = {}
        count = -1
        while len(found) > count:  # what is found may mention more names and classes
            count = len(found)
            for number, (space, content) in enumerate(self._spaces):
                if isinstance(space, type) and (number, "") not in found:
                    bases = [self.reference(base) for base in (*space.__mro__[1:], type(space))]
                    found[number, ""] = self.digest(bases, space.__name__)
                for name in content:
                    if (number, name) not in found and self._is_reached(space, name):
                        path = f"{space.__name__}.{name}"
                        if isinstance(space, FunctionType):
                            path = space.__qualname__
                        found[number, name] = self.digest(content[name], path)
        return self.digest([[*key, value] for key, value in sorted(found.items())], "")

    def _is_reached(self, space: Space, name: str) -> bool:
        if name in CONSTRUCTORS:
            return name in self.names
        if name in self.names or not self.names.isdisjoint(DYNAMIC) or _is_special(name):
            return True
        if not isinstance(space, type):
            return False
        if not issubclass(space, nn.Module):
            return True  # a small class: whoever has the object may call it
        bases = (base for base in space.__mro__ if base is not nn.Module and library_class(base))
        return any(name in vars(base) for base in bases)  # the library's code calls it


def hashed_alone(value: object, path: str) -> bytes:
    """SHA-256 of a value and of its code, without the rest of the network."""
    hasher = Hasher()
    return hasher.digest([hasher.digest(value, path), hasher.code()], path)


def _content(space: Space, known: str | None) -> dict[str, object]:
    """The attributes that may be part of a network: of a library only what the user set in it."""
    if isinstance(space, FunctionType):
        return {"__code__": Body(space, library=None)}
    content = dict(sorted(vars(space).items()))
    if known is not None:
        return {name: value for name, value in content.items() if _is_users(value)}
    if not isinstance(space, type):
        return {name: value for name, value in content.items() if not _is_special(name)}
    noted = RECORD
    if issubclass(space, Enum):
        noted = ENUM
        content |= {one.name: one.value for one in space}
    return {
        name: value
        for name, value in content.items()
        if isinstance(value, ROUTINES) or not noted.fullmatch(name)
    }


def _is_users(value: object) -> bool:
    return isinstance(value, FunctionType) and library(value.__globals__.get("__name__")) is None


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def has_graph(value: object) -> bool:
    """Whether a value is the result of an earlier forward pass: state, not definition."""
    return isinstance(value, Tensor) and value.grad_fn is not None


def without_compiler(value: object) -> object:
    """What a compiler was given, for what it returned: both compute the same function."""
    if isinstance(value, nn.Module) and type(value).__module__ == "torch._dynamo.eval_frame":
        return value._modules["_orig_mod"]
    if isinstance(value, FunctionType):
        return vars(value).get("_torchdynamo_orig_callable", value)
    if function := COMPILERS.get(type(value).__module__.partition(".")[0]):
        return without_compiler(getattr(value, function, value))
    return value


def not_hashable(value: object, path: str) -> UsageError:
    """The error for a value whose content cannot be read."""
    return UsageError(
        f"the network's {path or 'module'} ({type(value).__name__}) cannot be hashed; give "
        'robench.Model(..., version="…"), a text that changes whenever the network does'
    )


@singledispatch
def parts(value: object, hasher: Hasher, path: str) -> Parts:
    """The parts that make the hash of a value, one after the other.

    Other modules register a rule for a type. Without one, the content is what the value gives to
    ``pickle``.
    """
    yield hasher.reference(type(value))
    if type(value) in (list, tuple):
        yield from _items(value, hasher, path)  # type: ignore[arg-type]
    elif isinstance(value, dict | MappingProxyType) and type(value) in (dict, MappingProxyType):
        for key, item in value.items():
            if not has_graph(item):
                yield hasher.digest(key, path)
                yield hasher.digest(item, f"{path}[{key!r}]")
    elif isinstance(value, set | frozenset) and type(value) in (set, frozenset):
        ordered = sorted(value, key=lambda item: (type(item).__qualname__, str(item)))
        yield from sorted(hasher.digest(item, path) for item in ordered)
    elif isinstance(value, Enum):
        yield value.name or ""
        yield hasher.digest(value.value, path)
    elif isinstance(value, ReferenceType):
        yield hasher.digest(value(), path)
    else:
        yield from _pickled(value, hasher, path)


def _items(values: Iterable[object], hasher: Hasher, path: str) -> Parts:
    for position, item in enumerate(values):
        if not has_graph(item):
            yield hasher.digest(item, f"{path}[{position}]")


def _pickled(value: object, hasher: Hasher, path: str) -> Parts:
    """The parts of an object as ``pickle`` reads it."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception as error:  # foreign code may raise anything
        raise not_hashable(value, path) from error
    if isinstance(reduced, str):  # the name of a global
        module = getattr(value, "__module__", None) or ""
        yield f"{module}.{reduced}"
        yield hasher.digest(sys.modules.get(module), path)
        return
    make, arguments, state, *iterators = (*reduced, None)[:6] if len(reduced) == 2 else reduced
    yield hasher.digest(make, path)
    skip = 1 if arguments and arguments[0] is type(value) else 0  # the class is there already
    yield from _items(arguments[skip:], hasher, path)
    for content in state if isinstance(state, tuple) else (state,):  # of slots, or of a dict
        yield "state"
        if isinstance(content, dict) and all(isinstance(key, str) for key in content):
            yield from hasher.attributes(content, path)
        else:
            yield hasher.digest(content, path)
    for iterator in iterators:
        yield from _items(iterator or (), hasher, path)
