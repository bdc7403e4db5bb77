"""What an attack is: the contract between an attack and the engine that runs it.

The engine owns the loop, the projection onto ball and box, the budget, the verification of every
candidate and the counting. An attack only says where to look next.

An image is ``(C, H, W)``. Where a sample consists of frames it is ``(T, C, H, W)``: an attack that
asks for height and width takes the last two axes. Where one perturbation is shared by all frames
the attack is given an image again, and the engine does the rest.
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
from robench.spiking import Surrogate

Need = Literal["spikes", "counterpart", "sources", "frames"]
Start = Literal["own", "cold", "warm", "example", "once"]
MOST = 10**6
"""The largest count that a parameter takes: more steps would never end."""


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
"""A parameter that names a surrogate, which has a derivative; it is kept with its sharpness."""
Surrogates = Annotated[tuple[OneSurrogate, ...], AfterValidator(_at_least_one)]
"""A parameter that names surrogates, at least one and each with a derivative."""


@dataclass
class State:
    """What an iterative attack remembers of each row; every field has N as its leading axis.

    Fields are tensors, or :class:`~robench.spiking.NeuronStatistics`.

    Attributes:
        candidate: where the attack stands, ``(N, C, H, W)``; the engine keeps it in ball and box.
        steps_left: how many more steps the row wants, ``(N,)``.
        phase: rows of one call of ``step`` share it, ``(N,)``; an index into ``finders``.
    """

    candidate: Tensor
    steps_left: Tensor
    phase: Tensor

    def rows(self, index: Tensor) -> Self:
        """The state of some rows, copied."""
        return replace(self, **{f.name: _rows(getattr(self, f.name), index) for f in fields(self)})

    def assign(self, index: Tensor, part: Self) -> None:
        """Put the state of some rows back."""
        for field in fields(self):
            getattr(self, field.name)[index] = getattr(part, field.name)

    def release(self, rows: Tensor) -> None:
        """Free what is large of rows, a mask ``(N,)``, for which an example was found."""


class Attack(BaseModel, ABC):
    """An attack with its parameters; subclasses declare those as fields.

    Attributes:
        name: the registered name of the implementation.
        version: raised when the attack computes something else than before.
        least_classes: fewer classes leave the attack undefined, which is an error before the run.
        norm: the norm that its ε is measured in, ``linf`` or ``l2``.
        needs: what a model must offer; where one is unmet the cell is not applicable.
        lengths: the parameters that say how many steps it takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    least_classes: ClassVar[int] = 2
    norm: ClassVar[str] = "linf"
    needs: ClassVar[frozenset[Need]] = frozenset()
    lengths: ClassVar[tuple[str, ...]] = ("steps",)

    @property
    def finders(self) -> tuple[str, ...]:
        """Names of the parts that can find an adversarial example, indexed by the phase."""
        return (self.name,)

    @property
    def required(self) -> frozenset[Need]:
        """What a model must offer with these parameters: ``needs``, or more."""
        return self.needs

    @property
    def stages(self) -> tuple[Attack, ...]:
        """The attacks that search one after the other, each below what those before it found.

        The worst case per sample over them: an attack of several stages is never weaker than the
        first of them alone, nor an ensemble than any of its parts.
        """
        return (self,)

    def at_budget(self, passes: int) -> Attack:
        """The same attack, or a part of it, in so many gradient passes for a sample and ε at most.

        Raises:
            UsageError: the attack is not measured in gradient passes.
        """
        raise UsageError(f"attack {self.name} is not measured in gradient passes")

    def lengthened(self, factor: int) -> Self:
        """The same attack with so many times the steps.

        Raises:
            UsageError: it takes none, or would take too many.
        """
        longer = {
            name: factor * getattr(self, name)
            for name in self.lengths
            if name in type(self).model_fields
        }
        if not longer:
            raise UsageError(f"attack {self.name} takes no steps")
        try:
            return type(self)(**dict(self) | longer)
        except ValidationError:
            raise UsageError(f"attack {self.name}: {factor} times its steps are too many") from None

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks that it consists of, each of them searched as if it ran alone."""
        return (self,)

    @property
    def full_version(self) -> str:
        """The version, with those of all that it consists of."""
        return str(self.version)

    @property
    def source_patterns(self) -> tuple[str, ...]:
        """Which other models of the data set it makes examples on: their names, or globs."""
        return ()

    def with_sources(self, names: tuple[str, ...]) -> Self:
        """The same attack, told the names of the view's ``sources``."""
        return self


class StagedAttack(Attack):
    """An attack that is nothing but its stages."""

    @property
    @abstractmethod
    def stages(self) -> tuple[Attack, ...]:
        """The stages, from cheap to strong; none of them is staged itself."""

    @property
    def required(self) -> frozenset[Need]:
        """What any of the stages requires."""
        return self.needs.union(*(stage.required for stage in self.stages))


class IterativeAttack(Attack):
    """An attack that the engine steps, so that a misclassified sample is dropped at once.

    Attributes:
        start: how the engine may search for the smallest ε. ``own``: from the smallest upwards,
            each run from where ``init`` puts it. ``cold``: from above, down to the first ε that
            stays robust. ``warm``: the same, and a run below a known adversarial example starts
            from that example, brought into the smaller ball. ``example``: as ``warm``, and left
            out where there is no example to start from. ``once``: one run at the largest ε,
            because the run is the same at every ε.
    """

    start: ClassVar[Start] = "own"

    @abstractmethod
    def init(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> State:
        """Where the rows begin.

        Args:
            view: the model.
            x: clean images in [0, 1], ``(N, C, H, W)``.
            y: true labels, ``(N,)``.
            eps: the budget of each row, ``(N,)``.
            noise: random numbers of these rows.
        """

    @abstractmethod
    def step(
        self, view: View, x: Tensor, y: Tensor, eps: Tensor, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """One step: the next candidate, not yet projected, and the new state.

        A candidate is verified when the model sees it, at the latest after the last step.
        """


class DirectAttack(Attack):
    """An attack that finds its candidate in one go: a minimum-norm attack, a foreign library's."""

    @property
    def minimal(self) -> bool:
        """Whether a run looks for the smallest perturbation, so that one run serves every ε."""
        return False

    @abstractmethod
    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """A candidate for each row; the engine projects and verifies it; arguments as in init."""


class LineAttack(DirectAttack):
    """A direct attack whose candidates lie on a line from the clean image, one for each ε.

    The engine asks for the direction once and shows the model every ε of the grid along it, so
    that the accuracy at each ε alone is known beside the envelope.
    """

    @abstractmethod
    def direction(self, view: View, x: Tensor, y: Tensor, noise: Noise) -> Tensor:
        """Where each row goes, in units of ε, of the shape of ``x``; arguments as in ``init``."""

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """The candidate at ε."""
        return x + spread(eps, x) * self.direction(view, x, y, noise)


def _rows(values: Any, index: Tensor) -> Any:
    """Some rows, copied; for numbers of rows ``index_select`` is several times as fast."""
    if isinstance(values, Tensor) and index.dtype == torch.int64:
        return values.index_select(0, index)
    return values[index]


def begin(x: Tensor, steps: int) -> State:
    """The state of rows that begin at the clean image."""
    n = len(x)
    return State(
        x.clone(),
        torch.full((n,), steps, dtype=torch.int64, device=x.device),
        torch.zeros(n, dtype=torch.int64, device=x.device),
    )
