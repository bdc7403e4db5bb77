"""The backward pass of networks that have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robench.runtime.backward import gradients


class Doubled(torch.autograd.Function):
    """Has the backward pass that it is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, backward: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.way = backward
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.way(gradients[0]), None


def raising(error: Exception) -> Callable[[Tensor], Tensor]:
    def backward(gradient: Tensor) -> Tensor:
        raise error

    return backward


def test_what_has_no_part_in_the_logits_is_none() -> None:
    x, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    found = gradients(3 * x, [x, other])
    assert found is not None
    assert torch.equal(found[0], torch.full((2,), 3.0))
    assert found[1] is None


@pytest.mark.parametrize("error", [NotImplementedError(), RuntimeError("in place"), TypeError()])
def test_a_backward_pass_that_raises_gives_nothing(error: Exception) -> None:
    x = torch.ones(2, requires_grad=True)
    assert gradients(Doubled.apply(x, raising(error)), [x]) is None


def test_memory_that_runs_out_is_raised() -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(Doubled.apply(x, raising(torch.OutOfMemoryError())), [x])
