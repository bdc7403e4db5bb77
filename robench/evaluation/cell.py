"""One cell: a model, an attack, a slice of images, a seed, with all its ε."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from robench.attacks import Attack, Need
from robench.datasets import Dataset, Images, Split
from robench.engine.search import SweepName
from robench.epsilon import Epsilon
from robench.evaluation.source_models import fingerprint
from robench.registry import Model, NamedAttack
from robench.registry.functions import counterpart_sha256
from robench.results import EOT, PROTOCOL, SCHEMA, Identity, Thoroughness
from robench.spiking.discovery import DISCOVERY


@dataclass(frozen=True)
class Settings:
    """The settings of a cell's evaluation.

    Attributes:
        grid: ascending, from ε = 0.
        seed: of the random numbers.
        sweep: the order of the ε, see :mod:`robench.engine.search`.
        reference: whether everything is computed in plain PyTorch.
        batch_size: rows of one call, None to choose it; it affects the speed, not the result.
        device: of the models, as torch writes it.
        examples: whether to store the adversarial examples.
        split: of the images.
        eot: number of draws that a gradient of a stochastic model is averaged over.
        checks: which checks the cell gets; they do not affect its numbers.
    """

    grid: tuple[Epsilon, ...]
    seed: int = 0
    sweep: SweepName = "fast"
    reference: bool = False
    batch_size: int | None = None
    device: str = "cpu"
    examples: bool = False
    split: Split = "test"
    eot: int = EOT
    checks: Thoroughness = "cheap"


@dataclass(frozen=True)
class Cell:
    """A cell that can be evaluated; ``sources`` are the source models of a transfer attack."""

    model: Model
    attack: NamedAttack
    dataset: Dataset
    images: Images
    settings: Settings
    sources: tuple[Model, ...] = ()

    @property
    def bound(self) -> Attack:
        """The attack with the names of its source models."""
        return self.attack.attack.with_sources(tuple(source.id.name for source in self.sources))

    @property
    def auc_limits(self) -> dict[str, float]:
        """The upper limits of the AUC that the grid has, by their texts."""
        values = {epsilon.value for epsilon in self.settings.grid[1:]}
        limits = self.dataset.protocol.auc_limits.get(self.attack.attack.norm, ())
        return {limit.text: limit.value for limit in limits if limit.value in values}

    @property
    def stochastic(self) -> bool:
        """Whether gradients of the model, or of a source model, are averaged over draws."""
        return any(model.stochastic for model in (self.model, *self.sources))

    @cached_property
    def identity(self) -> Identity:
        """Everything that the outcome depends on, when it was first asked for."""
        model, attack, settings = self.model, self.attack, self.settings
        return Identity(
            schema_version=SCHEMA,
            protocol=PROTOCOL,
            model=model.id,
            fingerprint=model.fingerprint,
            model_config=model.card,
            architecture_version=_architecture_version(model),
            timesteps=model.timesteps,
            dataset=self.dataset.name,
            data_sha256=self.images.sha256,
            samples=len(self.images),
            attack=attack.name,
            implementation=attack.implementation,
            attack_version=attack.version,
            parameters=attack.parameters,
            norm=attack.attack.norm,
            grid=tuple(repr(epsilon.value) for epsilon in settings.grid),
            seed=settings.seed,
            sweep=f"{settings.sweep}, plain" if settings.reference else settings.sweep,
            sources={source.id: fingerprint(source) for source in self.sources},
            eot=settings.eot if self.stochastic else None,
        )

    def unmet(self) -> frozenset[Need]:
        """The needs of the attack that the model does not meet."""
        offered: set[Need] = set()
        # the layers of an ANN have no paths, and its own gradient is all there is
        ann = not self.model.spiking
        if self.model.layered or ann:
            offered.add("paths")
        if self.model.over_time or ann:
            offered.add("layers over time")
        if self.model.rated or ann:
            offered.add("firing rates")
        if self.model.make_counterpart is not None or ann:  # an ANN is its own
            offered.add("counterpart")
        if self.sources:
            offered.add("sources")
        if self.dataset.frames is not None:
            offered.add("frames")
        shared: set[Need] = {"frames"} if self.attack.shared else set()
        return frozenset((self.attack.attack.required | shared) - offered)


def _architecture_version(model: Model) -> str:
    """What decides about the outcome of a network beside its fingerprint."""
    if model.checkpoint:
        return str(model.card.get("architecture_version", ""))
    counterpart = "without counterpart"
    if model.make_counterpart is not None:
        counterpart = f"with counterpart {counterpart_sha256(model)}".strip()
    facts = f"{model.mode}, {model.input_kind}, {counterpart}, discovery {DISCOVERY}"
    return f"{model.origin} {facts}".strip()
