"""A user's network is after an evaluation as it was before."""

from __future__ import annotations

import copy
from collections import deque
from pathlib import Path

import pytest
import snntorch
import torch
from torch import Tensor, nn

import robench
from robench.errors import UsageError
from robench.registry.borrowing import borrowed, count_logits


class Busy(nn.Module):
    """A network that changes as much of itself as a forward pass can."""

    steps: Tensor
    bare: list[nn.Module]

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(192, 10)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("level", torch.full((2,), float("nan")), persistent=False)
        self.calls = 0
        self.log: list[int] = []
        self.seen: dict[str, object] = {"sizes": deque([0])}
        self.bare = [nn.BatchNorm2d(3)]  # not registered
        self.neuron = snntorch.Leaky(beta=0.9, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.steps += 1
        self.level.add_(1)
        self.log.append(len(x))
        sizes = self.seen["sizes"]
        assert isinstance(sizes, deque)
        sizes.append(len(x))
        self.seen[f"call {self.calls}"] = x
        self.made_up = x  # a new attribute
        with torch.no_grad():
            self.frozen.mul_(2)
        self.bare[0](x.detach())  # in training mode, since nobody reaches it
        self.neuron.reset_mem()
        x = nn.functional.avg_pool2d(self.drop(self.norm(x)), 4).flatten(1)
        return self.head(self.neuron(x) + x)


def state(net: Busy) -> dict[str, object]:
    """All that a user could notice."""
    parts = {name: part.training for name, part in net.named_modules()}
    facts: dict[str, object] = {f"{name} mode": mode for name, mode in parts.items()}
    facts["bare mode"] = net.bare[0].training
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        facts[name] = id(tensor), tensor.requires_grad, tensor.detach().clone()
    facts["bare"] = net.bare[0].running_mean
    facts |= {key: copy.copy(value) for key, value in vars(net).items() if not key.startswith("_")}
    facts["hooks"] = list(net._forward_hooks.values())
    facts["sizes"] = list(net.seen["sizes"])  # type: ignore[call-overload]
    return facts


def equal(a: object, b: object) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a.nan_to_num(7), b.nan_to_num(7)) and a.dtype == b.dtype
    return type(a) is type(b) and a == b


def require_same(before: dict[str, object], after: dict[str, object]) -> None:
    assert before.keys() == after.keys()
    changed = [name for name, value in before.items() if not equal(value, after[name])]
    assert not changed


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_leaves_the_network_as_it_was(training: bool) -> None:
    net = Busy().train(training)
    net.norm.eval()  # a part in another mode than the whole
    net.register_forward_hook(lambda module, given, out: None)
    before = state(net)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    robench.evaluate(net, "fgsm", dataset="digits", limit=8, eps=["4/255"])
    require_same(before, state(net))
    net.train()(torch.rand(4, 3, 32, 32)).sum().backward()  # it can be trained as before
    optimiser.step()
    assert not torch.equal(net.head.weight, before["head.weight"][2])  # type: ignore[index]


def test_an_evaluation_that_fails_leaves_the_network_as_it_was() -> None:
    class Failing(Busy):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            if self.calls > 3:
                raise ValueError("on purpose")
            return out

    net = Failing()
    before = state(net)
    with pytest.raises(ValueError, match="on purpose"):
        robench.evaluate(net, "pgd", dataset="digits", limit=8, eps=["4/255"])
    require_same(before, state(net))


def test_it_is_evaluated_in_evaluation_mode_and_a_graph_of_the_user_survives() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.Dropout(0.5))
    net.kept = net[1](torch.rand(1, 3072)).square()  # type: ignore[assignment]
    with borrowed(net):
        assert not any(part.training for part in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
        robench.evaluate(net, "fgsm", dataset="digits", limit=4, eps=["4/255"])
        assert not net.training
    net.kept.sum().backward()  # type: ignore[operator,union-attr]
    assert net[1].weight.grad is not None  # type: ignore[union-attr]


class Converting(nn.Module):
    """Computes in a number type of its own, or in that of its input."""

    def __init__(self, kind: torch.dtype | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.kind = nn.Linear(3072, 10), kind
        self.register_buffer("level", torch.rand(1))

    def forward(self, x: Tensor) -> Tensor:
        kind = self.kind or x.dtype
        self.to(kind)
        return self.head(x.flatten(1).to(kind)).to(x.dtype) + self.level


@pytest.mark.parametrize(
    ("kind", "start"), [(None, torch.float16), (torch.bfloat16, torch.float32)]
)
def test_a_network_that_converts_itself_gets_its_number_type_back(
    kind: torch.dtype | None, start: torch.dtype
) -> None:
    net = Converting(kind).to(start)
    net.head(torch.rand(2, 3072, dtype=start)).sum().backward()
    weight, gradient = net.head.weight, net.head.weight.grad
    before = [tensor.clone() for tensor in (weight, net.level, gradient)]
    robench.evaluate(net, "fgsm", dataset="digits", limit=8, eps=["4/255"])
    assert net.head.weight is weight
    assert weight.grad is gradient
    for now, then in zip((weight, net.level, gradient), before, strict=True):
        assert now.dtype == start
        assert torch.equal(now, then)


def test_a_network_may_be_shared_frozen_or_empty(tmp_path: Path) -> None:
    shared = nn.Linear(3072, 10)
    for net in (
        nn.Sequential(nn.Flatten(), shared),
        nn.Sequential(nn.Flatten(), shared).requires_grad_(False),
        nn.Sequential(nn.Flatten(), shared, nn.Identity()),
    ):
        needed = [p.requires_grad for p in net.parameters()]
        robench.evaluate(net, "fgsm", dataset="digits", limit=4, eps=["4/255"], store=tmp_path)
        assert [p.requires_grad for p in net.parameters()] == needed


def test_the_logits_are_counted_on_the_device_of_the_network_without_a_trace() -> None:
    there = nn.Linear(4, 3, device="meta")
    assert count_logits(there, torch.rand(1, 4), "my-data") == 3
    net, x = Busy(), torch.rand(1, 3, 32, 32)
    before, random = state(net), torch.get_rng_state()
    assert count_logits(net, x, "my-data") == 10
    require_same(before, state(net))
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("net", [nn.Flatten(0), nn.Identity(), nn.LSTM(4, 2)])
def test_an_output_without_logits_is_refused(net: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"logits \(N, K\).*it returned"):
        count_logits(net, torch.rand(1, 3, 4), "my-data")


def test_weights_of_inference_mode_are_refused() -> None:
    with torch.inference_mode():
        net = nn.Linear(2, 2)
    with pytest.raises(UsageError, match=r"made under torch\.inference_mode"), borrowed(net):
        pass
