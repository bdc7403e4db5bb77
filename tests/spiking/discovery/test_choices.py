"""Choices that are spikes: counts, graded spikes, and comparisons that are joined."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robench.spiking.discovery import survey
from tests.support.spiking_styles import Steep, T, Timed, X, gradient, own_gradient

Outputs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From the membranes and the counts of the last step to those of this one."""


class Counting(Timed):
    """The network that counts the spikes of its last layer; subclasses say how."""

    def count(self, u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        s = Steep.apply(u - 1)
        return u - s.detach(), n + s

    def forward(self, x: Tensor) -> Tensor:
        current = (x.flatten(1) - 0.5) @ self.first
        v, u, n = torch.zeros_like(current), torch.zeros(len(x), 10), torch.zeros(len(x), 10)
        for _ in range(T):
            v = 0.7 * v + current
            s = Steep.apply(v - 1)
            v = v - s.detach()
            u, n = self.count(0.7 * u + s @ self.second, n)
        return n


def counted_by(outputs: Outputs) -> nn.Module:
    class Net(Counting):
        def count(self, u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
            return outputs(u, n)

    return Net().requires_grad_(False)


def written(u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    fired = u > 1
    n[fired] += 1
    u[fired] -= 1
    return u, n


def set_to(u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    fired = u > 1
    n[fired] = n[fired] + torch.ones(())
    return torch.where(fired, u - 1, u), n


def decaying(u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    fired = u > 1
    n = n / 0.7 * 0.7  # so that the rises differ by rounding
    n[fired] += 1
    return torch.where(fired, u - 1, u), n


COUNTS: dict[str, Outputs] = {
    "where": lambda u, n: (torch.where(u > 1, u - 1, u), torch.where(u > 1, n + 1, n)),
    "where it does not fire": lambda u, n: (
        torch.where(u <= 1, u, u - 1),
        torch.where(u <= 1, n, n + 1),
    ),
    "negated": lambda u, n: (torch.where(~(u > 1), u, u - 1), torch.where(~(u > 1), n, n + 1)),
    "set item": written,
    "a value for each": set_to,
    "rounded": decaying,
    "for each channel": lambda u, n: (
        torch.where(u > 1, u - 1, u),
        n + torch.where(u > 1, torch.ones(10), 0 * n),
    ),
    "masked fill": lambda u, n: (
        torch.where(u > 1, u - 1, u),
        n + torch.zeros_like(n).masked_fill(u > 1, 1.0),
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_has_the_gradient_of_its_spikes(name: str) -> None:
    counting, plain = counted_by(COUNTS[name]), Counting().requires_grad_(False)
    torch.testing.assert_close(counting(X), plain(X))
    found = survey(counting, counting, X)
    assert not found.own
    assert not found.refused
    similarity = nn.functional.cosine_similarity(
        gradient(counting).flatten(1), gradient(plain).flatten(1)
    )
    assert (similarity > 0.99).all()


def test_a_count_may_go_on_without_images() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            v, n = 2 * x.flatten(1)[:, :10], torch.zeros(len(x), 10)
            n = torch.where(v > 1, n + v, n)
            for rows in (slice(None), slice(0)):
                left, u = n[rows], v[rows]
                left = torch.where(u > 1, left + 1, left)
                left[u > 1] += 1
            return n + left.sum()

    assert survey(Net(), Net(), X).replaced


RESETS: dict[str, Callable[[Tensor], Tensor]] = {
    "where": lambda u: torch.where(u > 1, 0.0, u),
    "where it does not fire": lambda u: torch.where(u <= 1, u, 0.0),
    "with a leak": lambda u: torch.where(u > 1, 0.0, 0.9 * u),
    "product": lambda u: u * (u <= 1),
    "one minus": lambda u: u * (1 - (u > 1).float()),
    "filled": lambda u: u.masked_fill(u > 1, 0.0),
}


@pytest.mark.parametrize("name", RESETS)
def test_a_reset_is_no_further_spike(name: str) -> None:
    def outputs(u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        return RESETS[name](u), n + (u > 1).float()

    found = survey(net := counted_by(outputs), net, X)
    assert [spike.calls for spike in found.spikes] == [T, T]  # both layers


def test_a_count_may_have_no_spike_in_a_step() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            v, n = torch.zeros(len(x), 10), torch.zeros(len(x), 10)
            for _ in range(6):
                v = v + 0.4 * x.flatten(1)[:, :10]
                n[v > 1] += 1
            return n

    assert not (0.4 * X.flatten(1)[:, :10] > 1).any()
    found = survey(Net(), Net(), X)
    assert len(found.spikes) > 0
    assert not found.own
    assert gradient(Net()).any()


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "graded": lambda v: v * (v > 1),
    "graded by a choice": lambda v: torch.where(v > 1, v, 0.0),
    "graded in place": lambda v: v.clone().masked_fill_(v <= 1, 0.0),
    "scaled sign": lambda v: torch.sign(v) * v.abs().mean(1, keepdim=True),
    "attention": lambda v: (v > 1).float() * torch.sigmoid(v.roll(1, 1)),
    "largest": lambda v: v * (v >= v.topk(5).values[:, -1:]),
    "on a grid": lambda v: torch.where(on_grid(v) > 0.6, 1.0, 0.0),
    "a product on a grid": lambda v: (on_grid(v) > 0.6).float() * on_grid(v).exp(),
    "zeros with a sign": lambda v: torch.atan2(torch.where(v > 0, v + 1, 0 * v), -torch.ones(())),
    "saturated": lambda v: (v.clamp(0, 1) >= 1).float(),
    "joined to what never changes": lambda v: ((v.clamp(max=9) <= 9) & (v > 1)).float(),
    "joined to another": lambda v: ((v.roll(1, 1) > -9) & (v > 1)).float(),
    "a mask for each image": lambda v: torch.where((v.mean(1) > 0)[:, None], v + 1, v),
    "either": lambda v: ((v > 1) | (v < -1)).float(),
    "parts": lambda v: torch.cat([p.float() for p in ((v <= 9) & (v > 1)).split(20, 1)], 1),
}


def on_grid(v: Tensor) -> Tensor:
    return v - v.detach() + (4 * v).detach().round() / 4


class Layered(nn.Module):
    """One hidden layer with an activation that steps."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(192, 40, generator=generator) * 0.3)
        self.second = nn.Parameter(torch.randn(40, 10, generator=generator))
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.step((x.flatten(1) - 0.5) @ self.first) @ self.second


@pytest.mark.parametrize("name", STEPS)
def test_what_jumps_is_replaced(name: str) -> None:
    net = Layered(STEPS[name]).requires_grad_(False)
    found = survey(net, net, X)
    assert found.spikes
    assert not found.refused
    mine = gradient(net)
    assert not torch.allclose(mine, own_gradient(net))
    assert mine.flatten(1).any(1).all()


OWN: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda v: torch.where(v > 0, v, v.exp() - 1),
    "selu by products": lambda v: v * (v > 0) + 1.7 * (v.exp() - 1) * (v <= 0),
    "huber": lambda v: torch.where(v.abs() > 1, v.abs() - 0.5, v * v / 2),
    "guard": lambda v: v / torch.where(v.norm(dim=1) > 0, v.norm(dim=1), 1.0)[:, None],
    "guard that is met": lambda v: v / torch.where(few(v) > 0, few(v), 1.0),
    "guard in place": lambda v: v / (few(v) * 1).masked_fill_(few(v) <= 0, 1.0),
    "mask": lambda v: v.masked_fill(v < v.mean(1, keepdim=True), -torch.inf).softmax(1),
    "mask by a large number": lambda v: torch.where(v > 0, v, -1e9).softmax(1),
    "stable sigmoid": lambda v: torch.where(v >= 0, 1 / (1 + (-v).exp()), v.exp() / (1 + v.exp())),
    "mask by a smaller number": lambda v: v.masked_fill(v < 0, -1e4).softmax(1),
    "clamped": lambda v: torch.where(v > 1, 1.0, v),
    "window": lambda v: v * ((v > 0) & (v < 1e4)),
    "kernel": lambda v: ((v > -1) & (v < 1)) * (1 - v * v) ** 3,
    "gate of some": lambda v: gated(fours(v), shared(v)).flatten(1),
    "choice of some": lambda v: torch.where(shared(v) > 0, fours(v) * shared(v), 0.0).flatten(1),
    "norm that is clipped": lambda v: torch.where(norm(v) > 2, 2 * v / norm(v), v),
    "rows": lambda v: routed(v),
    "rows, as many as columns": lambda v: routed(v[:, : len(v)]).repeat(1, 3)[:, :40],
    "in place": lambda v: (v * 1).masked_fill_(v < 0, 0.0),
}


def fours(v: Tensor) -> Tensor:
    return v.unflatten(1, (10, 4))


def shared(v: Tensor) -> Tensor:
    return fours(v).mean(2, keepdim=True)


def gated(v: Tensor, by: Tensor) -> Tensor:
    return v * by * (by > 0)


def few(v: Tensor) -> Tensor:
    return (v[:, :2] - 1).relu().sum(1, keepdim=True)


def norm(v: Tensor) -> Tensor:
    return v.norm(dim=1, keepdim=True)


def routed(v: Tensor) -> Tensor:
    out, chosen = v * 1, v.mean(1) > 0
    out[chosen] = v[chosen] * 2
    return out


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("spiking", [False, True])
def test_what_joins_guards_or_masks_keeps_its_gradient(name: str, spiking: bool) -> None:
    def activation(v: Tensor) -> Tensor:
        v = OWN[name](v)
        return Steep.apply(v - v.detach().median()) if spiking else v

    net = Layered(activation).requires_grad_(False)
    found = survey(net, net, X)
    assert not found.own
    assert not found.refused
    assert found.replaced == spiking
    assert gradient(net).isfinite().all()
    if not spiking:
        assert torch.equal(gradient(net), own_gradient(net))


def test_joined_comparisons_have_the_gradient_of_each() -> None:
    class Both(nn.Module):
        def __init__(self, way: int) -> None:
            super().__init__()
            self.way = way

        def forward(self, x: Tensor) -> Tensor:
            a, b = x.flatten(1)[:, :10], x.flatten(1)[:, 10:20]
            if self.way == 0:
                return ((a > 0.5) & (b < 0.5)).float()
            return Steep.apply(a - 0.5) - Steep.apply(b - 0.5)

    joined, each = gradient(Both(0)), gradient(Both(1))
    assert each.any()
    torch.testing.assert_close(joined, each)
