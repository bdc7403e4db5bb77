"""What a fingerprint takes of the code of a network, and of the code that it calls."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache, cached_property

import pytest
import snntorch
import torch
from torch import Tensor, nn

from robench.registry.fingerprint import libraries, network_sha256


def local(k: float) -> nn.Module:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * k

    return Net()


def attribute(k: float) -> nn.Module:
    class Net(nn.Module):
        scale = k

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    return Net()


def decorated(k: float) -> nn.Module:
    class Net(nn.Module):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return x * k

    return Net()


def kinds_of_methods(k: float) -> nn.Module:
    @cache
    def cached(x: float) -> float:
        return x * k

    class Net(nn.Module):
        @property
        def one(self) -> float:
            return k

        @staticmethod
        def two(x: Tensor) -> Tensor:
            return x * k

        @cached_property
        def three(self) -> float:
            return k

        def forward(self, x: Tensor) -> Tensor:
            return self.two(x) * self.one * self.three * cached(2)

    return Net()


def by_name(k: float) -> nn.Module:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return getattr(self, "_".join(["step", "a"]))(x)

        def step_a(self, x: Tensor) -> Tensor:
            return x * k

    return Net()


def of_a_child(k: float) -> nn.Module:
    class Child(nn.Module):
        def encode(self, x: Tensor) -> Tensor:
            return x * k

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child = Child()

        def forward(self, x: Tensor) -> Tensor:
            return self.child.encode(x)

    return Net()


def called_by_a_library(k: float) -> nn.Module:
    class Neuron(snntorch.Leaky):
        def _base_state_function(self, x: Tensor) -> Tensor:
            return self.mem + k * x

    return Neuron(0.9)


def replaced(k: float) -> nn.Module:
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    net.forward = types.MethodType(lambda self, x: x * k, net)
    return net


def executed(k: float) -> nn.Module:
    names: dict[str, type[nn.Module]] = {}
    code = f"from torch import nn\nclass Net(nn.Module):\n    def forward(self, x): return x * {k}"
    exec(code, names)
    return names["Net"]()


def with_a_metaclass(k: float) -> nn.Module:
    class Added(type):
        def __add__(cls, x: Tensor) -> Tensor:
            return x + k

    class Shift(metaclass=Added):
        pass

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Shift + x

    return Net()


def loaded_on_demand(k: float) -> nn.Module:
    loaded = k

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal loaded
            if loaded is None:
                loaded = 1.0
            return x * loaded

    return Net()


MAKERS = (
    local, attribute, decorated, kinds_of_methods, by_name, of_a_child, called_by_a_library,
    replaced, executed, with_a_metaclass, loaded_on_demand,
)  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_code_that_a_function_made_counts(make: Callable[[float], nn.Module]) -> None:
    assert network_sha256(make(1)) == network_sha256(make(1))
    assert network_sha256(make(1)) != network_sha256(make(2))


def test_the_order_of_equally_named_classes_counts() -> None:
    first, second = nn.Sequential(local(1), local(2)), nn.Sequential(local(2), local(1))
    assert network_sha256(first) != network_sha256(second)


def test_what_the_user_put_into_a_library_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    nets = nn.ReLU(), snntorch.Leaky(0.9)
    digests = [network_sha256(net) for net in nets]
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x)
    monkeypatch.setattr(snntorch.Leaky, "forward", lambda self, x: x)
    assert not set(digests) & {network_sha256(net) for net in nets}


def test_the_version_of_a_library_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = network_sha256(snntorch.Leaky(0.9))
    libraries._version.cache_clear()
    monkeypatch.setattr(libraries.metadata, "version", lambda name: "0.0.1+local")
    assert network_sha256(snntorch.Leaky(0.9)) != digest
    assert network_sha256(nn.ReLU()) == network_sha256(nn.ReLU())
    libraries._version.cache_clear()


def test_functions_that_call_each_other_make_no_long_chain() -> None:
    def net(k: int) -> nn.Module:
        links = [f"def f{i}(x): return f{i + 1}(x)" for i in range(2000)]
        code = "\n".join([*links, f"def f2000(x): return x * {k}", "from torch import nn"])
        names: dict[str, type[nn.Module]] = {}
        exec(f"{code}\nclass Net(nn.Module):\n    def forward(self, x): return f0(x)", names)
        return names["Net"]()

    assert network_sha256(net(1)) == network_sha256(net(1))
    assert network_sha256(net(1)) != network_sha256(net(2))
