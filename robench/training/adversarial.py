"""Adversarial training: images are replaced by what an attack makes of them (Madry et al., 2018).

The attack is PGD of one or two long steps from a random point, as in Wong et al., "Fast is better
than free" (2020), in float32. It goes through the network that is trained, at the T of the phase,
in evaluation mode: the batch norms keep their statistics, so that training images alone move them,
and a flexible layer does not adapt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robench.attacks.primitives.norms import project
from robench.attacks.primitives.per_sample import spread

REACH = 1.25
"""Length of all steps together, in units of ε: from most starts they reach the border."""


def perturbed(
    net: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Images in the L∞ ball around ``x`` on which the network does worse, of the shape of ``x``.

    Args:
        net: the network; spikes are passed with the surrogate that it is trained with.
        x: images in [0, 1], ``(N, C, H, W)`` or ``(N, T, C, H, W)``.
        y: labels, ``(N,)``.
        epsilon: radius of the ball.
        steps: gradients that are taken.
        generator: of the starts.
    """
    eps = torch.full((len(x),), epsilon, dtype=x.dtype, device=x.device)
    start = (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1) * epsilon
    candidate = project(x + start.to(x.device), x, eps)
    with _in_evaluation(net), torch.enable_grad():
        for _ in range(steps):
            leaf = candidate.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(net(leaf), y), leaf)
            step = spread(eps, x) * (REACH / steps)
            candidate = project(candidate + step * gradient.sign(), x, eps)
    return candidate.detach()


@contextmanager
def _in_evaluation(net: nn.Module) -> Iterator[None]:
    """Inside, a network is in evaluation mode and none of its parameters takes a gradient."""
    training = net.training
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    net.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_()
        net.train(training)
