"""What a network returns."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from robench.errors import EvaluationError


def require_logits(out: Any, images: int, classes: int) -> Tensor:
    """The output of a network, if it is logits.

    Args:
        out: what the network returned.
        images: how many it got.
        classes: of the model.

    Raises:
        EvaluationError: it is something else.
    """
    wanted = (images, classes)
    if isinstance(out, Tensor) and out.shape == wanted and out.is_floating_point():
        return out
    what, hint = type(out).__name__, ""
    if isinstance(out, tuple) or (isinstance(out, Tensor) and out.dim() == 3):
        hint = "; robench.wrap(net, …) reads logits out of spikes over time, or of a tuple"
    if isinstance(out, Tensor):
        what = str(tuple(out.shape)) if out.is_floating_point() else str(out.dtype)
    raise EvaluationError(
        f"the model returned {what} for {images} images; "
        f"with its {classes} classes, logits of shape {wanted} are expected{hint}"
    )
