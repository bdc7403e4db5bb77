"""The features of a network: what its last linear layer reads out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from robench.architectures import VGG
from robench.registry import Model

FITS = 1e-3
"""The largest part of the logits that the last linear layer may leave unexplained."""


class Features(nn.Module):
    """From images to the features ``(N, D)`` of a network, which keeps its gradients.

    A linear layer that is called at each time step has a mean of its inputs for the features, with
    the weights that the logits give to its outputs.

    Attributes:
        net: the network.
        layer: its last linear layer; None for a network of robench, which is not hooked, so that
            threads can share it.
        time_first: whether the first of several axes of the layer's input is time.
        weights: of the time steps, ``(T,)``.
    """

    weights: Tensor

    def __init__(
        self,
        net: nn.Module,
        layer: nn.Linear | None = None,
        weights: Tensor | None = None,
        *,
        time_first: bool = True,
    ) -> None:
        super().__init__()
        self.net, self.layer, self.time_first = net, layer, time_first
        self.register_buffer("weights", torch.ones(1) if weights is None else weights)

    def forward(self, x: Tensor) -> Tensor:
        """The features of images."""
        if isinstance(self.net, VGG):
            return self.net.read_out(x).mean(0)
        assert self.layer is not None
        seen: list[Tensor] = []

        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(args[0] if args else kwargs["input"])

        with ExitStack() as stack:
            stack.callback(self.layer.register_forward_pre_hook(note, with_kwargs=True).remove)
            self.net(x)
        steps = _steps(seen, len(x), time_first=self.time_first).to(self.weights.dtype)
        features: Tensor = torch.tensordot(self.weights, steps, 1)
        return features


def find_features(model: Model, x: Tensor) -> Features | None:
    """The features of a model; None if its logits are no linear function of a linear layer's input.

    The logits may differ by the same number in all classes, as after ``log_softmax``, and be a sum
    over time of the layer's outputs, with any weights: a mean, a sum, or the potential of a leaky
    neuron that never spikes. Output neurons that spike are not linear.

    Args:
        model: on the device where it computes, with its parameters frozen.
        x: images, ``(N, C, H, W)``, at least two.
    """
    net = model.module
    if isinstance(net, VGG):
        return Features(net)
    outputs: dict[nn.Linear, list[Tensor]] = {}

    def note(layer: nn.Module, _: object, out: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        outputs[layer] = [*outputs.pop(layer, []), out]  # the last that was called comes last

    x = x.to(model.device)
    with ExitStack() as stack, torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Linear):
                stack.callback(part.register_forward_hook(note).remove)
        logits = model.call(x)
    for layer in reversed(outputs):
        for time_first in (True, False):
            weights = _weights(outputs[layer], logits, time_first=time_first)
            if weights is not None:
                return Features(net, layer, weights, time_first=time_first)
    return None


def _steps(values: Sequence[Tensor], n: int, *, time_first: bool) -> Tensor:
    """Inputs or outputs of a layer in all of its calls, ``(T, N, D)``.

    Those of a call are ``(N, D)``, ``(T, N, D)`` or ``(N, T, D)``, or these with the first two axes
    flattened.
    """
    if time_first:
        return torch.cat([value.reshape(-1, n, value.shape[-1]) for value in values])
    return torch.cat([value.reshape(n, -1, value.shape[-1]).transpose(0, 1) for value in values])


def _weights(outputs: Sequence[Tensor], logits: Tensor, *, time_first: bool) -> Tensor | None:
    """The weights of the time steps in the logits, fitted on half of the images; None if no fit."""
    n, classes = logits.shape
    size = n * classes
    if any(out.shape[-1] != classes or out.numel() % size or not out.numel() for out in outputs):
        return None
    steps, half = _steps(outputs, n, time_first=time_first).double(), n // 2
    steps, wanted = (each - each.mean(-1, keepdim=True) for each in (steps, logits.double()))
    known = steps[:, :half].flatten(1).T
    fitted = torch.linalg.lstsq(known.cpu(), wanted[:half].flatten()[:, None].cpu(), driver="gelsd")
    weights: Tensor = fitted.solution.squeeze(1).to(steps.device)
    rest = torch.tensordot(weights, steps, 1) - wanted
    largest = float(wanted.abs().amax())
    if not largest > 0 or not float(rest.abs().amax()) <= FITS * largest:
        return None
    return weights.float()
