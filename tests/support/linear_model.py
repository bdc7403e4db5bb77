"""A linear model whose minimal perturbation is known."""

from __future__ import annotations

import torch

from robench.registry import Model


class LinearModel:
    """A binary linear model whose minimal L∞ distance is known in closed form."""

    def __init__(self, shape: tuple[int, int, int], samples: int, *, box: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        size = shape[0] * shape[1] * shape[2]
        linear = torch.nn.Linear(size, 2).requires_grad_(False)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(2, size, generator=generator))
            linear.bias.zero_()
            centre = (linear.weight[1] - linear.weight[0]).sum() / 2
            linear.bias.copy_(torch.stack([centre / 2, -centre / 2]))  # both classes occur
        self.model = Model(torch.nn.Sequential(torch.nn.Flatten(), linear), "digits/linear", 2)
        low, high = (0.0, 1.0) if box else (0.45, 0.55)
        self.x = torch.rand(samples, *shape, generator=generator) * (high - low) + low
        logits = self.model.logits(self.x)
        self.y = logits.argmax(1)
        weight = (linear.weight[1] - linear.weight[0]).detach().double()
        self.direction = torch.where(self.y == 0, 1.0, -1.0)[:, None].double() * weight
        self.margin = (logits[:, 0] - logits[:, 1]).abs().double()

    def robust(self, epsilon: float) -> int:
        """The number of samples that stay robust against every perturbation in ball and box."""
        flat = self.x.flatten(1).double()
        best = (flat + epsilon * self.direction.sign()).clamp(0, 1)
        gain = ((best - flat) * self.direction).sum(1)
        return int((gain <= self.margin).sum())

    def distance(self, row: int) -> float:
        """The L∞ distance to the nearest adversarial example in the box, by bisection."""
        flat, way = self.x[row].flatten().double(), self.direction[row]
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            gain = (((flat + middle * way.sign()).clamp(0, 1) - flat) * way).sum()
            low, high = (middle, high) if gain <= self.margin[row] else (low, middle)
        return high
