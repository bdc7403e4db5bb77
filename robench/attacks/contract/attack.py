"""The base classes of attacks: the contract between an attack and the engine that runs it.

The engine owns the loop, the projection onto ball and box, the budget, the verification of every
candidate and the counting. An attack proposes the next candidate.

An image is ``(C, H, W)``. A sample of frames is ``(T, C, H, W)``, so an attack takes height and
width from the last two axes. If one perturbation is shared by all frames, the attack gets an image
and the engine applies the perturbation to every frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from torch import Tensor

from robench.attacks.contract.view import Noise, View
from robench.attacks.primitives.per_sample import spread
from robench.errors import UsageError
from robench.spiking import NeuronStatistics, Surrogate

Need = Literal["paths", "layers over time", "firing rates", "counterpart", "sources", "frames"]
Gradients = Literal["own", "chosen", "source", "none"]
Start = Literal["own", "cold", "warm", "example", "once"]
MOST = 10**6
"""The largest number of steps, runs or queries that a parameter accepts."""


def _with_derivative(name: str) -> str:
    surrogate = Surrogate.parse(name)
    if surrogate is None:
        raise ValueError("the surrogate needs a derivative")
    return str(surrogate)


def _at_least_one(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("needs at least one surrogate")
    return names


OneSurrogate = Annotated[str, AfterValidator(_with_derivative)]
"""A parameter that names a surrogate with a derivative; its sharpness is filled in."""
Surrogates = Annotated[tuple[OneSurrogate, ...], AfterValidator(_at_least_one)]
"""A parameter that names surrogates, at least one and each with a derivative."""


@dataclass
class State:
    """The state of an iterative attack; every field has N rows as its leading axis.

    Fields are tensors, or :class:`~robench.spiking.NeuronStatistics`.

    Attributes:
        candidate: the current iterate, ``(N, C, H, W)``; the engine keeps it in ball and box.
        steps_left: the number of steps that remain, ``(N,)``.
        phase: an index into ``finders``, ``(N,)``; the rows of one call of ``step`` share it.
    """

    candidate: Tensor
    steps_left: Tensor
    phase: Tensor

    def rows(self, index: Tensor) -> Self:
        """The state of some rows, copied."""
        return replace(self, **{f.name: _rows(getattr(self, f.name), index) for f in fields(self)})

    def assign(self, index: Tensor, part: Self) -> None:
        """Write the state of some rows."""
        for field in fields(self):
            getattr(self, field.name)[index] = getattr(part, field.name)

    def release(self, rows: Tensor) -> None:
        """Free the large fields of rows with an adversarial example, given as a mask ``(N,)``."""
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), NeuronStatistics):
                value.forget(rows)


class Attack(BaseModel, ABC):
    """An attack with its parameters; subclasses declare those as fields.

    Attributes:
        name: the registered name of the implementation.
        version: increased when the attack computes something else than before.
        least_classes: the number of classes below which the attack is undefined; fewer are an
            error before the run.
        norm: the norm that its ε is measured in, ``linf`` or ``l2``.
        needs: what a model must provide; if a need is unmet the cell is not applicable.
        lengths: the names of the parameters that are numbers of steps.
        gradients: where they come from: the model's ``own``, those of estimators that the attack
            has ``chosen``, those of a ``source`` model, or ``none``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    least_classes: ClassVar[int] = 2
    norm: ClassVar[str] = "linf"
    needs: ClassVar[frozenset[Need]] = frozenset()
    lengths: ClassVar[tuple[str, ...]] = ("steps",)
    gradients: ClassVar[Gradients] = "own"

    @property
    def single_step(self) -> bool:
        """Whether it takes one step along a gradient, so that it is weak by its kind."""
        steps = [getattr(self, name) for name in self.lengths if name in type(self).model_fields]
        return bool(steps) and max(steps) == 1

    @property
    def finders(self) -> tuple[str, ...]:
        """Names of the parts that can find an adversarial example, indexed by the phase."""
        return (self.name,)

    @property
    def required(self) -> frozenset[Need]:
        """What a model must provide with these parameters: ``needs``, or more."""
        return self.needs

    @property
    def stages(self) -> tuple[Attack, ...]:
        """The attacks that are searched in order, each below the minimal ε found before it.

        The result is the worst case per sample over them. An attack of several stages is never
        weaker than its first stage alone, and an ensemble never weaker than any of its parts.
        """
        return (self,)

    def lengthened(self, factor: int) -> Self:
        """The same attack with ``factor`` times the steps.

        Raises:
            UsageError: the attack has no steps, or would have too many.
        """
        longer = {
            name: factor * getattr(self, name)
            for name in self.lengths
            if name in type(self).model_fields
        }
        if not longer:
            raise UsageError(f"attack {self.name} has no steps")
        try:
            type(self)(**dict(self) | longer)
        except ValidationError:
            raise UsageError(f"attack {self.name}: {factor} times its steps are too many") from None
        return self.model_copy(update=longer)  # with the names of sources, which are no parameter

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks of an ensemble, each of them searched as if it ran alone."""
        return (self,)

    @property
    def full_version(self) -> str:
        """The version, with the versions of its parts."""
        return str(self.version)

    @property
    def source_patterns(self) -> tuple[str, ...]:
        """Names or globs of the other models of the data set that it makes examples on."""
        return ()

    def with_sources(self, names: tuple[str, ...]) -> Self:
        """The same attack with the names of the view's ``sources``."""
        return self


