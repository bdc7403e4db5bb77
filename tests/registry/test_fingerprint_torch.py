"""Tensors and networks of unusual kinds: quantised, sparse, compiled, traced, TorchScript."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from robench.errors import UsageError
from robench.registry.fingerprint import network_sha256

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),  # TorchScript
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*beta state:UserWarning"),  # compressed sparse tensors
    pytest.mark.filterwarnings("ignore:.*prototype stage:UserWarning"),  # nested tensors
    pytest.mark.filterwarnings("ignore:.*quantize:UserWarning"),  # once in a process
]


class Buffer(nn.Module):
    def __init__(self, tensor: Tensor, *, persistent: bool = True) -> None:
        super().__init__()
        self.register_buffer("tensor", tensor, persistent=persistent)


def small(seed: int, scale: float = 2.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(scale), nn.Linear(4, 4)).eval()


def quantised(seed: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(small(seed), {nn.Linear})


def quantised_lstm(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.LSTM(4, 4).eval(), {nn.LSTM})


def quantised_convolution(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    stub, back = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
    net = nn.Sequential(stub, nn.Conv2d(1, 2, 3), back).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.qconfig = torch.ao.quantization.default_qconfig
        net = torch.ao.quantization.prepare(net)
        net(torch.ones(1, 1, 8, 8))
        return torch.ao.quantization.convert(net)


class InAList(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.nets = [net]


def traced(seed: int) -> nn.Module:
    return fx.symbolic_trace(small(seed))


NETS = (
    quantised, quantised_lstm, quantised_convolution, traced, lambda k: InAList(quantised(k)),
    lambda k: fx.symbolic_trace(small(0, 1.0 + k)), lambda k: torch.compile(small(k)),
)  # fmt: skip


@pytest.mark.parametrize("make", NETS)
def test_weights_in_any_form_count(make: Callable[[int], nn.Module]) -> None:
    assert network_sha256(make(0)) == network_sha256(make(0))
    assert network_sha256(make(0)) != network_sha256(make(1))


def test_the_code_of_a_traced_network_counts() -> None:
    def net(function: Callable[[Tensor], Tensor]) -> nn.Module:
        graph = fx.Graph()
        graph.output(graph.call_function(function, (graph.placeholder("x"),)))
        return fx.GraphModule(nn.Module(), graph)

    assert network_sha256(net(torch.relu)) == network_sha256(net(torch.relu))
    assert network_sha256(net(torch.relu)) != network_sha256(net(torch.tanh))


def test_a_compiled_network_is_the_network() -> None:
    net = small(0)
    digest = network_sha256(net)
    assert network_sha256(torch.compile(net)) == digest
    net[0] = torch.compile(net[0])
    assert network_sha256(net) == digest
    net.compile()
    assert network_sha256(net) == digest


EMBEDDINGS = {torch.quint4x2, torch.quint2x4}  # no other tensor can have these types
DTYPES = sorted(
    {x for x in vars(torch).values() if isinstance(x, torch.dtype)} - EMBEDDINGS, key=str
)
SCALES = torch.tensor([0.1, 0.2])


def of_type(kind: torch.dtype, byte: int) -> Tensor:
    if kind in (torch.qint8, torch.quint8, torch.qint32):
        return torch.quantize_per_tensor(torch.tensor([float(byte)]), 0.1, 0, kind)
    return torch.full((16,), byte, dtype=torch.uint8).view(kind)


@pytest.mark.parametrize("kind", sorted(DTYPES, key=str), ids=str)
def test_every_type_of_number_counts(kind: torch.dtype) -> None:
    for persistent in (True, False):
        nets = [Buffer(of_type(kind, byte), persistent=persistent) for byte in (1, 1, 2)]
        first, again, other = map(network_sha256, nets)
        assert first == again != other


T = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
TENSORS: list[Callable[[], Tensor]] = [
    lambda: T, lambda: 2 * T, T.double, T.to_sparse, (2 * T).to_sparse, T.to_sparse_csr,
    (2 * T).to_sparse_csr, T.to_sparse_csc, lambda: T.to_sparse_bsr((1, 1)),
    lambda: (2 * T).to_sparse_bsr((1, 1)), lambda: T.to_sparse_bsc((1, 1)),
    lambda: torch.nested.nested_tensor([T, T[:1]]),
    lambda: torch.nested.nested_tensor([T, 2 * T[:1]]),
    lambda: torch.nested.nested_tensor([T, T[:1]], layout=torch.jagged),
    lambda: torch.nested.nested_tensor([T, 2 * T[:1]], layout=torch.jagged),
    lambda: torch.quantize_per_tensor(T, 0.1, 0, torch.qint8),
    lambda: torch.quantize_per_tensor(T, 0.2, 0, torch.qint8),
    lambda: torch.quantize_per_tensor(T, 0.1, 1, torch.qint8),
    lambda: torch.quantize_per_channel(T, SCALES, torch.zeros(2), 0, torch.qint8),
    lambda: torch.quantize_per_channel(T, SCALES, torch.zeros(2), 1, torch.qint8),
    lambda: torch.tensor([1j]), lambda: torch.tensor([1j]).conj(), lambda: torch.empty(0),
    lambda: torch.empty(2, 0), lambda: torch.tensor(1.0), lambda: torch.tensor([1.0]),
]  # fmt: skip


def test_every_layout_counts() -> None:
    digests = [network_sha256(Buffer(make())) for make in TENSORS]
    assert digests == [network_sha256(Buffer(make())) for make in TENSORS]
    assert len(set(digests)) == len(TENSORS)


def test_strides_and_views_do_not_count() -> None:
    images = torch.rand(2, 3, 4, 4)
    for same in (images.to(memory_format=torch.channels_last), images.clone()[:], images.mT.mT):
        assert network_sha256(Buffer(same)) == network_sha256(Buffer(images))
    assert network_sha256(Buffer(torch.tensor([1 - 1j]).conj())) == network_sha256(
        Buffer(torch.tensor([1 + 1j]))
    )


class Doubled(Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return super().__torch_function__(function, types, args, kwargs)


def test_what_a_tensor_carries_counts() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.load_state_dict(first.state_dict())
    assert network_sha256(first) == network_sha256(second)
    second.weight.bits = 4
    assert network_sha256(first) != network_sha256(second)
    assert network_sha256(Buffer(T)) != network_sha256(Buffer(T.as_subclass(Doubled)))


def test_a_module_that_occurs_twice_is_called_twice() -> None:
    linear, relu = nn.Linear(2, 2), nn.ReLU()
    once, twice = nn.Sequential(relu, linear), nn.Sequential(relu, linear, relu)
    assert network_sha256(once) != network_sha256(twice)
    # two neurons have two states, and a shared one has one
    assert network_sha256(twice) != network_sha256(nn.Sequential(nn.ReLU(), linear, nn.ReLU()))
    assert network_sha256(twice) == network_sha256(copy.deepcopy(twice))


class Extra(nn.Module):
    def __init__(self, extra: object) -> None:
        super().__init__()
        self.extra = lambda: extra

    def get_extra_state(self) -> object:
        return {"table": self.extra()}

    def set_extra_state(self, state: object) -> None:
        raise NotImplementedError


class OwnState(nn.Module):
    def state_dict(self, **options: object) -> dict[str, Tensor]:  # type: ignore[override]
        return {"from elsewhere": ELSEWHERE}


ELSEWHERE = torch.zeros(2)


def test_the_state_that_a_network_declares_counts() -> None:
    assert network_sha256(Extra(1)) != network_sha256(Extra(2))
    assert network_sha256(InAList(Extra(T))) != network_sha256(InAList(Extra(2 * T)))
    before = network_sha256(OwnState())
    ELSEWHERE.add_(1)
    assert network_sha256(OwnState()) != before


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_a_network_without_values_is_refused() -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(UsageError, match=r"network's 1\.\w+ has no values yet; call the network"):
        network_sha256(lazy)
    lazy(torch.ones(2, 4))
    assert len(network_sha256(lazy)) == 64
    with pytest.raises(UsageError, match=r"network's 0\.\w+ \(.*version="):
        network_sha256(nn.Sequential(nn.Linear(2, 2, device="meta")))


def plus(x: Tensor, k: float) -> Tensor:
    return x + k


def times(x: Tensor, k: float) -> Tensor:
    return x * k


class Scripted(nn.Module):
    def __init__(self, seed: int = 0, scale: float = 2.0, table: float = 1.0) -> None:
        super().__init__()
        self.net, self.scale, self.table = small(seed), scale, {"a": table}

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            x = x * torch.tensor([1.5])
        return plus(self.net(x), self.scale) * self.table["a"]


class OtherFunction(Scripted):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            x = x * torch.tensor([1.5])
        return times(self.net(x), self.scale) * self.table["a"]


class OtherConstant(Scripted):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            x = x * torch.tensor([2.5])
        return plus(self.net(x), self.scale) * self.table["a"]


X = torch.ones(2, 4)
COMPILERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "script": torch.jit.script,
    "trace": lambda net: torch.jit.trace(net, X),
    "freeze": lambda net: torch.jit.freeze(torch.jit.script(net)),
    "in a network": lambda net: nn.Sequential(torch.jit.script(net)),
    "in a list": lambda net: InAList(torch.jit.script(net)),
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_code_and_values_of_torchscript_count(compiler: str) -> None:
    makers: list[Callable[[], nn.Module]] = [
        Scripted, OtherFunction, OtherConstant, lambda: Scripted(1), lambda: Scripted(scale=3.0),
        lambda: Scripted(table=2.0),
    ]  # fmt: skip
    digests = []
    for make in makers:
        compiled, again = (COMPILERS[compiler](make().eval()) for _ in range(2))
        digests.append(network_sha256(compiled))
        assert network_sha256(again) == digests[-1]
    assert len(set(digests)) == len(makers)


@pytest.mark.parametrize("compiler", ["script", "trace", "freeze"])
def test_torchscript_is_equal_after_it_was_saved_and_called(compiler: str) -> None:
    net = COMPILERS[compiler](Scripted().eval())
    digest = network_sha256(net)
    for _ in range(3):
        net(X)  # torch optimises what was called
    assert network_sha256(net) == digest
    file = io.BytesIO()
    torch.jit.save(net, file)
    file.seek(0)
    assert network_sha256(torch.jit.load(file)) == digest


def test_functions_of_torchscript_count() -> None:
    class Net(nn.Module):
        def __init__(self, function: Callable[[Tensor, float], Tensor]) -> None:
            super().__init__()
            self.function = torch.jit.script(function)

    assert network_sha256(Net(plus)) == network_sha256(Net(plus))
    assert network_sha256(Net(plus)) != network_sha256(Net(times))
