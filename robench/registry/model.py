"""``robench.Model``: a network with its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import chain
from typing import Any, get_args

import torch
from torch import Tensor, nn

from robench.architectures import VGG, InputKind, Mode
from robench.datasets import find_dataset
from robench.errors import UsageError
from robench.isolation import ProcessSettings, contained
from robench.model_id import ModelId, dashed
from robench.registry.borrowing import count_logits, require_logits
from robench.registry.copies import copied
from robench.registry.fingerprint import network_sha256
from robench.spiking import Wrapped, spiking_layers
from robench.spiking.discovery import Discovery, survey
from robench.text import one_line

_UNNAMED = ModelId("")


@dataclass
class Model:
    """A network under evaluation.

    The network maps images ``(N, C, H, W)``, float32 in [0, 1], to logits ``(N, K)``;
    normalisation, encoding, time and state reset are part of it, and the same input gives the same
    output, alone or in a batch. A network for frames maps ``(N, T, C, H, W)``. The output of a
    stochastic network depends on the input and the draw.

    Nothing in the network is changed: an evaluation puts back what it sets, and what the network's
    own code sets.

    Attributes:
        network: the network; or a function that loads one of robench's own, which is called when
            the network is first needed.
        id: ``<dataset>/<name>``; by default the name of the class, in lower case. That of a wrapped
            network is the class inside.
        classes: number of classes K; by default that of the data set.
        dataset: name of the data set, if ``id`` is not given.
        card: the card's ``[model]`` table, or any facts that the hash should cover.
        version: identifies the network instead of its state and code, and so the counterpart: a
            text that the user changes whenever one of them changes.
        sha256: of the weight file of a checkpoint; it identifies the network.
        mode: ann, hybrid or stbp.
        timesteps: T, None without time.
        stochastic: whether the forward pass draws random numbers; it must draw them from a
            :class:`robench.ModelNoise`.
        make_counterpart: builds the ANN counterpart; None without one.
        control: whether the model exists to be caught by the checks; ``all`` leaves it out.
        registered: whether ``robench list models`` shows it: a model of robench or of a plug-in.
        shareable: whether threads may call the network at the same time, because it keeps no state
            between calls.
        origin: distribution and version of a plug-in, empty for robench's own models.
        clean_accuracy: as in the card, None without one.
        input_kind: ``images``, or ``frames`` if a sample has a time axis; by default what the data
            set gives.
        input_type: the type in which the network takes its input, if it does not take float32.
        discovery: the spikes of a user's network; None before :meth:`survey`.
        row_by_row: whether gradients are taken one image at a time, since they depend on the batch.
        checked: what the checks found, by the images and settings that they looked at.

    Raises:
        UsageError: a field has an invalid value.
    """

    network: nn.Module | Callable[[], nn.Module]
    id: ModelId = _UNNAMED
    classes: int = 0
    _: KW_ONLY
    dataset: str = ""
    card: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    sha256: str = ""
    mode: str = "ann"
    timesteps: int | None = None
    stochastic: bool = False
    make_counterpart: Callable[[], nn.Module] | None = None
    control: bool = False
    registered: bool = False
    shareable: bool = False
    origin: str = ""
    clean_accuracy: float | None = None
    input_kind: str = ""
    input_type: torch.dtype | None = field(default=None, init=False)
    row_by_row: bool = field(default=False, init=False)
    checked: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    discovery: Discovery | None = field(default=None, init=False, repr=False, compare=False)
    _module: nn.Module | None = field(default=None, init=False, repr=False, compare=False)
    _counterpart: nn.Module | None = field(default=None, init=False, repr=False, compare=False)
    _settings: ProcessSettings = field(
        default_factory=ProcessSettings.now, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self._identify()
        if isinstance(self.network, nn.Module):
            self._module = self.network
        else:
            good = callable(self.network) and bool(self.sha256)
            self._require("network", good, "a torch.nn.Module")
        self._require("classes", _is_count(self.classes, 2), "an integer from 2")
        self._require("mode", self.mode in get_args(Mode), " or ".join(get_args(Mode)))
        kinds = get_args(InputKind)
        self._require("input_kind", self.input_kind in kinds, " or ".join(kinds))
        timed = self.timesteps is None or _is_count(self.timesteps, 1)
        self._require("timesteps", timed, "None or an integer from 1")
        self._require("card", isinstance(self.card, dict), "a dict")
        for name in ("version", "sha256"):
            self._require(name, isinstance(getattr(self, name), str), "a text")
        try:
            json.dumps(self.card)
        except (TypeError, ValueError) as error:
            raise UsageError(f"model {self.id}: its card is no plain data: {error}") from None

    def _identify(self) -> None:
        """Complete id, data set and number of classes by each other."""
        if not self.id:
            if not self.dataset:
                raise UsageError(
                    "a model needs a data set: robench.Model(net, dataset='digits'), or an id, "
                    "robench.Model(net, 'digits/my-net')"
                )
            named = self.network.net if isinstance(self.network, Wrapped) else self.network
            self.id = ModelId(f"{self.dataset}/{dashed(type(named).__name__)}")
        self.id = ModelId.parse(self.id)
        if self.dataset not in ("", self.id.dataset):
            raise UsageError(
                f"model {self.id} is not of data set {self.dataset!r}: give one of them"
            )
        self.dataset = self.id.dataset
        if self.classes == 0 and not isinstance(self.classes, bool):
            dataset = find_dataset(self.dataset)
            self.classes = dataset.classes
            if dataset.derived and isinstance(self.network, nn.Module):
                image = dataset.read("test").first(1).tensor()
                self.classes = count_logits(self.network, image, dataset.name)
        if self.input_kind == "":
            self.input_kind = "images"
            with suppress(UsageError):  # a data set that is not registered
                if find_dataset(self.dataset).frames is not None:
                    self.input_kind = "frames"

    def _require(self, name: str, good: bool, wanted: str) -> None:
        """Raise a UsageError if a field is invalid."""
        if not good:
            value = one_line(repr(getattr(self, name)))
            raise UsageError(f"model {self.id}: {name} is {value:.80}, it has to be {wanted}")

    @property
    def checkpoint(self) -> bool:
        """Whether it is a checkpoint with a card, whose network is loaded when first needed."""
        return not isinstance(self.network, nn.Module)

    @property
    def module(self) -> nn.Module:
        """The network; that of a checkpoint is loaded, in evaluation mode and frozen.

        Raises:
            ContentError: the weights of a checkpoint cannot be loaded.
        """
        if self._module is None:
            self._module = self.network().eval().requires_grad_(False)
            if isinstance(self._module, VGG) and self.timesteps is not None:
                self._module.timesteps = self.timesteps
        return self._module

    def release(self) -> None:
        """Free the counterpart, and the network of a checkpoint; each is made again when needed."""
        self._counterpart = None
        if self.checkpoint:
            self._module = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weight file, or of state and code; see :mod:`.fingerprint`.

        It is computed at every call, since the network may have been changed in between.
        """
        if self.sha256:
            return self.sha256
        if self.version:
            return hashlib.sha256(f"version {self.version}".encode()).hexdigest()
        return network_sha256(self.module)

    @property
    def device(self) -> torch.device:
        """The device of the module: the CPU if it has neither parameters nor buffers."""
        state = next(chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if state is None else state.device

    @property
    def spiking(self) -> bool:
        """Whether surrogates can be substituted."""
        return self.layered or self.replaces

    @property
    def replaces(self) -> bool:
        """Whether steps of a user's network are replaced, as its survey found them."""
        return self.discovery is not None and self.discovery.replaced

    @property
    def layered(self) -> bool:
        """Whether it has layers of robench's neurons, which take every gradient path."""
        return self.mode != "ann" if self.checkpoint else bool(spiking_layers(self.module))

    @property
    def over_time(self) -> bool:
        """Whether every layer of neurons sees all time steps, as some backward rules need."""
        return self.layered or (self.replaces and bool(self.discovery and self.discovery.layers))

    @property
    def rated(self) -> bool:
        """Whether every layer has a known firing rate, whose derivative stands for the spikes'."""
        if self.layered:
            return True
        if self.discovery is None or not self.over_time:
            return False
        return all(layer.neuron is not None for layer in self.discovery.layers)

    def survey(self, x: Tensor) -> None:
        """Find the spikes of a user's network by clean images, ``(N, C, H, W)``."""
        if not self.checkpoint:
            self.discovery = survey(self.module, self.call, x.to(self.device))

    def counterpart(self) -> nn.Module | None:
        """The ANN counterpart, built once: a copy of what ``make_counterpart`` returns."""
        if self._counterpart is None and self.make_counterpart is not None:
            built = self.built_counterpart()
            own = built if self.checkpoint else copied(built)
            self._counterpart = own.eval().requires_grad_(False)
        return self._counterpart

    def built_counterpart(self) -> nn.Module:
        """A new ANN counterpart of a model that can build one, which may import its neighbours."""
        assert self.make_counterpart is not None
        with contained(None if self.checkpoint else self._settings):
            return self.make_counterpart()

    def prepare(self, x: Tensor) -> None:
        """Let a network of robench choose how it computes its layers, by some images.

        It may change the outputs only by rounding. Nothing of another network is called.
        """
        if isinstance(self.module, VGG):
            self.module.prepare(x.to(self.device))

    def call(self, x: Tensor, counterpart: nn.Module | None = None) -> Tensor:
        """Logits ``(N, K)`` of images in [0, 1] on the model's device, in the network's own type.

        A network of a user gets a copy of the images, which it may edit in place, and settings of
        the process that it changes are put back. A counterpart is called in place of the network.

        Raises:
            EvaluationError: the network returned something else.
        """
        network = self.module if counterpart is None else counterpart
        if isinstance(network, VGG):
            return require_logits(network(x), len(x), self.classes)
        with contained(self._settings):
            out = network(x.to(self.input_type or x.dtype, copy=True))
        return require_logits(out, len(x), self.classes)

    def changed(self, **fields: Any) -> Model:
        """The model with other fields, in the settings of the process that it was built in."""
        other = replace(self, **fields)
        other._settings = self._settings
        return other

    def copied(self) -> Model:
        """The model with a copy of the network, whose weights may be changed."""
        other = copy(self)
        other._module = copied(self.module)
        return other

    def in_double(self) -> Model:
        """The model in float64, with a copy of the network."""
        exact = self.copied()
        exact.module.double()
        exact.input_type = None if self.input_type is None else torch.float64
        return exact

    def logits(self, x: Tensor) -> Tensor:
        """:meth:`call` in the type of the images."""
        return self.call(x).to(x.dtype)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
