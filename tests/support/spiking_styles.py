"""Networks that spike in many styles, and their gradient with a surrogate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from snntorch import surrogate as slopes
from torch import Tensor, nn

from robench.spiking import Surrogate
from robench.spiking.discovery import substituted, survey

T = 4
X = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TRIANGLE = Surrogate("triangle", 1.0)


class Timed(nn.Module):
    """Two layers of neurons over T steps; subclasses say how they spike."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(192, 40, generator=generator) * 0.15)
        self.second = nn.Parameter(torch.randn(40, 10, generator=generator) * 0.5)

    def spike(self, v: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        current, out = (x.flatten(1) - 0.5) @ self.first, torch.zeros(len(x), 10)
        v, u = torch.zeros_like(current), torch.zeros(len(x), 10)
        for _ in range(T):
            v = 0.7 * v + current
            s = self.spike(v)
            v = v - s.detach()
            u = 0.7 * u + s @ self.second
            p = self.spike(u)
            u = u - p.detach()
            out = out + p + 0.1 * u
        return out / T


class Above(torch.autograd.Function):
    """A step at 0 that keeps z; subclasses have the backward pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return (z > 0).to(z.dtype)


class Steep(Above):
    """A step whose derivative vanishes, bound once as most hand-written code does."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad / (1000 * z.abs() + 1) ** 2


class Fused(torch.autograd.Function):
    """All time steps of a neuron at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = 0.5 * v + current
            out.append((v > 1).to(x.dtype))
            v = v - out[-1]
        return torch.stack(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Inside(torch.autograd.Function):
    """The threshold is inside, and the spike falls instead of rising."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: Tensor) -> Tensor:
        return (v <= threshold).to(v.dtype) * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.zeros_like(grad), None


class Pair(torch.autograd.Function):
    """Returns spike and membrane."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        return (v > 1).to(v.dtype), v * 0.5

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[1] * 0.5


steep = Steep.apply
ONE = torch.tensor(1.0)
STYLES: dict[str, Callable[[Tensor], Tensor]] = {
    "bound early": lambda v: steep(v - 1),
    "threshold inside, falling": lambda v: 1 - Inside.apply(v, ONE) / 2,
    "two outputs": lambda v: Pair.apply(v)[0],
    "compare and cast": lambda v: (v > 1).float(),
    "compare and to": lambda v: (v.gt(1.0)).to(v.dtype),
    "reversed": lambda v: (v > 1.0).type_as(v),
    "product": lambda v: (v > 1) * 1.0,
    "integers between": lambda v: (v > 1).int().float(),
    "negated": lambda v: (~(v <= 1)).float(),
    "where": lambda v: torch.where(v > 1, 1.0, 0.0),
    "masked fill": lambda v: torch.zeros_like(v).masked_fill(v > 1, 1.0),
    "set item": lambda v: _filled(v),
    "sum": lambda v: (v > 1) + 0.0,
    "quotient": lambda v: (v > 1) / 1.0,
    "compared in place": lambda v: v.clone().gt_(1),
    "filled in place": lambda v: torch.zeros_like(v).masked_fill_(v > 1, 1.0),
    "copied": lambda v: torch.zeros_like(v).copy_(v > 1),
    "item of something with a graph": lambda v: _filled(v, v * 0),
    "by name": lambda v: torch.gt(input=v, other=ONE).float(),
    "where by name": lambda v: torch.where(input=ONE, condition=v > 1, other=ONE * 0),
    "where with a graph": lambda v: torch.where(v > 1, v * 0 + 1, v * 0),
    "equal to false": lambda v: ((v <= 1) == False).float(),  # noqa: E712
    "not equal to true": lambda v: ((v <= 1) != torch.tensor(True)).float(),
    "exclusive or": lambda v: ((v <= 1) ^ True).float(),
    "whole numbers turned round": lambda v: (1 - (v <= 1).int()).float(),
    "whole numbers scaled": lambda v: (3 + 2 * (v > 1).long()) / 2.0 - 1.5,
    "negative whole numbers": lambda v: (-((v > 1).int())).neg().to(v.dtype),
    "set to a mask": lambda v: _record(v),
    "sliced": lambda v: _sliced(v > 1),
    "another axis": lambda v: (v > 1)[:, None].transpose(0, 1).float()[0],
    "split": lambda v: torch.cat([part.float() for part in (v > 1).split(3, 1)], 1),
    "flattened": lambda v: (v > 1).flatten(1).float().view_as(v),
    "overwritten": lambda v: _overwritten(v),
    "filled twice": lambda v: v.masked_fill(v > 1, 1.0).masked_fill(v <= 1, 0.0),
    "chosen twice": lambda v: torch.where(v <= 1, 0.0, torch.where(v > 1, 1.0, v)),
    "rectified sign": lambda v: torch.relu(torch.sign(v - 1)),
    "clamped sign": lambda v: torch.sign(v - 1).clamp(min=0),
    "method of a tensor": lambda v: torch.ones_like(v).where(v > 1, torch.zeros_like(v)),
    "where of whole numbers": lambda v: torch.where(v > 1, 1, 0).float(),
    "whole numbers filled": lambda v: (
        torch.zeros(v.shape, dtype=torch.int).masked_fill(v > 1, 1).float()
    ),
    "scaled and cast to booleans": lambda v: (3 * (v > 1).int()).to(torch.bool).float(),
    "beside a counter": lambda v: ((torch.zeros(v.shape) <= 0) & (v > 1)).float(),
    "reset before the cast": lambda v: _reset_before(v * 1),
    "filled by a vector": lambda v: _filled_by_ones(v),
    "clipped sign": lambda v: torch.sign(v - 1).clip(0),
    "sign in place": lambda v: ((v - 1).sign_() + 1) / 2,
    "two comparisons": lambda v: ((v > 1) * (v < 50)).float(),
    "floor in a range": lambda v: v.floor().clamp(0, 1),
    "quotient in a range": lambda v: (v // 0.5).clamp(min=1, max=2) - 1,
    "floor between bounds": lambda v: torch.floor(v).clamp(min=0).clamp(max=1),
    "rounded before a reset": lambda v: _rounded_before(v * 1),
    "truncated": lambda v: (2 * v).trunc_().clamp_max(2).clamp_min(1) - 1,
    "hard tanh of a ceiling": lambda v: nn.functional.hardtanh(torch.ceil(v - 1), 0, 1),
    "rounding in a range": lambda v: torch.round(v / 2).clip(0, 1),
    "heaviside": lambda v: torch.heaviside(v - 1, torch.zeros(())),
    "sign": lambda v: (torch.sign(v - 1) + 1) / 2,
    "snntorch": slopes.fast_sigmoid(slope=1000.0),
}

MEASURED = {
    "rectified sign",
    "clamped sign",
    "clipped sign",
    "sign in place",
    "filled by a vector",
    "hard tanh of a ceiling",
    "bound early",
    "threshold inside, falling",
    "two outputs",
    "heaviside",
    "sign",
    "snntorch",
}
"""Styles in which the jump or the unit is measured, so that the gradient is nearly the same."""


def _filled(v: Tensor, spikes: Tensor | None = None) -> Tensor:
    spikes = torch.zeros_like(v) if spikes is None else spikes
    spikes[v > 1] = 1.0
    return spikes


def _reset_before(v: Tensor) -> Tensor:
    mask = v > 1
    v[mask] = 0.0
    return mask.float()


def _rounded_before(v: Tensor) -> Tensor:
    levels = v.floor()
    v.mul_(0.5)
    return levels.clamp(0, 1)


def _filled_by_ones(v: Tensor) -> Tensor:
    mask, spikes = v > 1, torch.zeros(v.shape)
    spikes[mask] = torch.ones(int(mask.sum()))
    return spikes


def _record(v: Tensor) -> Tensor:
    record = torch.zeros(2, *v.shape)
    record[1] = v > 1
    return record[1]


def _booleans(mask: Tensor) -> Tensor:
    record = torch.zeros(2, *mask.shape, dtype=torch.bool)
    record[1] = mask
    return record[1]


def _places(mask: Tensor) -> Tensor:
    spikes = torch.zeros(2, *mask.shape)
    spikes[1, mask] = 1.0
    return spikes[1]


def _sliced(mask: Tensor) -> Tensor:
    return torch.cat([mask[:, :3].float(), mask[:, 3:].float()], 1)


def _overwritten(v: Tensor) -> Tensor:
    spikes = v.clone()
    spikes[v <= 1] = 0.0
    spikes[v > 1] = 1.0
    return spikes


LOST: dict[str, Callable[[Tensor], Tensor]] = {
    "stack": lambda v: torch.stack([v > 1]).float()[0],
    "sum over an axis": lambda v: (v[None] > 1).sum(0).float(),
    "one-hot": lambda v: nn.functional.one_hot((v > 1).long(), 2)[..., 1].float(),
    "sum of two": lambda v: ((v > 1).int() + (v > 2).int()).float(),
    "booleans that are filled": lambda v: _booleans(v > 1).float(),
    "some of the places": lambda v: _places(v > 1),
    "clamped whole numbers": lambda v: (v > 1).int().clamp(0, 1).float(),
    "stacked by name": lambda v: torch.stack(tensors=[v > 1]).float()[0],
    "any of an axis": lambda v: (v[None] > 1).any(0).float(),
    "detached": lambda v: ((v > 1).float() - torch.sigmoid(v - 1)).detach() + torch.sigmoid(v - 1),
}
"""Styles that are seen and cannot be replaced."""


def styled(name: str) -> Timed:
    class Styled(Timed):
        def spike(self, v: Tensor) -> Tensor:
            return {**STYLES, **LOST}[name](v - 1 if name == "snntorch" else v)

    return Styled().requires_grad_(False)


def gradient(net: nn.Module, surrogate: Surrogate = TRIANGLE, x: Tensor = X) -> Tensor:
    """The input gradient with a surrogate, after the forward pass was compared."""
    found = survey(net, net, x)
    expected = net(x.clone().requires_grad_())
    with substituted(found, net, surrogate) as network:

        def compared(images: Tensor) -> Tensor:
            logits = network(images)
            assert torch.equal(logits, expected)
            return logits

        return own_gradient(compared, x)


def own_gradient(network: Callable[[Tensor], Tensor], x: Tensor = X) -> Tensor:
    """The gradient as it is, of the first half of the logits minus the other; zero without any."""
    leaf = x.clone().requires_grad_()
    logits = network(leaf)
    if not logits.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(logits[:, :5].sum() - logits[:, 5:].sum(), leaf)
    return found
