"""What attacks raise: losses of the logits, one number for each row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Literal["cross-entropy", "margin", "dlr"]
DENOMINATOR = 1e-12


def loss_of(logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """The loss of each row, ``(N,)``; every one of them is larger where the row is nearer a break.

    ``margin`` is ``max_{i≠y} z_i − z_y``. ``dlr``, the difference of logits ratio of Croce and Hein
    (ICML 2020), is the margin divided by ``z_π1 − z_π3``, π the falling order; it does not change
    when the logits are shifted or scaled. Between two classes that ratio is undefined, and the
    margin stands in for it.

    Args:
        logits: ``(N, K)``.
        y: true labels, ``(N,)``.
        loss: its name.
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
        target: the class that each row aims at, ``(N,)``.
    """
    ranked = logits.sort(1, descending=True).values
    below = (ranked[:, 2] + ranked[:, 3]) / 2
    return (_of(logits, target) - _of(logits, y)) / (ranked[:, 0] - below + DENOMINATOR)


def direction_of(logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """``∂loss/∂logits`` of each row in direction, ``(N, K)``, at size 1 or more somewhere.

    Of the cross-entropy this is the softmax over the other classes, however small their share in
    the whole, so that it does not vanish where the loss does; of the ratio it is the derivative
    times the spread of the logits.
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
