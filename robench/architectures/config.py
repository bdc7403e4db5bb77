"""The ``[model]`` table of a card: everything that determines the function of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from robench.errors import UsageError
from robench.spiking.surrogate import Surrogate

if TYPE_CHECKING:
    from robench.spiking import LIFParameters

MOST_CLASSES = 100_000
MOST_TIMESTEPS = 10_000
VERSION = 1
"""Increased when the function that a card's network computes changes."""
Mode = Literal["ann", "hybrid", "stbp"]
InputKind = Literal["images", "frames"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NeuronConfig(_Table):
    """The neuron of an STBP network; a hybrid network's is derived from its thresholds."""

    beta: float = Field(0.5, ge=0, le=1)
    threshold: float = Field(1.0, gt=0)
    reset: Literal["subtract", "zero"] = "subtract"
    detach_reset: bool = True
    surrogate: str = "atan(2)"
    initial: float = Field(0.0, le=1)

    @field_validator("surrogate")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            Surrogate.parse(text)
        except UsageError as error:  # pydantic reports the key
            raise ValueError(str(error)) from None
        return text

    def parameters(self) -> LIFParameters:
        """The parameters for :class:`~robench.spiking.LIF`."""
        from robench.spiking import LIFParameters  # imports torch, which a card does not need

        return LIFParameters(self.beta, self.threshold, self.reset, self.detach_reset, self.initial)


class FlexConfig(_Table):
    """The options of the flexible layer.

    ``half`` and ``zero`` are no sigmoids but constant masks, of 1/2 and of pooling alone. With
    ``frozen`` the mask keeps the thresholds and gains of an untrained layer, and with ``redrawn``,
    which only a control has, it draws its thresholds at every call.
    """

    sigmoid: Literal["hard", "soft", "half", "zero"] = "hard"
    plasticity: float = Field(0.0, ge=0, description="λ: how far η moves in a step")
    kappa: float = Field(0.1, ge=0, le=1, description="κ: how fast η₀ follows in training")
    threshold: Literal["trained", "frozen", "redrawn"] = "trained"


class ModelConfig(_Table):
    """A network: architecture, mode, time, neuron.

    ``timesteps`` is None exactly for ``ann``; ``levels`` is the number of quantisation levels of
    the training of a hybrid network; ``mean`` and ``std`` normalise the input inside the model, one
    number for each channel. With ``input_kind`` ``frames`` a sample has a time axis, ``(T, C, H,
    W)``, and frame t is the input of time step t.
    """

    architecture: Literal["vgg16", "flex-vgg16"]
    mode: Mode
    dataset: str
    classes: int = Field(ge=2, le=MOST_CLASSES)
    width: float = Field(gt=0, le=1)
    timesteps: Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)] | None = None
    input_kind: InputKind = "images"
    pool: Literal["max", "average"] = "max"
    mean: Annotated[list[float], Field(min_length=1)] = [0.5, 0.5, 0.5]
    std: list[Annotated[float, Field(gt=0)]] = [0.25, 0.25, 0.25]
    levels: int = Field(8, ge=1)
    neuron: NeuronConfig = NeuronConfig()
    flex: FlexConfig = FlexConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.timesteps is None) != (self.mode == "ann"):
            raise ValueError("hybrid and stbp models need timesteps, and ann models have none")
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std need one number for each channel")
        if self.input_kind == "frames" and self.mode != "stbp":
            raise ValueError(
                "input_kind frames belongs to stbp models, which take one frame per step"
            )
        return self

    @model_serializer(mode="wrap")
    def _used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what architecture and mode use, so that no hash covers anything else."""
        unused = {
            "neuron": self.mode != "stbp",
            "levels": self.mode != "hybrid",
            "flex": self.architecture != "flex-vgg16",
        }
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if not unused.get(key, False)}
