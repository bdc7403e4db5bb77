"""SPGD, spike-aware PGD: back-propagation through surrogates and paths that the attacker chooses.

One gradient hides what another finds, so SPGD takes the worst case per sample: first ``pgd``'s own
run, then a run with momentum and a large, falling step that goes round a set of surrogates and
gradient paths, then the same from what broke the sample at a larger ε, with a smaller step. On a
network without spikes there is nothing to substitute and these runs follow the model's own
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor

from robench.attacks.base import (
    MOST,
    Attack,
    IterativeAttack,
    Need,
    Noise,
    StagedAttack,
    Start,
    State,
    View,
    spread,
)
from robench.attacks.norms import to_mean_one
from robench.attacks.pgd import PGD
from robench.spiking import Member, RowMemory, combine


@dataclass
class MomentumState(State):
    """A state with the accumulated gradient, ``(N, C, H, W)``, and what the neurons remember."""

    momentum: Tensor
    memory: RowMemory

    def release(self, rows: Tensor) -> None:
        """Let go of what the neurons remember."""
        self.memory.forget(rows)


class SurrogateRun(IterativeAttack):
    """One run with momentum and a falling step, round a set of surrogates and gradient paths.

    Attributes:
        steps: of the run.
        surrogates: visited in turn, one for each step; with a path of its own where one is
            written behind it, as in ``triangle(1)/hart``.
        paths: gradient paths that every surrogate without one is taken through, and those that
            take no surrogate (``bptr``, ``rga``, ``act``). Without any, the model's own path.
        momentum: weight of the accumulated gradient, each normalised to mean magnitude 1.
        first_step: the step in units of ε at the beginning.
        last_step: and at the end; linear in between.
    """

    name: ClassVar[str] = "surrogates"
    needs: ClassVar[frozenset[Need]] = frozenset({"gradient"})
    start: ClassVar[Start] = "cold"  # the first step would leave a witness at once
    draw: ClassVar[int] = 1

    steps: int = Field(20, ge=1, le=MOST)
    surrogates: tuple[str, ...] = ("atan(2)", "triangle(1)", "triangle(0.5)", "rectangle(1)")
    paths: tuple[str, ...] = ()
    momentum: float = Field(0.75, ge=0, lt=1)
    first_step: float = Field(1.0, gt=0)
    last_step: float = Field(0.05, gt=0)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not self.members:
            raise ValueError("surrogates needs at least one, or paths one that takes none")
        for member in self.members:
            Member.parse(member)
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

    def at_budget(self, passes: int) -> SurrogateRun:
        """One run of so many steps."""
        own = {name: getattr(self, name) for name in SurrogateRun.model_fields}
        return SurrogateRun(**own | {"steps": passes})

    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> MomentumState:
        """A random point of the ball, another than ``pgd``'s."""
        n = len(x)
        return MomentumState(
            PGD.start_point(x, eps, noise, self.draw),
            torch.full((n,), self.steps, dtype=torch.int64, device=x.device),
            torch.zeros(n, dtype=torch.int64, device=x.device),
            torch.zeros_like(x),
            RowMemory.empty(n),
        )

    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """A step along the momentum, through the member that is in turn."""
        assert isinstance(state, MomentumState)
        done = self.steps - state.steps_left
        members = self.members
        gradient = self._gradient(view, y, state, members[int(state.phase[0])])
        state.momentum = self.momentum * state.momentum + to_mean_one(gradient)
        size = torch.lerp(
            torch.full_like(eps, self.first_step),
            torch.full_like(eps, self.last_step),
            done.to(eps.dtype) / max(1, self.steps - 1),
        )
        candidate = state.candidate + spread(size * eps, x) * state.momentum.sign()
        state.steps_left = state.steps_left - 1
        state.phase = (done + 1) % len(members)
        return candidate, state

    @staticmethod
    def _gradient(view: View, y: Tensor, state: MomentumState, name: str) -> Tensor:
        """The gradient through a member; only a surrogate that follows the neurons is given them.

        Without spikes there is nothing to choose.
        """
        if not view.spiking:
            return view.gradient(state.candidate, y)
        member = Member.parse(name)
        follows = member.surrogate is not None and member.surrogate.name == "assg"
        return view.gradient(
            state.candidate,
            y,
            surrogate=member.surrogate,
            path=member.path,
            memory=state.memory if follows else None,
        )


class Refinement(SurrogateRun):
    """The same from a witness of a larger ε."""

    start: ClassVar[Start] = "witness"
    draw: ClassVar[int] = 2


class SPGD(StagedAttack, SurrogateRun):
    """Spike-aware PGD in the L∞ ball, never weaker than ``pgd`` at its default settings.

    Attributes:
        pgd_steps: steps of ``pgd``'s own run (its starts, its step size).
        warm_step: the first step of the last run, in units of ε.
    """

    name: ClassVar[str] = "spgd"
    version: ClassVar[int] = 2

    pgd_steps: int = Field(20, ge=1, le=MOST)
    warm_step: float = Field(0.5, gt=0)

    @property
    def stages(self) -> tuple[Attack, ...]:
        """``pgd``, then the two runs through the surrogates."""
        own = {name: getattr(self, name) for name in SurrogateRun.model_fields}
        again = own | {"first_step": self.warm_step}
        return PGD(steps=self.pgd_steps), SurrogateRun(**own), Refinement(**again)
