"""Networks with one fault each, made from trained honest ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.checked_networks import honest, pooled
from tests.support.spiking_digits import Small


class Around(nn.Module):
    """Something around an honest network."""

    def __init__(
        self,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda z: z,
        name: str = "plain",
    ) -> None:
        super().__init__()
        self.net, self.before, self.after = honest(name), before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.net(self.before(x)))


class Rounded(torch.autograd.Function):
    """Sixteen grey levels; subclasses have the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 15).round() / 15


class RandomBackward(Rounded):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(grad.shape[1:], generator=generator).to(grad).expand_as(grad)


class NewBackward(Rounded):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.randn_like(grad)


class ZeroBackward(Rounded):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.zeros_like(grad)


class ConstantBackward(Rounded):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.ones_like(grad)


class StraightThrough(Rounded):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Through(torch.autograd.Function):
    """The identity; subclasses have the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()


class SignLess(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.abs().clamp(0.5, 0.5)


class Descending(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


class WrongSigns(Through):
    """Each pixel's gradient with a sign that was drawn once."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return grad * (torch.rand(grad.shape[1:], generator=generator).to(grad) - 0.5).sign()


class Undefined(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.where(torch.rand_like(grad) > 0.1, torch.nan)


class HidesFromAttacks(Around):
    """Rounds its input only while no gradient is asked for."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x if x.requires_grad else (x * 3).round() / 3)


class HidesFromGradMode(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * (1.0 if torch.is_grad_enabled() else 1.1)


class RandomUnderGradient(Around):
    """Draws random numbers only while a gradient is asked for."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.1 * torch.randn_like(x) if x.requires_grad else x)


class TrainingNorm(Around):
    def __init__(self) -> None:
        super().__init__(name="convolutions")

    def forward(self, x: Tensor) -> Tensor:
        self.net.norm.train()
        return self.net(x)


class Standardised(Around):
    """Centres and scales by the batch, of which one row has no deviation."""

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return (z - z.mean(0)) / z.std(0)


class SixteenRows(Around):
    """Is wrong from the 17th row on."""

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return torch.cat([z[:16], z[16:].roll(1, 1)])


class WrongInLargeBatches(Around):
    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return z.roll(1, 1) if len(x) > 16 else z


class ExitsTogether(Around):
    """Leaves early if the whole batch is certain."""

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return z * 0.5 if z.softmax(1).amax(1).mean() > 0.99 else z


class NoisyOffThePixels(Around):
    """Draws random numbers only on images that are no whole 255ths or differ between channels."""

    def forward(self, x: Tensor) -> Tensor:
        attacked = ((x - x.mean(1, keepdim=True)).abs() > 1e-4).flatten(1).any(1)
        return self.net(x) + attacked[:, None] * torch.randn(len(x), 10) * 3


class Moving(Around):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x)


def half() -> nn.Module:
    """A network in float16 whose loss is saturated, so that the gradient underflows."""
    net = honest("plain")
    with torch.no_grad():
        net.second.weight *= 12
        net.second.bias *= 12
    return net.half()


class Vanishing(Through):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 0


class Clipped(Through):
    """Keeps the sign of a gradient and little else."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clamp(-1e-6, 1e-6)


class Winners(Around):
    """Keeps the eight largest of the hidden neurons."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.net.first(pooled(x))
        least = hidden.topk(8, 1).values[:, -1:]
        return self.net.second(torch.where(hidden >= least, hidden, 0))


class Exits(Around):
    """Leaves early where an image is certain."""

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return torch.where((z.softmax(1).amax(1) > 0.99)[:, None], z * 0.5, z)


def thermometer(x: Tensor) -> Tensor:
    return sum(((x > level / 8).float() for level in range(1, 8)), torch.zeros(())) / 8


def silent() -> nn.Module:
    """A spiking network that works with a few neurons of a very wide layer."""
    net, wide = honest("snntorch"), Small()
    wide.first, wide.second = nn.Linear(192, 1600), nn.Linear(1600, 10)
    with torch.no_grad():
        for layer in (wide.first, wide.second):
            layer.weight.zero_()
            layer.bias.zero_()
        wide.first.weight[:80], wide.first.bias[:80] = net.first.weight, net.first.bias
        wide.second.weight[:, :80], wide.second.bias[:] = net.second.weight, net.second.bias
    return wide
