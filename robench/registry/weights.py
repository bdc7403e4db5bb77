"""Weight files: ``weights.safetensors`` beside a card, checked by its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from robench.architectures import ModelConfig
from robench.atomic import replacing
from robench.errors import ContentError
from robench.registry.cards import CARD, WEIGHTS, AboutTable, ModelCard, WeightsTable, write_table
from robench.text import one_line

if TYPE_CHECKING:  # a weight file is checked without torch
    from torch import Tensor, nn

LONGEST = 300
"""Most characters of a library's message on a weight file."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_checkpoint(
    folder: Path, module: nn.Module, config: ModelConfig, about: AboutTable
) -> ModelCard:
    """Write weights and card of a trained network into its folder and return the card."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    with replacing(weights) as temporary:
        save_file(state, temporary)
        temporary.chmod(
            0o644
        )  # safetensors makes it readable for the owner only, but a wheel is for everyone
    card = ModelCard(model=config, weights=WeightsTable(sha256=file_sha256(weights)), about=about)
    write_table(folder / CARD, card.model_dump(exclude_none=True))
    return card


def check_weights(path: Path, sha256: str) -> None:
    """Compare a weight file's digest with the card's, and read its header but no tensors.

    Raises:
        ContentError: the file is missing or damaged, or its digest differs.
    """
    if not path.is_file():
        raise ContentError(f"{path}: there is no such weight file")
    found = file_sha256(path)
    if found != sha256:
        raise ContentError(
            f"{path}: SHA-256 is {found[:12]}…, the card says {sha256[:12]}…: "
            "the file is damaged or belongs to another card"
        )
    with _unloadable(path), safe_open(path, "numpy"):
        pass


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a weight file and check its digest.

    Raises:
        ContentError: the file is missing or damaged, or its digest differs.
    """
    from safetensors.torch import load_file

    check_weights(path, sha256)
    with _unloadable(path):
        return load_file(path)


def load_weights(module: nn.Module, path: Path, sha256: str, *, drop: str | None = None) -> None:
    """Load a weight file into a network, strictly.

    Args:
        module: the network of the card.
        path: the safetensors file.
        sha256: the expected digest.
        drop: keys with this ending are left out (an ANN counterpart has no thresholds).

    Raises:
        ContentError: the file is missing or damaged, its digest differs, or its tensors are not
            exactly those of the network.
    """
    state = read_weights(path, sha256)
    if drop is not None:
        state = {key: value for key, value in state.items() if not key.endswith(drop)}
    with _unloadable(path):
        module.load_state_dict(state, strict=True)


@contextmanager
def _unloadable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # safetensors and torch raise bare exceptions for bad files
        # torch gives the reason below a heading, and may list every tensor
        text = one_line(error, LONGEST)
        raise ContentError(f"{path}: cannot be loaded: {text}") from None
