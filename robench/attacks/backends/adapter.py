"""A model as a torch module for another library, and per-sample random numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.norms import in_box, length, tolerance
from robench.attacks.primitives.per_sample import spread
from robench.errors import EvaluationError


class Adapter(nn.Module):
    """The deployed model, bound to rows of one ε; its calls are counted for each row.

    It keeps the nearest misclassified input inside ball and box that it was called on, because a
    library may find an adversarial example and return another input. Libraries take images only:
    the frames of a sample are passed as channels.
    """

    def __init__(
        self, view: View, rows: Tensor, x: Tensor, y: Tensor, eps: float, norm: str = "linf"
    ) -> None:
        """Bind a view to rows.

        Args:
            view: the model.
            rows: indices of the rows in the view's call, ``(n,)``.
            x: clean images, ``(n, C, H, W)``, or frames, ``(n, T, C, H, W)``.
            y: labels, ``(n,)``.
            eps: the budget.
            norm: the norm that ε is measured in.
        """
        super().__init__()
        self.view, self.rows, self.x, self.y, self.eps = view, rows, x, y, eps
        self.norm, self.bound = norm, eps + tolerance(x, norm)
        self.example = x.clone()
        self.distance = torch.full((len(x),), torch.inf, dtype=x.dtype)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(M, K)`` of ``(M, C, H, W)``; M is n, or any number if n is 1.

        Raises:
            EvaluationError: M is another number, so no input can be assigned to a row.
        """
        n, m = len(self.rows), len(images)
        if m not in (n, 0) and n != 1:
            raise EvaluationError(f"the attack called the model on {m} inputs for {n} samples")
        images = images.to(self.x.dtype).reshape(m, *self.x.shape[1:])
        logits = self.view.differentiable(images, self.rows.expand(m) if n == 1 else self.rows[:m])
        self._keep(images.detach(), logits.detach().argmax(1))
        return logits

    @torch.no_grad()
    def _keep(self, images: Tensor, predictions: Tensor) -> None:
        distance = length(images - self.x, self.norm)
        inside = in_box(images) & (distance <= self.bound)
        distance = distance.where(inside & (predictions != self.y), torch.inf)
        if len(self.rows) == 1 and len(images):
            best = distance.argmin()[None]
            images, distance = images[best], distance[best]
        for row in (distance < self.distance).nonzero().squeeze(1).tolist():
            self.example[row], self.distance[row] = images[row], distance[row]

    def best(self, answer: Tensor) -> Tensor:
        """The example of each row, or the library's answer if the row has none."""
        misclassified = self.distance.isfinite()
        return self.example.where(spread(misclassified, self.x), answer)


def seeds(noise: Noise) -> list[int]:
    """A seed of 48 bits for each row, drawn from the row's noise; torch takes the lowest 32."""
    first = noise("library").flatten(1).double()
    scale = 2**24  # the steps of a uniform float32
    low = (first[:, 0] * scale).long()
    return (low + (first[:, -1] * scale).long() * scale).tolist()


@contextmanager
def seeded(numbers: Sequence[int]) -> Iterator[None]:
    """Seed the global generators inside the block and restore them afterwards.

    A tensor of random numbers whose first axis is the rows is drawn row by row, each from the
    row's own seed, so that it does not depend on which rows share a call.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(numbers[0])
        random.seed(numbers[0])
        np.random.seed(numbers[0] % 2**32)
        try:
            with _RowDraws(numbers):
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


_FRESH: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.rand: torch.Tensor.uniform_,
    torch.rand_like: torch.Tensor.uniform_,
    torch.randn: torch.Tensor.normal_,
    torch.randn_like: torch.Tensor.normal_,
}
_IN_PLACE = (torch.Tensor.uniform_, torch.Tensor.normal_)


class _RowDraws(TorchFunctionMode):
    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__()
        self.generators = [torch.Generator().manual_seed(number) for number in numbers]

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        try:
            fill, bounds = (func, args[1:]) if func in _IN_PLACE else (_FRESH[func], ())
        except (KeyError, TypeError):  # not a random function, or not hashable
            return out
        if out.dim() and len(out) == len(self.generators) and out.device.type == "cpu":
            named = kwargs if func in _IN_PLACE else {}
            for row, generator in zip(out.detach(), self.generators, strict=True):
                fill(row, *bounds, **{**named, "generator": generator})
        return out
