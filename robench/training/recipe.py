"""Recipes: ``recipe.toml`` describes the training of a checkpoint."""

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
"""The bound of seeds, which is that of TOML's integers."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Phase(_Table):
    """Some epochs at another T; a small T is cheaper and a good start for a larger T."""

    epochs: int = Field(ge=1)
    timesteps: int = Field(ge=1)


class AdversarialPhase(_Table):
    """Some epochs of adversarial training with this ε; 0 is no attack."""

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
        epochs: the number of epochs; 0 keeps the initial weights.
        batch_size: images in a step.
        learning_rate: the highest learning rate, reached after the warm-up.
        schedule: ``cosine`` rises linearly and falls to 0 on half a cosine; ``one-cycle`` starts
            at a 25th, rises on half a cosine and falls to nearly 0 on another.
        momentum: the Nesterov momentum.
        weight_decay: the decay of the weights of convolutions and head.
        warmup_epochs: the epochs in which the learning rate rises.
        label_smoothing: the share of the target that is spread over all classes.
        loss: ``ce``, the cross-entropy of the mean logits over time, or ``tet``, the mean of the
            cross-entropy over the time steps (TET: Deng et al., ICLR 2022).
        seed: the seed of initial weights, image order and augmentation.
        init: the id of the model with the initial weights, or empty.
        timesteps_schedule: phases with another T, in order; by default all epochs have the card's
            T.
        adversarial_schedule: phases of adversarial training, in order, over all epochs; by default
            there is none. See :mod:`robench.training.adversarial`.
        adversarial_steps: the number of gradients of the attack on each image.
        augment: the augmentations, in order; see :mod:`robench.training.augment`.
        autocast: ``bfloat16`` runs the forward passes of training in bfloat16, which is fast only
            on processors with instructions for it.
        reestimate_norm: the number of training batches with which the batch norms of the deployed
            network are estimated again; 0 keeps the statistics of training.
        calibration_steps: the steps for each layer of a hybrid network after its conversion; 0
            keeps the trained weights.
        calibration_rate: the highest learning rate of these steps.
        threads: the number of threads of torch; equal numbers give equal weights.
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
            raise ValueError("epochs may be 0 only if init names the weights")
        return self

    def epsilon(self, epoch: int) -> Epsilon:
        """The ε of adversarial training in an epoch, counted from 0."""
        for phase in self.adversarial_schedule:
            if epoch < phase.epochs:
                return Epsilon.parse(phase.epsilon)
            epoch -= phase.epochs
        return Epsilon(0.0, "0")


class PurposeTable(_Table):
    """The ``[about]`` table, which is copied to the card.

    Attributes:
        description: one or two sentences.
        control: whether the model is a negative control, which the checks must flag.
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
        """Epochs and T of each phase; T is 1 if the training has no time."""
        training, model = self.training, self.model
        if training.timesteps_schedule:
            return [(phase.epochs, phase.timesteps) for phase in training.timesteps_schedule]
        timesteps = model.timesteps if model.mode == "stbp" else None
        return [(training.epochs, timesteps or 1)]

    def misfit(self) -> str:
        """Why the model cannot be trained on its data set; empty if it can.

        Raises:
            UsageError: the data set is unknown.
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
            ContentError: the file is missing, is not TOML, or has a missing, unknown or mistyped
                key; the message names the file and the key.
        """
        return read_table(path, cls)


def find_recipe(name: str) -> tuple[Path, Recipe]:
    """The recipe of a model, with its absolute path.

    Args:
        name: the model's id, its ``recipe.toml``, or the folder of this.

    Raises:
        UsageError: the recipe does not exist; the message offers the nearest id.
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
    """Why a recipe cannot be trained in its folder; empty if it can."""
    dataset, place, init = recipe.model.dataset, folder.parent.name, recipe.training.init
    try:
        reason = recipe.misfit()
    except UsageError as error:
        return f"key model.dataset: {error}"
    if reason:
        return f"the {reason}"
    if dataset != place:
        return f"key model.dataset: {dataset!r}, but the folder lies in {place!r}"
    if init == f"{place}/{folder.name}":
        return f"key training.init: {init} is the model itself"
    return ""
