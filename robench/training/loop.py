"""The inner loops: a training epoch, an evaluation, a re-estimation of batch norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from robench.architectures import VGG, ClipFloorShift
from robench.datasets import Images
from robench.datasets.arrays import to_unit
from robench.spiking import spiking_layers
from robench.training.adversarial import perturbed
from robench.training.augment import AUGMENTATIONS
from robench.training.recipe import TrainingTable

LEAST_THRESHOLD = 0.01
START = 1 / 25  # the first learning rate of one-cycle, as a share of the highest
END = START / 1e4  # and the last one; both as in torch


@dataclass(frozen=True)
class Samples:
    """A split as tensors; images are converted to [0, 1] batch by batch.

    Attributes:
        pixels: uint8, or float32 in [0, 1], ``(N, C, H, W)``, or ``(N, T, C, H, W)``.
        y: int64, ``(N,)``.
    """

    pixels: Tensor
    y: Tensor

    @classmethod
    def of(cls, images: Images) -> Self:
        """The images of a split, without a copy."""
        return cls(torch.from_numpy(images.images), images.targets())

    def x(self, chosen: Tensor | slice) -> Tensor:
        """Some images as float32 in [0, 1], of the shape of the pixels."""
        return to_unit(self.pixels[chosen])


@dataclass(frozen=True)
class Score:
    """Mean loss, accuracy, and spikes per neuron and time step (None without neurons)."""

    loss: float
    accuracy: float
    firing_rate: float | None = None


def make_optimizer(net: nn.Module, table: TrainingTable) -> SGD:
    """Nesterov SGD with weight decay on the weights of convolutions and head only."""
    decayed = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    known = {id(weight) for weight in decayed}
    others = [p for p in net.parameters() if id(p) not in known]
    groups = [
        {"params": decayed, "weight_decay": table.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    momentum = table.momentum
    return SGD(groups, lr=table.learning_rate, momentum=momentum, nesterov=momentum > 0)


def laid_out(x: Tensor, net: nn.Module) -> Tensor:
    """Images on the network's device, in the memory format of its convolution weights.

    Frames keep their format, because the network merges their axes first.
    """
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    last = x.dim() == 4 and first.weight.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return x.contiguous(memory_format=order).to(first.weight.device)


def learning_rate(table: TrainingTable, done: float) -> float:
    """The learning rate after ``done`` epochs, which may be fractional."""
    warmup, highest = table.warmup_epochs, table.learning_rate
    rising = done < warmup
    share = done / warmup if rising else (done - warmup) / max(table.epochs - warmup, 1)
    fallen = (1 + math.cos(math.pi * min(share, 1))) / 2  # from 1 to 0 on half a cosine
    if table.schedule == "one-cycle":
        low = START if rising else END
        return highest * (low + (1 - low) * (1 - fallen if rising else fallen))
    return highest * (share if rising else fallen)


def training_loss(net: VGG, x: Tensor, y: Tensor, table: TrainingTable) -> tuple[Tensor, Tensor]:
    """The loss of the recipe, and the mean logits over time ``(N, K)``."""
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
    advance: Callable[[float], None] = lambda epochs: None,
) -> Score:
    """One pass over the data in random order.

    Args:
        net: the network.
        data: the training images.
        optimizer: the optimizer; its learning rate is set before each step.
        table: the recipe.
        epoch: the index of the epoch, from 0 over all phases.
        generator: draws the order, the augmentations and the starts of attacks.
        advance: called after each step with the completed epochs, a fractional number.
    """
    net.train()
    order = torch.randperm(len(data.y), generator=generator)
    batches = [
        b for b in torch.split(order, table.batch_size) if len(b) > 1
    ]  # batch norm needs two
    loss_sum, hits, seen = 0.0, 0, 0
    for i, batch in enumerate(batches):
        done = epoch + (i + 1) / len(batches)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(table, done)
        x, y = data.x(batch), data.y[batch]
        for name in table.augment:  # frames become channels and are augmented equally
            x = AUGMENTATIONS[name](x.flatten(1, -3), generator).view(x.shape)
        x = laid_out(x, net)
        y = y.to(x.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=table.autocast == "bfloat16"):
            if epsilon := table.epsilon(epoch).value:
                x = perturbed(net, x, y, epsilon, table.adversarial_steps, generator)
            loss, logits = training_loss(net, x, y, table)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        keep_thresholds_positive(net)
        loss_sum += float(loss.detach()) * len(y)
        hits += int((logits.argmax(1) == y).sum())
        seen += len(y)
        advance(done)
    return Score(loss_sum / seen, hits / seen)


@torch.no_grad()
def keep_thresholds_positive(net: nn.Module) -> None:
    """Clamp the trained thresholds to positive values."""
    for layer in net.modules():
        if isinstance(layer, ClipFloorShift):
            layer.threshold.clamp_(min=LEAST_THRESHOLD)


@contextmanager
def spike_counter(net: nn.Module) -> Iterator[list[int]]:
    """Inside, count spikes and neuron time steps, as a list of the two."""
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
        for start in range(0, len(data.y), batch_size):
            part = slice(start, start + batch_size)
            x = laid_out(data.x(part), net)
            y = data.y[part].to(x.device)
            logits = net(x)
            loss += float(cross_entropy(logits, y, reduction="sum"))
            hits += int((logits.argmax(1) == y).sum())
    rate = counts[0] / counts[1] if counts[1] else None
    return Score(loss / len(data.y), hits / len(data.y), rate)


@torch.no_grad()
def reestimate_norms(
    net: nn.Module, data: Samples, batches: int, batch_size: int, generator: torch.Generator
) -> None:
    """Estimate the statistics of every batch norm again, in the deployed network.

    The activations of a converted network differ from those of its counterpart, so the means and
    variances of training no longer fit. Weights do not change, and only batch norms are in
    training mode.

    Args:
        net: the network.
        data: training images.
        batches: the number of random batches to average over.
        batch_size: images in each batch.
        generator: chooses the batches.
    """
    net.eval()
    with averaging_norms(net):
        for _ in range(batches):
            chosen = torch.randperm(len(data.y), generator=generator)[:batch_size]
            net(laid_out(data.x(chosen), net))


@contextmanager
def averaging_norms(net: nn.Module) -> Iterator[None]:
    """Inside, every batch norm is reset and averages the statistics of its batches."""
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
