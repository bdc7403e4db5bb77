"""The state of a training between two epochs, so that a killed one goes on where it stood.

One safetensors file: weights, momentum and generator states as tensors, everything else as JSON
in its header. One file is replaced at once, so there is no moment at which its parts disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from robench.atomic import replacing
from robench.errors import ContentError
from robench.training.log import Row
from robench.training.recipe import Recipe

FOLDER = ".training"
FILE = "checkpoint.safetensors"
_MOMENTUM = "momentum_buffer"


@dataclass(frozen=True)
class Progress:
    """What a checkpoint says beside its tensors.

    Attributes:
        recipe: the tables ``[model]`` and ``[training]`` that the state belongs to.
        images: SHA-256 of the training images.
        seconds: of training so far, over all attempts.
        rows: the log so far; one row is one epoch.
        init: the model that the training began with, and the SHA-256 of its weights; or empty.
    """

    recipe: Mapping[str, Any]
    images: str
    seconds: float
    rows: tuple[Row, ...]
    init: str = ""

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.rows)


def checkpoint_file(folder: Path) -> Path:
    """Where the state of the training in a model's folder lies."""
    return folder / FOLDER / FILE


def facts(recipe: Recipe) -> dict[str, Any]:
    """What has to be equal for a state to belong to a recipe."""
    return recipe.model_dump(mode="json", include={"model", "training"})


def save(
    path: Path, net: nn.Module, optimizer: Optimizer, generator: torch.Generator, done: Progress
) -> None:
    """Write the state; torch's own generator, which the network may draw from, is part of it."""
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
    """What the checkpoint says of itself.

    Raises:
        ContentError: the file is damaged.
    """
    return _read(path)[0]


def restore(path: Path, net: nn.Module, optimizer: Optimizer, generator: torch.Generator) -> None:
    """Bring network, momentum and both generators to the state of the checkpoint.

    Raises:
        ContentError: the file is damaged or belongs to another network.
    """
    tensors = _read(path)[1]
    try:
        own = {name: tensors[f"net/{name}"] for name in net.state_dict()}
        net.load_state_dict(own, strict=True)
        for name, parameter in net.named_parameters():
            if (momentum := tensors.get(f"{_MOMENTUM}/{name}")) is not None:
                # in the parameter's own layout: another one may round otherwise
                optimizer.state[parameter][_MOMENTUM] = torch.empty_like(parameter).copy_(momentum)
        generator.set_state(tensors["generator"])
        torch.random.set_rng_state(tensors["torch"])
        device = next(net.parameters()).device
        if (drawn := tensors.get("cuda")) is not None and device.type == "cuda":
            torch.cuda.set_rng_state(drawn, device)
    except (KeyError, RuntimeError) as error:
        raise ContentError(f"{path}: {error}; begin anew with --restart") from None


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {})["progress"])
            told["rows"] = tuple(Row(**row) for row in told["rows"])
            return Progress(**told), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ContentError(
            f"{path}: cannot be read: {str(error).splitlines()[0]}; begin anew with --restart"
        ) from None
