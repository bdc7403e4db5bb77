"""The backward pass of a network that may have none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robench.runtime.batch_size import is_out_of_memory


def gradients(logits: Tensor, at: Sequence[Tensor]) -> tuple[Tensor | None, ...] | None:
    """Those of the sum of some logits; None for a tensor that has no part in it.

    None if the backward pass raises, as that of a function without one does. Where memory runs
    out, the error is raised.
    """
    try:
        return torch.autograd.grad(logits.sum(), at, allow_unused=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None
