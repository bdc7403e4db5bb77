"""The inner loops: one epoch of training, one evaluation, one pass for the batch norms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.optim import SGD, Optimizer

from robench.architectures import VGG, ClipFloorShift
from robench.spiking import spiking_layers
from robench.training.recipe import TrainingTable

SHIFT = 2  # pixels
LEAST_THRESHOLD = 0.01


@dataclass(frozen=True)
class Samples:
    """A split as tensors.

    Attributes:
        x: float32 in [0, 1], ``(N, C, H, W)``.
        y: int64, ``(N,)``.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy, and how often a neuron spikes in a time step (None: no neurons)."""

    loss: float
    accuracy: float
    firing_rate: float | None = None


def make_optimizer(net: nn.Module, table: TrainingTable) -> SGD:
    """Nesterov SGD; convolutions and the head decay, norms, thresholds, θ and gains do not."""
    decayed = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    known = {id(weight) for weight in decayed}
    others = [p for p in net.parameters() if id(p) not in known]
    groups = [
        {"params": decayed, "weight_decay": table.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    momentum = table.momentum
    return SGD(groups, lr=table.learning_rate, momentum=momentum, nesterov=momentum > 0)


def learning_rate(table: TrainingTable, done: float) -> float:
    """The learning rate after ``done`` epochs, a fraction among them."""
    warmup = table.warmup_epochs
    if done < warmup:
        return table.learning_rate * done / warmup
    share = (done - warmup) / max(table.epochs - warmup, 1)
    return table.learning_rate * (1 + math.cos(math.pi * min(share, 1))) / 2


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image ``(N, C, H, W)`` by up to two pixels; edges are repeated."""
    n, _, height, width = x.shape
    padded = pad(x, (SHIFT,) * 4, mode="replicate")
    by = torch.randint(0, 2 * SHIFT + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(height) + by[0])[:, :, None]
    columns = (torch.arange(width) + by[1])[:, None, :]
    return padded[torch.arange(n)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)


def training_loss(net: VGG, x: Tensor, y: Tensor, table: TrainingTable) -> tuple[Tensor, Tensor]:
    """The loss that the recipe names, and the mean logits over time ``(N, K)``."""
    smoothing = table.label_smoothing
    if table.loss == "tet":
        sequence = net.sequence_logits(x)  # (T, N, K)
        loss = cross_entropy(
            sequence.flatten(0, 1), y.repeat(len(sequence)), label_smoothing=smoothing
        )
        return loss, sequence.mean(0)
    logits = net(x)
    return cross_entropy(logits, y, label_smoothing=smoothing), logits


def train_epoch(
    net: VGG,
    data: Samples,
    optimizer: Optimizer,
    table: TrainingTable,
    epoch: int,
    generator: torch.Generator,
) -> Score:
    """One pass over the data in random order; ``epoch`` counts from 0 over all phases."""
    net.train()
    order = torch.randperm(len(data.y), generator=generator)
    batches = [b for b in torch.split(order, table.batch_size) if len(b) > 1]  # for the norms
    loss_sum, hits, seen = 0.0, 0, 0
    for i, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(table, epoch + (i + 1) / len(batches))
        x, y = data.x[batch], data.y[batch]
        if "shift" in table.augment:
            x = shift(x, generator)
        loss, logits = training_loss(net, x, y, table)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        keep_thresholds_positive(net)
        loss_sum += float(loss.detach()) * len(y)
        hits += int((logits.argmax(1) == y).sum())
        seen += len(y)
    return Score(loss_sum / seen, hits / seen)


@torch.no_grad()
def keep_thresholds_positive(net: nn.Module) -> None:
    """Hold the trained thresholds where a neuron can have them."""
    for layer in net.modules():
        if isinstance(layer, ClipFloorShift):
            layer.threshold.clamp_(min=LEAST_THRESHOLD)


@contextmanager
def spike_counter(net: nn.Module) -> Iterator[list[int]]:
    """Count, while inside, the spikes and the chances to spike: a list of the two."""
    counts = [0, 0]

    def count(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
        counts[0] += int(spikes.count_nonzero())
        counts[1] += spikes.numel()

    hooks = [layer.register_forward_hook(count) for layer in spiking_layers(net)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def evaluate(net: nn.Module, data: Samples, batch_size: int = 128) -> Score:
    """Cross-entropy and accuracy of the network in evaluation mode."""
    net.eval()
    loss, hits = 0.0, 0
    with spike_counter(net) as counts:
        for x, y in zip(
            torch.split(data.x, batch_size), torch.split(data.y, batch_size), strict=True
        ):
            logits = net(x)
            loss += float(cross_entropy(logits, y, reduction="sum"))
            hits += int((logits.argmax(1) == y).sum())
    rate = counts[0] / counts[1] if counts[1] else None
    return Score(loss / len(data.y), hits / len(data.y), rate)


@torch.no_grad()
def reestimate_norms(
    net: nn.Module, data: Samples, batches: int, batch_size: int, generator: torch.Generator
) -> None:
    """Average the statistics of every batch norm anew, with the network as it is deployed.

    A converted network sends other values through its layers than the one it was trained as, so
    the means and variances of training no longer fit. Only statistics move, no weight does, and
    nothing else enters training mode.

    Args:
        net: the network.
        data: training images.
        batches: over how many random batches the plain average goes.
        batch_size: images in each.
        generator: chooses the batches.
    """
    net.eval()
    with averaging_norms(net):
        for _ in range(batches):
            chosen = torch.randperm(len(data.y), generator=generator)[:batch_size]
            net(data.x[chosen])


@contextmanager
def averaging_norms(net: nn.Module) -> Iterator[None]:
    """Inside, every batch norm starts anew and takes the plain average over what it sees."""
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
