"""``robench.Model``: a network with its metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn

from robench.architectures import VGG, InputKind, Mode
from robench.errors import EvaluationError, UsageError
from robench.model_id import ModelId
from robench.registry.fingerprint import network_sha256
from robench.spiking import GradientPath, Surrogate, override, spiking_layers


class SpikeAdapter(Protocol):
    """How robench replaces the derivatives of the spiking neurons of a network."""

    def override(
        self, *, surrogate: Surrogate | None, path: GradientPath | None
    ) -> AbstractContextManager[None]:
        """Replace the derivatives of backward passes in the context; None keeps the model's own."""
        ...


@dataclass(frozen=True)
class NativeSpikes:
    """The adapter for networks of robench's own neurons."""

    module: nn.Module

    def override(
        self, *, surrogate: Surrogate | None, path: GradientPath | None
    ) -> AbstractContextManager[None]:
        """See :func:`robench.spiking.substitution`."""
        return override(self.module, surrogate=surrogate, path=path)


@dataclass
class Model:
    """A network under evaluation.

    The module maps images ``(N, C, H, W)``, float32 in [0, 1], to logits ``(N, K)``;
    normalisation, encoding, time and state reset are part of it, and the same input gives the same
    output. A module for frames maps ``(N, T, C, H, W)``. The output of a stochastic module depends
    on the input and the draw.

    Attributes:
        module: the network; it is set to evaluation mode and its parameters are frozen.
        id: ``<dataset>/<name>``; a plain text is accepted.
        classes: number of classes K.
        card: the card's ``[model]`` table, or any facts that the hash should cover.
        fingerprint: SHA-256 of the weights; by default of the state and the code that define the
            network, see :mod:`robench.registry.fingerprint`.
        mode: ann, hybrid or stbp.
        timesteps: T, None without time.
        stochastic: whether the forward pass draws random numbers; it must draw them from a
            :class:`robench.spiking.ModelNoise`.
        spikes: adapter to the spiking neurons; set automatically for robench's own neurons.
        make_counterpart: builds the ANN counterpart; None without one.
        control: whether the model exists to be caught by the checks; ``all`` leaves it out.
        registered: False for a folder or a function that was named on the command line.
        shareable: whether threads may call the module at the same time, because it keeps no state
            between calls.
        origin: distribution and version of a plug-in, empty for robench's own models.
        clean_accuracy: as in the card, None without one.
        input_kind: ``images``, or ``frames`` if a sample has a time axis.

    Raises:
        UsageError: a field has an invalid value.
    """

    module: nn.Module
    id: ModelId
    classes: int
    card: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    mode: str = "ann"
    timesteps: int | None = None
    stochastic: bool = False
    spikes: SpikeAdapter | None = None
    make_counterpart: Callable[[], nn.Module] | None = None
    control: bool = False
    registered: bool = True
    shareable: bool = False
    origin: str = ""
    clean_accuracy: float | None = None
    input_kind: str = "images"
    _counterpart: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.id = ModelId.parse(self.id)
        self._require("module", isinstance(self.module, nn.Module), "a torch.nn.Module")
        self._require("classes", _is_count(self.classes, 2), "an integer from 2")
        self._require("mode", self.mode in get_args(Mode), " or ".join(get_args(Mode)))
        kinds = get_args(InputKind)
        self._require("input_kind", self.input_kind in kinds, " or ".join(kinds))
        timed = self.timesteps is None or _is_count(self.timesteps, 1)
        self._require("timesteps", timed, "None or an integer from 1")
        self._require("card", isinstance(self.card, dict), "a dict")
        self._require("fingerprint", isinstance(self.fingerprint, str), "a text")
        try:
            json.dumps(self.card)
        except (TypeError, ValueError) as error:
            raise UsageError(f"model {self.id}: its card is no plain data: {error}") from None
        self.module.eval().requires_grad_(False)
        if not self.fingerprint:
            self.fingerprint = network_sha256(self.module)
        if self.spikes is None and spiking_layers(self.module):
            self.spikes = NativeSpikes(self.module)

    def _require(self, name: str, good: bool, wanted: str) -> None:
        """Raise a UsageError if a field is invalid."""
        if not good:
            value = " ".join(repr(getattr(self, name)).split())
            raise UsageError(f"model {self.id}: {name} is {value:.80}, it has to be {wanted}")

    @property
    def dataset(self) -> str:
        """The data set, as in the id."""
        return self.id.dataset

    @property
    def device(self) -> torch.device:
        """The device of the module: the CPU if it has neither parameters nor buffers."""
        state = next(chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if state is None else state.device

    def counterpart(self) -> nn.Module | None:
        """The ANN counterpart: the model's weights with the training activation; built once."""
        if self._counterpart is None and self.make_counterpart is not None:
            self._counterpart = self.make_counterpart().eval().requires_grad_(False)
        return self._counterpart

    @property
    def native(self) -> VGG | None:
        """The module if it is a network of robench's own, by its class; else None."""
        return self.module if isinstance(self.module, VGG) else None

    def prepare(self, x: Tensor) -> None:
        """Let a network of robench choose how it computes its layers, by some images.

        It may change the outputs only by rounding. Nothing of another module is called.
        """
        if self.native is not None:
            self.native.prepare(x.to(self.device))

    def run(self, x: Tensor) -> Any:
        """What the module returns for images; it gets a copy that it may edit in place."""
        return self.module(x if self.native is not None else x.clone())

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)`` of images in [0, 1] on the model's device.

        Raises:
            EvaluationError: the module returned something else.
        """
        out = self.run(x)
        wanted = (len(x), self.classes)
        if not isinstance(out, Tensor) or out.shape != wanted:
            what = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise EvaluationError(
                f"the model returned {what} for {len(x)} images; "
                f"with its {self.classes} classes, logits of shape {wanted} are expected"
            )
        return out


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
