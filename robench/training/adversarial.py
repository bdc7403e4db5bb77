"""Adversarial training: images are replaced by adversarial perturbations (Madry et al., 2018).

The attack is PGD with one or two long steps from a random point, as in Wong et al., "Fast is better
than free" (2020), in the precision of the training. It uses the network that is trained, at the T
of the phase, in evaluation mode: perturbed images do not update the statistics of batch norms, and
flexible layers do not adapt.
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
"""The total length of all steps, in units of ε: from most starts they reach the border."""


def perturbed(
    net: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Images in the L∞ ball around ``x`` with a higher loss, of the shape of ``x``.

    Args:
        net: the network; spikes have its own surrogate.
        x: images in [0, 1], ``(N, C, H, W)`` or ``(N, T, C, H, W)``.
        y: labels, ``(N,)``.
        epsilon: the radius of the ball.
        steps: the number of gradients.
        generator: draws the starts.
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
    """Inside, a network is in evaluation mode and its parameters need no gradient."""
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