class StagedAttack(Attack):
    """An attack that consists of stages."""

    @property
    @abstractmethod
    def stages(self) -> tuple[Attack, ...]:
        """The stages, from cheap to strong; none of them has stages of its own."""

    @property
    def required(self) -> frozenset[Need]:
        """What any of the stages requires."""
        return self.needs.union(*(stage.required for stage in self.stages))


class IterativeAttack(Attack):
    """An attack that the engine runs step by step; a misclassified sample is dropped at once.

    Attributes:
        start: how the engine may search for the minimal ε.

            - ``own``: upwards from the smallest ε; each run starts where ``init`` puts it.
            - ``cold``: downwards, until the sample stays robust.
            - ``warm``: as ``cold``, but a run below a known adversarial example starts from that
              example, projected onto the smaller ball.
            - ``example``: as ``warm``, but a run without an example to start from is left out.
            - ``once``: one run at the largest ε, because the run is the same at every ε.
    """

    start: ClassVar[Start] = "own"

    @property
    def descent(self) -> Self | None:
        """A short form that a sweep takes first, until it finds nothing; None without one.

        It finds most of the way down the grid in fewer passes. A run at a single ε has no use of
        it.
        """
        return None

    @abstractmethod
    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """The state at the start of a run.

        Args:
            view: the model.
            x: clean images in [0, 1], ``(N, C, H, W)``.
            y: true labels, ``(N,)``.
            eps: the budget of each row, ``(N,)``.
            noise: the random numbers of these rows.
        """

    @abstractmethod
    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """One step: the next candidate, not yet projected, and the new state.

        A candidate is verified when the model is called on it, at the latest after the last step.
        """


class DirectAttack(Attack):
    """An attack that returns one candidate, as minimum-norm attacks and other libraries' do."""

    @property
    def minimal(self) -> bool:
        """Whether a run minimises the perturbation, so that one run covers every ε."""
        return False

    @abstractmethod
    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """A candidate for each row, which the engine projects and verifies.

        The arguments are those of :meth:`IterativeAttack.init`.
        """


class LineAttack(DirectAttack):
    """A direct attack whose candidates lie on a line from the clean image, one for each ε.

    The engine computes the direction once and calls the model at every ε of the grid along it.
    This gives the accuracy at each ε alone, beside the worst case over smaller ε.
    """

    @abstractmethod
    def direction(self, view: View, x: Tensor, y: Tensor, noise: Noise) -> Tensor:
        """The perturbation of each row in units of ε, of the shape of ``x``.

        The arguments are those of :meth:`IterativeAttack.init`.
        """

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """The candidate at ε."""
        return x + spread(eps, x) * self.direction(view, x, y, noise)


def _rows(values: Any, index: Tensor) -> Any:
    """A copy of some rows, given by their numbers."""
    return values.index_select(0, index) if isinstance(values, Tensor) else values[index]


def begin(x: Tensor, steps: int) -> State:
    """The state of rows that start at the clean image."""
    n = len(x)
    return State(
        x.clone(),
        torch.full((n,), steps, dtype=torch.int64, device=x.device),
        torch.zeros(n, dtype=torch.int64, device=x.device),
    )
