"""Recipes: ``recipe.toml`` beside the weights says how a checkpoint is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from robench.architectures import ModelConfig
from robench.datasets import find_dataset
from robench.epsilon import Epsilon
from robench.errors import ContentError, UsageError, nearest
from robench.registry import recipe_files
from robench.registry.cards import read_table
from robench.training.augment import Augmentation

RECIPE = "recipe.toml"
SEEDS = 2**63
"""Seeds lie below this, as TOML's integers do."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Phase(_Table):
    """Some epochs at a T of their own; a shorter T is cheaper and a good start for a longer."""

    epochs: int = Field(ge=1)
    timesteps: int = Field(ge=1)


class AdversarialPhase(_Table):
    """Some epochs on images that are attacked within ε, written as everywhere; 0 is no attack."""

    epochs: int = Field(ge=1)
    epsilon: str

    @field_validator("epsilon")
    @classmethod
    def _in_the_box(cls, text: str) -> str:
        try:
            value = Epsilon.parse(text).value
        except UsageError as error:
            raise ValueError(str(error)) from None
        if value > 1:
            raise ValueError(f"ε {text} is above 1, the range of a pixel")
        return text


class TrainingTable(_Table):
    """The ``[training]`` table.

    Attributes:
        epochs: passes over the training images; 0 takes the initial weights as they are.
        batch_size: images in a step.
        learning_rate: the highest, reached after the warm-up.
        schedule: ``cosine`` rises to it in a straight line and falls to 0 on half a cosine;
            ``one-cycle`` starts at a 25th, rises on half a cosine and falls to almost nothing
            on another.
        momentum: Nesterov's.
        weight_decay: on the weights of convolutions and of the head alone.
        warmup_epochs: over which the learning rate rises.
        label_smoothing: the share of the target spread over all classes.
        loss: cross-entropy of the mean logits over time, or its mean over the time steps (TET:
            Deng et al., ICLR 2022).
        seed: of the initial weights, the order of the images and the augmentation.
        init: id of the model whose weights are the start, or empty.
        timesteps_schedule: the phases, in order; without it all epochs are at the card's T.
        adversarial_schedule: phases of adversarial training, in order, over all epochs; none
            without it. See :mod:`robench.training.adversarial`.
        adversarial_steps: gradients that the attack takes on each image.
        augment: what is done to a training image, in this order: see
            :mod:`robench.training.augment`.
        autocast: ``bfloat16`` runs forward passes of the training in it; good where the
            processor has instructions for it and many times slower where it has none.
        reestimate_norm: training batches over which the batch norms of the finished network
            average their statistics anew; 0 keeps those of training.
        calibration_steps: for each layer of a hybrid network, behind its conversion; 0 leaves the
            weights as they were trained.
        calibration_rate: the highest learning rate of these steps.
        threads: of torch; the same number gives the same weights again.
    """

    epochs: int = Field(ge=0)
    batch_size: int = Field(64, ge=2, le=1_000_000)
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    warmup_epochs: int = Field(2, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    loss: Literal["ce", "tet"] = "ce"
    seed: int = Field(0, ge=0, lt=SEEDS)
    init: str = ""
    timesteps_schedule: list[Phase] = []
    adversarial_schedule: list[AdversarialPhase] = []
    adversarial_steps: int = Field(2, ge=1)
    augment: list[Augmentation] = []
    autocast: Literal["none", "bfloat16"] = "none"
    reestimate_norm: int = Field(0, ge=0)
    calibration_steps: int = Field(0, ge=0)
    calibration_rate: float = Field(0.003, gt=0)
    threads: int = Field(1, ge=1, le=1024)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("timesteps_schedule", "adversarial_schedule"):
            schedule = getattr(self, name)
            planned = sum(phase.epochs for phase in schedule)
            if schedule and planned != self.epochs:
                raise ValueError(f"{name} has {planned} epochs, epochs says {self.epochs}")
        if "adversarial_steps" in self.model_fields_set and not self.adversarial_schedule:
            raise ValueError("adversarial_steps does nothing without adversarial_schedule")
        if "warmup_epochs" in self.model_fields_set and 0 < self.epochs < self.warmup_epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, epochs is {self.epochs}")
        if self.epochs == 0 and not self.init:
            raise ValueError("epochs may be 0 only where init names the weights")
        return self

    def epsilon(self, epoch: int) -> Epsilon:
        """Within which ε the images of an epoch, counted from 0, are attacked."""
        for phase in self.adversarial_schedule:
            if epoch < phase.epochs:
                return Epsilon.parse(phase.epsilon)
            epoch -= phase.epochs
        return Epsilon(0.0, "0")


class PurposeTable(_Table):
    """The ``[about]`` table: what goes on to the card's.

    Attributes:
        description: one or two sentences for a reader.
        control: whether the model exists to be caught by the checks.
    """

    description: str
    control: bool = False


class Recipe(_Table):
    """A whole recipe."""

    model: ModelConfig
    training: TrainingTable
    about: PurposeTable

    @model_validator(mode="after")
    def _time_belongs_to_spikes(self) -> Self:
        if self.model.mode != "stbp" and (
            self.training.timesteps_schedule or self.training.loss == "tet"
        ):
            raise ValueError("timesteps_schedule and the loss tet belong to stbp models alone")
        if self.model.mode != "hybrid" and self.training.calibration_steps:
            raise ValueError("calibration_steps belongs to hybrid models alone")
        if self.model.input_kind == "frames" and self.training.timesteps_schedule:
            raise ValueError("timesteps_schedule belongs to models that take images: frames have T")
        return self

    def phases(self) -> list[tuple[int, int]]:
        """Epochs and T of each phase; T is 1 where the training has no time."""
        training, model = self.training, self.model
        if training.timesteps_schedule:
            return [(phase.epochs, phase.timesteps) for phase in training.timesteps_schedule]
        timesteps = model.timesteps if model.mode == "stbp" else None
        return [(training.epochs, timesteps or 1)]

    def misfit(self) -> str:
        """What keeps the model from being trained on its data set; empty where nothing does.

        Raises:
            UsageError: there is no such data set.
        """
        dataset, model = find_dataset(self.model.dataset), self.model
        if model.classes != dataset.classes:
            return f"model has {model.classes} classes, {dataset.name} has {dataset.classes}"
        if reason := dataset.mismatch(model.input_kind, model.timesteps):
            return f"model {reason}"
        return ""

    def with_seed(self, seed: int) -> Self:
        """The same recipe with another seed."""
        return self.model_copy(update={"training": self.training.model_copy(update={"seed": seed})})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a recipe.

        Raises:
            ContentError: the file is missing, is no TOML, or has a missing, unknown or mistyped
                key; the message names the file and the key.
        """
        return read_table(path, cls)


def find_recipe(name: str) -> tuple[Path, Recipe]:
    """The recipe of a model, with its absolute path.

    Args:
        name: the model's id, its ``recipe.toml``, or the folder that this lies in.

    Raises:
        UsageError: there is none; the message offers the nearest id.
        ContentError: the recipe is damaged, or does not fit its data set or its folder.
    """
    known = recipe_files()
    path = known.get(name, Path(name)).absolute()
    if path.is_dir():
        path /= RECIPE
    if not path.is_file():
        raise UsageError(f"there is no recipe {name!r}{nearest(name, known)}")
    recipe, folder = Recipe.read(path), path.parent
    if reason := _trouble(recipe, folder):
        raise ContentError(f"{path}: {reason}")
    return path, recipe


def _trouble(recipe: Recipe, folder: Path) -> str:
    """Why a recipe cannot be trained in its folder; empty where it can."""
    dataset, place, init = recipe.model.dataset, folder.parent.name, recipe.training.init
    try:
        reason = recipe.misfit()
    except UsageError as error:
        return f"key model.dataset: {error}"
    if reason:
        return f"the {reason}"
    if dataset != place:
        return f"key model.dataset: {dataset!r}, but the folder stands in {place!r}"
    if init == f"{place}/{folder.name}":
        return f"key training.init: {init} is the model itself"
    return ""
