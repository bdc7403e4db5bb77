"""Layer-wise calibration of a converted network to its ANN counterpart.

In a FLEX network the inputs of pooling and mask are spikes, and averages in the counterpart. The
maximum over nine spikes is larger than the maximum over nine rates, and the error grows from layer
to layer. So each layer, from the first to the last, is fitted again: given its real input spikes,
its mean output over time should be the output of the same layer of the counterpart (Li et al., A
free lunch from ANN, ICML 2021). Each fit differentiates one layer only, and no spike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Adam

from robench.architectures import VGG, ClipFloorShift
from robench.spiking import direct
from robench.training.loop import Samples, averaging_norms

IMAGES = 2048  # at most: the spikes of one layer for all of them are kept in memory
CHUNK, BATCH = 128, 48


def calibrate(
    net: VGG, counterpart: VGG, data: Samples, steps: int, rate: float, generator: torch.Generator
) -> None:
    """Fit every layer of ``net`` that has weights; the head and the thresholds do not change.

    Args:
        net: the converted network, with the T of its deployment.
        counterpart: the trained ANN counterpart.
        data: training images.
        steps: the number of steps of Adam for each layer.
        rate: the first learning rate of Adam; it decays linearly to 0.
        generator: chooses the images of each step.
    """
    net.eval()
    counterpart.eval()
    x = net.normalise(data.x(slice(IMAGES)).to(net.head.weight.device))
    spikes = [direct(part, net.timesteps) for part in torch.split(x, CHUNK)]
    rates = [direct(part, 1) for part in torch.split(x, CHUNK)]
    for i, (layer, model) in enumerate(zip(net.features, counterpart.features, strict=True)):
        if any(True for _ in layer.parameters()):
            with torch.no_grad():
                targets = [model(part)[0] for part in rates]
            following = counterpart.features[i + 1]
            assert isinstance(following, ClipFloorShift)
            limit = float(following.threshold.detach())
            _fit(layer, spikes, targets, limit, steps, rate, generator)
            with averaging_norms(layer), torch.no_grad():
                for part in spikes:
                    layer(part)
        with torch.no_grad():
            spikes = [layer(part) for part in spikes]
            rates = [model(part) for part in rates]


def _fit(
    layer: nn.Module,
    spikes: list[Tensor],
    targets: list[Tensor],
    limit: float,
    steps: int,
    rate: float,
    generator: torch.Generator,
) -> None:
    """Fit the layer's mean over time to the targets; values below 0, or above ϑ, count as equal."""
    layer.train()
    optimizer = Adam(layer.parameters(), lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        chunk = int(torch.randint(len(spikes), (), generator=generator))
        chosen = torch.randperm(len(targets[chunk]), generator=generator)[:BATCH]
        target = targets[chunk][chosen]
        found = layer(spikes[chunk][:, chosen]).mean(0)
        equal = ((target <= 0) & (found <= 0)) | ((target >= limit) & (found >= limit))
        loss = (found - target).square().masked_fill(equal, 0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    layer.zero_grad()
    layer.eval()
