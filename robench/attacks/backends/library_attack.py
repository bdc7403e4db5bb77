"""The base class of attacks of other libraries.

A library gets the model as a torch module whose calls are counted. It searches at one ε at a time,
in the ball and box of robench. The engine projects and verifies what it returns.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from robench.attacks.backends.adapter import Adapter, seeded, seeds
from robench.attacks.contract.attack import DirectAttack
from robench.attacks.contract.view import Noise, View
from robench.errors import UsageError

STEPS = ("steps", "nb_iter")
"""What the libraries call a number of steps."""


class LibraryAttack(DirectAttack, ABC):
    """An attack of a library with its parameters.

    Attributes:
        attack: the library's name for it.
        parameters: all of them, with the library's defaults filled in.
    """

    name: ClassVar[str] = "library"
    library: ClassVar[str]

    attack: str
    parameters: dict[str, Any]

    @property
    def finders(self) -> tuple[str, ...]:
        """The attack, with its library."""
        return (f"{self.library}:{self.attack}",)

    @property
    def together(self) -> bool:
        """Whether rows may share a call of the library.

        This needs an attack that calls the model on one input for each row until it ends. All
        other attacks get one sample at a time, so that counts and random numbers belong to it.
        """
        return False

    def lengthened(self, factor: int) -> Self:
        """The same attack with ``factor`` times the steps, of a gradient attack that has them.

        Raises:
            UsageError: it has none.
        """
        given = self.parameters
        longer = {key: factor * given[key] for key in STEPS if isinstance(given.get(key), int)}
        if not (longer and self.together):
            raise UsageError(f"attack {self.finders[0]} has no steps")
        return self.model_copy(update={"parameters": given | longer})

    @abstractmethod
    def search(self, adapter: Adapter, x: Tensor, y: Tensor, eps: float) -> Tensor:
        """What the library returns for rows that share an ε."""

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """The nearest example that the library tried inside the ball, else what it returns."""
        found = x.clone()
        numbers = seeds(noise)
        for value in sorted(set(eps[eps > 0].tolist())):
            rows = (eps == value).nonzero().squeeze(1)
            for some in rows.split(len(rows) if self.together else 1):
                adapter = Adapter(view, some, x[some], y[some], value, self.norm)
                images = x[some].flatten(1, -3).clone()  # frames become channels
                drawn = [numbers[int(row)] for row in some]
                with seeded(drawn), torch.enable_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # libraries warn of searches without success
                    answer = self.search(adapter, images, y[some], value)
                found[some] = adapter.best(answer.detach().to(x.dtype).reshape(x[some].shape))
        return found
