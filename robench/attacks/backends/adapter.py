"""A model as a torch module for another library, and random numbers that belong to a sample."""

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
from robench.errors import EvaluationError


class Adapter(nn.Module):
    """The deployed model, bound to rows of one ε; its calls are counted for each row.

    It keeps the nearest misclassified input inside ball and box that it was called on, since a
    library may go past an example and return another. Libraries know images alone, so the frames
    of a sample come as further channels.
    """

    def __init__(
        self, view: View, rows: Tensor, x: Tensor, y: Tensor, eps: float, norm: str = "linf"
    ) -> None:
        """Bind.

        Args:
            view: the model.
            rows: which rows of the view's call these are, ``(n,)``.
            x: their clean images, ``(n, C, H, W)``, or frames, ``(n, T, C, H, W)``.
            y: their labels, ``(n,)``.
            eps: the budget.
            norm: in which it is measured.
        """
        super().__init__()
        self.view, self.rows, self.x, self.y, self.eps = view, rows, x, y, eps
        self.norm, self.bound = norm, eps + tolerance(x, norm)
        self.example = x.clone()
        self.distance = torch.full((len(x),), torch.inf, dtype=x.dtype)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(M, K)`` of ``(M, C, H, W)``; M is n, or anything where there is one row.

        Raises:
            EvaluationError: it cannot be told which row an input belongs to.
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
        """The example of each row that has one, and the library's answer for the others."""
        misclassified = self.distance.isfinite()
        return self.example.where(misclassified.view(-1, *([1] * (self.x.dim() - 1))), answer)


def seeds(noise: Noise) -> list[int]:
    """A seed for each row, from its own noise."""
    first = noise("library").flatten(1).double()
    scale = 2**24  # the steps of a uniform float32
    low = (first[:, 0] * scale).long()
    return (low + (first[:, -1] * scale).long() * scale).tolist()


@contextmanager
def seeded(numbers: Sequence[int]) -> Iterator[None]:
    """Random numbers from these seeds, one for each row; the global generators stay untouched.

    A draw of torch whose first axis is the rows is made row by row, so that it does not depend
    on which rows share a call.
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
        except (KeyError, TypeError):  # no draw, or no hashable function
            return out
        if out.dim() and len(out) == len(self.generators) and out.device.type == "cpu":
            named = kwargs if func in _IN_PLACE else {}
            for row, generator in zip(out.detach(), self.generators, strict=True):
                fill(row, *bounds, **{**named, "generator": generator})
        return out
