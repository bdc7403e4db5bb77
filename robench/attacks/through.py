"""Parameters of an attack that chooses what a spiking network is differentiated through."""

from __future__ import annotations

from typing import Any, Self

from pydantic import (
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from torch import Tensor

from robench.attacks.base import Attack, Need
from robench.attacks.losses import Loss
from robench.attacks.view import View
from robench.spiking import Member, RowMemory, combine


class ThroughMembers(Attack):
    """An attack with a set of surrogates and gradient paths.

    Attributes:
        surrogates: with a path of its own where one is written behind it, as in
            ``triangle(1)/hart``.
        paths: gradient paths that every surrogate without one is taken through, and those that
            take no surrogate (``bptr``, ``rga``, ``act``). Without any, the model's own path.
    """

    surrogates: tuple[str, ...]
    paths: tuple[str, ...] = ()

    @field_validator("surrogates", "hybrid_members", check_fields=False)
    @classmethod
    def _with_sharpness(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """``atan`` as ``atan(2)``: equal attacks are one cell."""
        return tuple(str(Member.parse(name)) for name in names)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not combine(self.surrogates, self.paths):
            raise ValueError("surrogates needs at least one, or paths one that takes none")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without paths where there are none: a result from before there were any stays one."""
        data: dict[str, Any] = handler(self)
        return data if self.paths else {k: v for k, v in data.items() if k != "paths"}

    @property
    def members(self) -> tuple[str, ...]:
        """The surrogates and paths, as results name them."""
        return combine(self.surrogates, self.paths)

    @property
    def required(self) -> frozenset[Need]:
        """A twin, where a path leads through it."""
        paths = [Member.parse(member).path for member in self.members]
        through_twin = any(path is not None and path.twin for path in paths)
        return self.needs | ({"twin"} if through_twin else frozenset())

    @staticmethod
    def gradient(
        view: View, x: Tensor, y: Tensor, loss: Loss, name: str, memory: RowMemory
    ) -> Tensor:
        """The gradient through a member, of the shape of ``x``.

        Without spikes there is nothing to choose.

        Args:
            view: the model.
            x: images, ``(N, C, H, W)``.
            y: true labels, ``(N,)``.
            loss: what the gradient raises.
            name: of the member.
            memory: what the neurons remember of each row; only a surrogate that follows them over
                the steps of a run is given it, and moves it on.
        """
        if not view.spiking:
            return view.gradient(x, y, loss)
        member = Member.parse(name)
        return view.gradient(
            x, y, loss, surrogate=member.surrogate, path=member.path,
            memory=memory if member.memory else None,
        )  # fmt: skip
