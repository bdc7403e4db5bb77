"""Whether a network stays as it is while it is attacked."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from robench.checks.registry import Examined
from robench.checks.verdicts import at_most
from robench.isolation import same_numbers
from robench.registry.borrowing import same_bits
from robench.results import Check
from robench.runtime.backward import gradients
from robench.runtime.batch_size import with_fewer

SAMPLES = 4


def frozen(subject: Examined) -> Check:
    """Parameters and buffers are bit-identical after a forward and a backward pass.

    Invalid if the statistics of a batch norm change, which is in training mode then; suspect if
    something else does. Buffers that a network sets in each call, as membranes, are those of the
    same images and of the same random numbers before and after. The figure is the number of tensors
    that change.
    """
    return with_fewer(lambda most: _frozen(subject, most), min(len(subject.x), SAMPLES))


def _frozen(subject: Examined, most: int) -> Check:
    model = subject.model
    x = subject.x[:most].to(model.device)
    with subject.drawn(most), torch.enable_grad():
        with same_numbers():
            model.call(x)
        before = {name: value.detach().clone() for name, value in _state(model.module).items()}
        leaf = x.detach().clone().requires_grad_()
        with same_numbers():
            logits = model.call(leaf)
        if logits.requires_grad:
            gradients(logits, [leaf])
    after = _state(model.module)
    changed = [
        n for n, old in before.items() if n in after and not same_bits(old, after[n].detach())
    ]
    owners = [model.module.get_submodule(name.rpartition(".")[0]) for name in changed]
    if any(isinstance(owner, _NormBase) for owner in owners):
        return at_most("frozen", len(changed), 0, "batch-norm-in-training-mode")
    return at_most("frozen", len(changed), 0, "state-changes", "suspect")


def _state(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers by name; also buffers that are not saved."""
    return dict(chain(module.named_parameters(), module.named_buffers()))
