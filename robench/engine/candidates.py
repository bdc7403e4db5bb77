"""The candidates of an attack: whether they are usable, and which are adversarial examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robench.attacks.primitives.norms import in_box, length
from robench.attacks.primitives.per_sample import magnitude
from robench.errors import EvaluationError


def require_usable(candidate: Tensor, x: Tensor) -> None:
    """Check candidates, ``(N, …)``, for images of the same shape.

    Another shape would be broadcast, and NaN or infinity would count as robust.

    Raises:
        EvaluationError: the shape is another, or a value is not finite.
    """
    if candidate.shape != x.shape:
        raise EvaluationError(
            f"the attack returned candidates of shape {tuple(candidate.shape)} "
            f"for images of shape {tuple(x.shape)}"
        )
    if not magnitude(candidate).isfinite().all():
        raise EvaluationError("the attack returned a candidate that is NaN or infinite")


def nearest_examples(
    seen: Sequence[tuple[Tensor, Tensor]], x: Tensor, radius: Tensor, norm: str
) -> tuple[Tensor | None, Tensor]:
    """The adversarial example of each row that is nearest to its clean image.

    Args:
        seen: inputs of the model, ``(N, …)``, each with a mask of the misclassified rows, ``(N,)``.
        x: clean images, ``(N, …)``.
        radius: largest distance of each row, ``(N,)``, in double precision.
        norm: of the distance.

    Returns:
        The examples, of the shape of ``x`` and undefined in rows without one, or None if nothing
        was misclassified; and their distances, ``(N,)``, in double precision, infinite in rows
        without one.
    """
    nearest = torch.full_like(radius, torch.inf)
    found = None
    for images, wrong in seen:
        rows = wrong.nonzero().squeeze(1)
        if not len(rows):
            continue
        image = images.index_select(0, rows)
        distance = length((image - x.index_select(0, rows)).double(), norm)
        hit = in_box(image) & (distance <= radius[rows]) & (distance < nearest[rows])
        nearest[rows[hit]] = distance[hit]
        found = torch.empty_like(x) if found is None else found
        found[rows[hit]] = image[hit]
    return found, nearest
