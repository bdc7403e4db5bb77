"""Networks that differ in one value have different fingerprints; copies have the same one."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import operator
import random
import re
import threading
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robench.errors import UsageError
from robench.registry.fingerprint import network_sha256


class Holder(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclasses.dataclass
class Config:
    beta: float = 0.9


class Slots:
    __slots__ = ("a",)

    def __init__(self, a: int) -> None:
        self.a = a


class SlotsAndMore(Slots):
    def __init__(self, b: int) -> None:
        super().__init__(1)
        self.b = b


class Scale:
    def __init__(self, k: float) -> None:
        self.k = k

    def apply(self, x: Tensor) -> Tensor:
        return x * self.k

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.k


class Labelled(list):  # type: ignore[type-arg]
    label = 0


class Mode(enum.Enum):
    A = "a"
    B = "b"


class Flag(enum.Flag):
    X = 1
    Y = 2


class Size(enum.IntEnum):
    ONE = 1


class Pair(typing.NamedTuple):
    a: int
    b: int = 0


class Options(pydantic.BaseModel):
    names: set[str]


def closure(k: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * k


def default(k: float) -> Callable[[Tensor], Tensor]:
    def scale(x: Tensor, k: float = k) -> Tensor:
        return x * k

    return scale


def keyword(k: float) -> Callable[[Tensor], Tensor]:
    def scale(x: Tensor, *, k: float = k) -> Tensor:
        return x * k

    return scale


def labelled(label: int) -> Labelled:
    value = Labelled([1])
    value.label = label
    return value


def local_class(k: float) -> type:
    class Local:
        beta = k

    return Local


def linear(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


LAMBDAS = [lambda x: x * 2, lambda x: x * 3]  # on one line
DIFFERENT: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "dataclass": (lambda: Config(0.9), lambda: Config(0.8)),
    "namespace": (lambda: types.SimpleNamespace(a=1), lambda: types.SimpleNamespace(a=2)),
    "slots": (lambda: Slots(1), lambda: Slots(2)),
    "slots and a dict": (lambda: SlotsAndMore(1), lambda: SlotsAndMore(2)),
    "pydantic": (lambda: Options(names={"a", "b"}), lambda: Options(names={"a", "c"})),
    "named tuple": (lambda: Pair(1), lambda: Pair(2)),
    "attribute of a list": (lambda: labelled(1), lambda: labelled(2)),
    "nested": (lambda: [{"a": (Config(1),)}], lambda: [{"a": (Config(2),)}]),
    "class": (lambda: Slots, lambda: Scale),
    "class attribute": (lambda: local_class(1), lambda: local_class(2)),
    "array": (lambda: np.ones(2), lambda: np.zeros(2)),
    "type of an array": (lambda: np.ones(2), lambda: np.ones(2, np.float32)),
    "array of objects": (lambda: np.array([1, None]), lambda: np.array([2, None])),
    "masked array": (lambda: np.ma.array([1], mask=[0]), lambda: np.ma.array([1], mask=[1])),
    "numpy number": (lambda: np.float32(1), lambda: np.float32(2)),
    "numpy generator": (lambda: np.random.default_rng(0), lambda: np.random.default_rng(1)),
    "generator": (
        lambda: torch.Generator().manual_seed(0),
        lambda: torch.Generator().manual_seed(1),
    ),
    "random": (lambda: random.Random(0), lambda: random.Random(1)),
    "enum": (lambda: Mode.A, lambda: Mode.B),
    "flag": (lambda: Flag.X, lambda: Flag.X | Flag.Y),
    "set": (lambda: {"a", "b", Mode.A}, lambda: {"a", "b", Mode.B}),
    "frozenset": (lambda: frozenset({Mode.A, Mode.B}), lambda: frozenset({Mode.A})),
    "path": (lambda: Path("a"), lambda: Path("b")),
    "ordered dict": (
        lambda: collections.OrderedDict(a=1),
        lambda: collections.OrderedDict(a=2),
    ),
    "default dict": (
        lambda: collections.defaultdict(int, a=1),
        lambda: collections.defaultdict(float, a=1),
    ),
    "deque": (lambda: collections.deque([1]), lambda: collections.deque([2])),
    "mapping proxy": (lambda: vars(local_class(1)), lambda: vars(local_class(2))),
    "decimal": (lambda: decimal.Decimal(1), lambda: decimal.Decimal(2)),
    "date": (lambda: datetime.date(2020, 1, 1), lambda: datetime.date(2020, 1, 2)),
    "pattern": (lambda: re.compile("a"), lambda: re.compile("b")),
    "slice": (lambda: slice(1), lambda: slice(2)),
    "item getter": (lambda: operator.itemgetter(0), lambda: operator.itemgetter(1)),
    "modules in a list": (lambda: [linear(0)], lambda: [linear(1)]),
    "modules in a dict": (lambda: {"a": linear(0)}, lambda: {"a": linear(1)}),
    "parameter in a list": (lambda: [linear(0).weight], lambda: [linear(1).weight]),
    "closure": (lambda: closure(1), lambda: closure(2)),
    "default value": (lambda: default(1), lambda: default(2)),
    "keyword": (lambda: keyword(1), lambda: keyword(2)),
    "lambdas on a line": (lambda: LAMBDAS[0], lambda: LAMBDAS[1]),
    "method": (lambda: Scale(1).apply, lambda: Scale(2).apply),
    "callable": (lambda: Scale(1), lambda: Scale(2)),
    "partial": (
        lambda: functools.partial(F.softplus, beta=2),
        lambda: functools.partial(F.softplus, beta=3),
    ),
    "function": (lambda: F.relu, lambda: F.gelu),
    "built-in": (lambda: torch.tanh, lambda: torch.relu),
    "method of a type": (lambda: Tensor.tanh, lambda: Tensor.relu),
    "method of a tensor": (lambda: torch.ones(2).add, lambda: torch.zeros(2).add),
    "operator": (lambda: torch.ops.aten.relu, lambda: torch.ops.aten.tanh),
    "ufunc": (lambda: np.add, lambda: np.subtract),
    "dispatched": (lambda: F.max_pool2d, lambda: F.max_pool1d),
    "dtype": (lambda: torch.float32, lambda: torch.float64),
    "device": (lambda: torch.device("cpu"), lambda: torch.device("cuda")),
    "size": (lambda: torch.Size([1]), lambda: torch.Size([2])),
    "layout": (lambda: torch.strided, lambda: torch.sparse_coo),
    "memory format": (lambda: torch.channels_last, lambda: torch.contiguous_format),
    "None": (lambda: None, lambda: 0),
    "bool": (lambda: True, lambda: 1),
    "float": (lambda: 1.0, lambda: 1),
    "sign of zero": (lambda: 0.0, lambda: -0.0),
    "integer enum": (lambda: Size.ONE, lambda: 1),
    "bytes": (lambda: b"a", lambda: "a"),
    "tuple": (lambda: (1,), lambda: [1]),
    "where a text ends": (lambda: ["ab", "c"], lambda: ["a", "bc"]),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_a_value_decides(kind: str) -> None:
    first, second = DIFFERENT[kind]
    digest = network_sha256(Holder(first()))
    assert network_sha256(Holder(first())) == digest
    assert network_sha256(Holder(second())) != digest


@pytest.mark.parametrize("kind", ["dataclass", "slots", "set", "modules in a list", "random"])
def test_a_copy_is_equal(kind: str) -> None:
    net = Holder(DIFFERENT[kind][0]())
    assert network_sha256(copy.deepcopy(net)) == network_sha256(net)


def test_a_generator_counts_by_its_seed() -> None:
    generator, other = torch.Generator().manual_seed(3), np.random.default_rng(3)
    net = Holder([generator, other])
    digest = network_sha256(net)
    torch.rand(2, generator=generator)
    other.random()
    assert network_sha256(net) == digest


def test_a_cycle_ends() -> None:
    def net(k: int) -> nn.Module:
        inner, outer = Holder(k), nn.Sequential()
        outer.inner = inner
        inner.value = {"k": k, "parent": types.SimpleNamespace(net=outer), "self": [inner]}
        inner.value["dict"] = inner.value
        outer.step = inner.forward
        return outer

    assert network_sha256(net(1)) == network_sha256(copy.deepcopy(net(1)))
    assert network_sha256(net(1)) != network_sha256(net(2))


def generated() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("kind", ["file", "generator", "lock", "local"])
def test_what_cannot_be_hashed_is_named(kind: str, tmp_path: Path) -> None:
    values: dict[str, Callable[[], typing.Any]] = {
        "file": lambda: (tmp_path / "a").open("w"),
        "generator": generated,
        "lock": threading.Lock,
        "local": threading.local,
    }
    net, value = nn.Sequential(), values[kind]()
    net.encoder = Holder({"x": [types.SimpleNamespace(gen=value)]})
    with pytest.raises(UsageError) as caught:
        network_sha256(net)
    if kind == "file":
        value.close()
    message = str(caught.value)
    assert "encoder.value['x'][0].gen (" in message
    assert 'robench.Model(..., version="…")' in message
    assert "\n" not in message


def test_a_global_that_cannot_be_hashed_is_named() -> None:
    global STREAM
    STREAM = generated()

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * next(STREAM)

    with pytest.raises(UsageError, match=r"Net\.forward: STREAM \(generator\)"):
        network_sha256(Net())


STREAM: Iterator[int]
