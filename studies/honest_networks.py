"""Small honest networks of many styles, each trained on digits in about a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import snntorch
import torch
from snntorch import surrogate as slopes
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from robench.compat import snntorch as compat
from robench.datasets import DIGITS
from robench.isolation import isolated

EPOCHS = 6
BATCH = 64


class Scale(nn.Module):
    """The mean of each 4×4 block of pixels, flat or not, from [0, 1] to another range."""

    def __init__(self, mean: float = 0.5, deviation: float = 0.25, *, flat: bool = True) -> None:
        super().__init__()
        self.mean, self.deviation, self.flat = mean, deviation, flat

    def forward(self, x: Tensor) -> Tensor:
        """The pixels in the other range."""
        x = (nn.functional.avg_pool2d(x, 4) - self.mean) / self.deviation
        return x.flatten(1) if self.flat else x


def dense(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Layers of these widths."""
    layers: list[nn.Module] = [Scale()]
    for inputs, outputs in zip((192, *widths), widths, strict=False):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def convolutions(width: int, *after: nn.Module, flat: int) -> nn.Module:
    """A convolution, other layers, and a linear one."""
    first = nn.Conv2d(3, width, 3, padding=1)
    return nn.Sequential(
        Scale(0.3, 0.4, flat=False), first, *after, nn.Flatten(), nn.Linear(flat, 10)
    )


class Residual(nn.Module):
    """Blocks with layer norm that add to what they get."""

    def __init__(self, width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.first, self.last = nn.Sequential(Scale(), nn.Linear(192, width)), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU())
            for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.last(x)
        return out


class Attention(nn.Module):
    """A transformer layer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.last = Scale(flat=False), nn.Linear(192, 10)
        self.layer = nn.TransformerEncoderLayer(24, 3, 32, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        rows = self.scale(x).transpose(1, 2).flatten(2)
        out: Tensor = self.last(self.layer(rows).flatten(1))
        return out


class Step(torch.autograd.Function):
    """A step with a rectangle for its derivative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        """Whether z is positive."""
        ctx.save_for_backward(z)
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Where z is near 0."""
        (z,) = ctx.saved_tensors
        out: Tensor = grads[0] * (z.abs() < 0.5)
        return out


class ByHand(nn.Module):
    """A leaky neuron in plain PyTorch, with a learned leak."""

    v: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.tensor(0.0))

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of one step."""
        v = current if self.v is None else self.leak.sigmoid() * self.v + current
        spikes: Tensor = Step.apply(v - 1)  # type: ignore[no-untyped-call]
        self.v = v * (1 - spikes.detach())
        return spikes


def mean(out: Tensor) -> Tensor:
    """The mean over time of ``(T, N, K)``."""
    return out.mean(0)


def largest(out: Tensor) -> Tensor:
    """The largest value of each class over time."""
    return out.amax(0)


def integrated(out: Tensor) -> Tensor:
    """The last membrane of a leaky integrator."""
    v = torch.zeros_like(out[0])
    for current in out:
        v = 0.8 * v + current
    return v


def groups(out: Tensor) -> Tensor:
    """Ten spikes' worth of logits: the rates of groups of output neurons, ``(T, N, 10·G)``."""
    return 10 * out.mean(0).view(out.shape[1], 10, -1).mean(2)


class Spiking(nn.Module):
    """Layers with neurons between them, over T steps, from rest in each call.

    Args:
        layers: between which the neurons are; the first gets pixels, scaled.
        neurons: as many as layers, or one less.
        steps: T.
        read: from the last outputs over time to logits.
        encode: from an image to the input of each step; by default the image itself.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        neurons: Sequence[nn.Module],
        steps: int,
        read: Callable[[Tensor], Tensor] = mean,
        encode: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.layers, self.neurons = nn.ModuleList(layers), nn.ModuleList(neurons)
        self.steps, self.read, self.encode = steps, read, encode

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        compat.reset(self)
        functional.reset_net(self)
        for part in self.neurons:
            if isinstance(part, ByHand):
                part.v = None
        out = []
        for step in range(self.steps):
            h = x if self.encode is None else self.encode(x, step)
            for k, layer in enumerate(self.layers):
                h = layer(h)
                h = self.neurons[k](h) if k < len(self.neurons) else h
            out.append(h)
        return self.read(torch.stack(out))


def brighter(x: Tensor, step: int) -> Tensor:
    """Pixels above a threshold that falls with time, by a comparison."""
    return (x > 0.8 - 0.2 * step).to(x.dtype)


def leaky(beta: float, slope: Any, **more: Any) -> nn.Module:
    """SnnTorch's neuron that keeps its membrane."""
    cell: nn.Module = snntorch.Leaky(beta=beta, spike_grad=slope, init_hidden=True, **more)
    return cell


