"""The losses that attacks maximise, one number for each row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Literal["cross-entropy", "margin", "dlr"]
DENOMINATOR = 1e-12
CLOSE = 0.25
"""If the two largest logits typically differ by less, the softmax is so even that the cross-entropy
raises the mean of all wrong logits rather than the largest one."""


def loss_of(logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """The loss of each row, ``(N,)``; it grows as a row gets closer to misclassification.

    ``margin`` is ``max_{i≠y} z_i − z_y``. ``dlr``, the difference of logits ratio of Croce and Hein
    (ICML 2020), is the margin divided by ``z_π1 − z_π3``, with π the descending order; it is
    invariant to shifting and scaling of the logits. With two classes it is undefined, and the
    margin is used instead.

    Args:
        logits: ``(N, K)``.
        y: true labels, ``(N,)``.
        loss: the name of the loss.
    """
    if loss == "cross-entropy":
        return F.cross_entropy(logits, y, reduction="none")
    margin = logits.scatter(1, y[:, None], -torch.inf).amax(1) - _of(logits, y)
    if loss == "margin" or logits.shape[1] < 3:
        return margin
    ranked = logits.sort(1, descending=True).values
    return margin / (ranked[:, 0] - ranked[:, 2] + DENOMINATOR)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The targeted ratio ``(z_t − z_y) / (z_π1 − ½(z_π3 + z_π4))`` of each row, ``(N,)``.

    Args:
        logits: ``(N, K)``, of at least 4 classes.
        y: true labels, ``(N,)``.
        target: the target class of each row, ``(N,)``.
    """
    ranked = logits.sort(1, descending=True).values
    below = (ranked[:, 2] + ranked[:, 3]) / 2
    return (_of(logits, target) - _of(logits, y)) / (ranked[:, 0] - below + DENOMINATOR)


def direction_of(logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """The direction of ``∂loss/∂logits`` of each row, ``(N, K)``; its largest value is at least 1.

    For the cross-entropy it is the softmax over the other classes, so that it does not underflow
    where the loss does. For ``dlr`` it is the derivative scaled to L∞ length 1.
    """
    if loss == "dlr":
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            (found,) = torch.autograd.grad(loss_of(leaf, y, loss).sum(), leaf)
        return F.normalize(found, p=torch.inf, dim=1, eps=DENOMINATOR)
    others = logits.scatter(1, y[:, None], -torch.inf)
    if loss == "cross-entropy":
        share = others.softmax(1)
    else:
        share = F.one_hot(others.argmax(1), logits.shape[1]).to(logits.dtype)
    return share.scatter(1, y[:, None], -1.0)


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
