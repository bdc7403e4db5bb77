"""The first calls of a user's network: whether it is complete, keeps state, and takes float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from robench.errors import EvaluationError
from robench.registry import Model
from robench.registry.borrowing import borrowed, noted
from robench.runtime.batch_size import is_out_of_memory
from robench.text import one_line

SAME = 1e-3
"""Logits of the same images in two calls differ by rounding, at most by this."""
REPEATS = 5
"""A random network seldom returns the same logits so often, though spikes hide a random leak."""


@torch.no_grad()
def first_call(
    model: Model, x: Tensor, drawn: Callable[[int], AbstractContextManager[None]]
) -> None:
    """Call a network with two images and with one, and find the type of its input.

    Args:
        model: on the device where it will compute.
        x: at least one image, ``(N, C, H, W)``.
        drawn: binds the random numbers of a stochastic model for a number of rows.

    Raises:
        EvaluationError: the network lacks parameters, keeps state between calls, or cannot take a
            single image. Exceptions of the network on two images are not caught.
    """
    x = x[:2].to(model.device)
    before = set(model.module.state_dict())
    if any(is_lazy(parameter) for parameter in model.module.parameters()):
        raise EvaluationError(f"the network has parameters without a shape: {_ONCE}")
    with drawn(len(x)), noted(x, model.dataset):
        _find_type(model, x)
    if made := sorted(set(model.module.state_dict()) - before):
        names = ", ".join(made[:3])
        raise EvaluationError(f"the network makes {names} in its first forward pass: {_ONCE}")
    with drawn(len(x)):
        _require_no_state(model, x)
    try:
        with drawn(1):
            model.call(x[:1])
    except Exception as error:
        if len(x) == 1 or is_out_of_memory(error):
            raise
        text = one_line(error)
        raise EvaluationError(
            f"the network takes two images but not one ({type(error).__name__}: {text:.80}): "
            "the logits of an image must not depend on the others, as with batch statistics"
        ) from error


_ONCE = "call it once and load its trained weights before it is evaluated"


_RESETS = {
    "snntorch": "robench.compat.snntorch.reset(self)",
    "spikingjelly": "spikingjelly.activation_based.functional.reset_net(self)",
    "norse": "pass the state on inside forward only, and start it with None",
}
"""How the state of a library's neurons is reset."""


def _require_no_state(model: Model, x: Tensor) -> None:
    """Refuse a network whose logits depend on an earlier call.

    A network that draws random numbers differs also from the same state; it is left to a check.
    """
    with borrowed(model.module):
        first, second = model.call(x), model.call(x)
    if torch.allclose(first, second, rtol=SAME, atol=SAME, equal_nan=True):
        return
    for _ in range(REPEATS):
        with borrowed(model.module):
            again = model.call(x), model.call(x)
        if not (torch.equal(again[0], first) and torch.equal(again[1], second)):
            return
    libraries = {type(part).__module__.partition(".")[0] for part in model.module.modules()}
    ways = [_RESETS[library] for library in sorted(libraries & set(_RESETS))]
    how = f": {ways[0]}" if ways else ""
    raise EvaluationError(
        "the network keeps state between calls, so the same images give other logits in the "
        f"second call; reset it at the start of forward{how}"
    )


def _find_type(model: Model, x: Tensor) -> None:
    """Call the network in float32, and in the type of its parameters if it refuses that."""
    types = {p.dtype for p in model.module.parameters() if p.is_floating_point()}
    try:
        model.call(x)
    except Exception:  # a network may refuse float32 in any way
        if len(types) != 1 or types == {torch.float32}:
            raise
        model.input_type = types.pop()
        model.call(x)