def between(
    width: int, one: Callable[[], nn.Module], steps: int, outputs: int = 10, **more: Any
) -> Spiking:
    """Two linear layers with neurons between them, and behind them if there are more outputs."""
    layers = [nn.Sequential(Scale(), nn.Linear(192, width)), nn.Linear(width, outputs)]
    return Spiking(layers, [one() for _ in range(1 if outputs == 10 else 2)], steps, **more)


def spiking_convolutions(width: int, one: Callable[[], nn.Module], steps: int) -> Spiking:
    """A convolution with batch norm and pooling, and a linear layer."""
    first = nn.Sequential(
        Scale(0.0, 1.0, flat=False), nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
    )
    last = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10))
    return Spiking([first, last], [one()], steps)


def deep(width: int, one: Callable[[], nn.Module], steps: int, **more: Any) -> Spiking:
    """Three linear layers with neurons between them."""
    first = nn.Sequential(Scale(), nn.Linear(192, width))
    layers = [first, nn.Linear(width, width), nn.Linear(width, 10)]
    return Spiking(layers, [one(), one()], steps, **more)


ANN: dict[str, Callable[[], nn.Module]] = {
    "ReLU, 1 × 48": lambda: dense(48),
    "ReLU, 3 × 96": lambda: dense(96, 96, 96),
    "tanh, 2 × 64": lambda: dense(64, 64, activation=nn.Tanh),
    "leaky ReLU, 1 × 256": lambda: dense(256, activation=nn.LeakyReLU),
    "softplus, 2 × 40": lambda: dense(40, 40, activation=nn.Softplus),
    "convolution, max pooling": lambda: convolutions(12, nn.ReLU(), nn.MaxPool2d(2), flat=192),
    "convolution, batch norm, dropout": lambda: convolutions(
        16, nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.3), flat=1024
    ),
    "convolution, GELU, global pooling": lambda: convolutions(
        32, nn.GELU(), nn.Conv2d(32, 48, 3), nn.GELU(), nn.AdaptiveAvgPool2d(2), flat=192
    ),
    "residual, layer norm, SiLU": Residual,
    "attention": Attention,
}
SPIKING: dict[str, Callable[[], nn.Module]] = {
    "snnTorch, atan, mean membrane": lambda: between(64, lambda: leaky(0.6, slopes.atan()), 5),
    "snnTorch, fast sigmoid, two layers": lambda: deep(
        96, lambda: leaky(0.8, slopes.fast_sigmoid(slope=10)), 4, read=integrated
    ),
    "snnTorch, reset to zero, largest membrane": lambda: between(
        100, lambda: leaky(0.7, slopes.spike_rate_escape(), reset_mechanism="zero"), 5, read=largest
    ),
    "snnTorch, groups of output spikes": lambda: between(
        80, lambda: leaky(0.9, slopes.atan()), 6, outputs=200, read=groups
    ),
    "snnTorch, brightness over time": lambda: between(
        128, lambda: leaky(0.9, slopes.atan()), 4, encode=brighter
    ),
    "SpikingJelly LIF, convolution": lambda: spiking_convolutions(
        12, lambda: neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True), 4
    ),
    "SpikingJelly IF, sigmoid": lambda: between(
        72, lambda: neuron.IFNode(surrogate_function=surrogate.Sigmoid(alpha=4.0)), 4
    ),
    "SpikingJelly parametric LIF, two layers": lambda: deep(
        80, lambda: neuron.ParametricLIFNode(surrogate_function=surrogate.PiecewiseQuadratic()), 4
    ),
    "by hand, rectangle": lambda: between(96, ByHand, 4),
    "by hand, convolution": lambda: spiking_convolutions(8, ByHand, 3),
}


def trained(make: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, float]:
    """A network of a style, and its accuracy on all test images."""
    data, test = DIGITS.load("train"), DIGITS.load("test")
    x, y = data.tensor(), data.targets()
    with isolated():
        torch.manual_seed(seed)
        net = make()
        optimiser = torch.optim.Adam(net.parameters(), 4e-3)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(BATCH):  # type: ignore[no-untyped-call]
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    net.eval()
    with torch.no_grad():
        hits = net(test.tensor()).argmax(1) == test.targets()
    return net, float(hits.double().mean())
