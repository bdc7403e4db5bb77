"""The state of a training between two epochs, from which an interrupted training resumes.

It is one safetensors file: weights, momentum and generator states as tensors, everything else as
JSON in the header. The file is replaced atomically, so its parts are always consistent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from robench.atomic import replacing
from robench.errors import ContentError
from robench.text import one_line
from robench.training.log import Row
from robench.training.recipe import Recipe

FOLDER = ".training"
FILE = "checkpoint.safetensors"
_MOMENTUM = "momentum_buffer"
LONGEST = 300
"""Most characters of what is wrong with it."""


@dataclass(frozen=True)
class Progress:
    """The contents of a checkpoint other than tensors.

    Attributes:
        recipe: the tables ``[model]`` and ``[training]`` of the recipe.
        images: the SHA-256 of the training images.
        seconds: the training time so far, over all attempts.
        rows: the log so far, one row for each epoch.
        init: the model with the initial weights and the SHA-256 of these; or empty.
    """

    recipe: Mapping[str, Any]
    images: str
    seconds: float
    rows: tuple[Row, ...]
    init: str = ""

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return len(self.rows)


_PROGRESS = TypeAdapter(Progress)


def checkpoint_file(folder: Path) -> Path:
    """The checkpoint file of the training in a model's folder."""
    return folder / FOLDER / FILE


def facts(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that must be equal to resume a training."""
    return recipe.model_dump(mode="json", include={"model", "training"})


def save(
    path: Path, net: nn.Module, optimizer: Optimizer, generator: torch.Generator, done: Progress
) -> None:
    """Write the state, including torch's global generators, which the network may draw from."""
    tensors = {f"net/{name}": value for name, value in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        momentum = optimizer.state[parameter].get(_MOMENTUM)
        if momentum is not None:
            tensors[f"{_MOMENTUM}/{name}"] = momentum
    tensors["generator"] = generator.get_state()
    tensors["torch"] = torch.random.get_rng_state()
    device = next(net.parameters()).device
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = {name: value.detach().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(packed, temporary, metadata={"progress": json.dumps(asdict(done))})


def read_progress(path: Path) -> Progress:
    """The contents of a checkpoint other than tensors.

    Raises:
        ContentError: the file is damaged.
    """
    return _read(path)[0]


def restore(path: Path, net: nn.Module, optimizer: Optimizer, generator: torch.Generator) -> None:
    """Restore network, momentum and generators from the checkpoint.

    Raises:
        ContentError: the file is damaged or belongs to another network.
    """
    tensors = _read(path)[1]
    try:
        own = {name: tensors[f"net/{name}"] for name in net.state_dict()}
        net.load_state_dict(own, strict=True)
        for name, parameter in net.named_parameters():
            if (momentum := tensors.get(f"{_MOMENTUM}/{name}")) is not None:
                if momentum.shape != parameter.shape:
                    raise ValueError(f"{_MOMENTUM} of {name} has shape {tuple(momentum.shape)}")
                # in the layout of the parameter: another layout may round differently
                optimizer.state[parameter][_MOMENTUM] = torch.empty_like(parameter).copy_(momentum)
        generator.set_state(tensors["generator"])
        torch.random.set_rng_state(tensors["torch"])
        device = next(net.parameters()).device
        if (drawn := tensors.get("cuda")) is not None and device.type == "cuda":
            torch.cuda.set_rng_state(drawn, device)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        what = one_line(error, LONGEST)
        raise ContentError(f"{path}: {what}; start again with --restart") from None


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            done = _PROGRESS.validate_json((file.metadata() or {})["progress"], strict=True)
            return done, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        what = one_line(error, LONGEST)
        raise ContentError(f"{path}: cannot be read: {what}; start again with --restart") from None
