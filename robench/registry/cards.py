"""Model cards: ``model.toml`` beside the weights describes a checkpoint."""

from __future__ import annotations

import hashlib
import textwrap
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robench.architectures import ModelConfig
from robench.atomic import replacing
from robench.errors import ContentError, nearest, plainly

T = TypeVar("T", bound=BaseModel)
CARD = "model.toml"
WEIGHTS = "weights.safetensors"
LONGEST = 300
"""Most characters of a library's message on a weight file."""


class WeightsTable(BaseModel):
    """The ``[weights]`` table: the SHA-256 of the weight file beside the card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class AboutTable(BaseModel):
    """The ``[about]`` table: facts for readers; no computation depends on them.

    Attributes:
        clean_accuracy: on the data set's protocol slice, at the card's own T.
        clean_samples: number of images that the accuracy was measured on.
        init: the model whose weights the training started from, and their SHA-256; or empty.
        control: whether the model exists to be caught by the checks; ``all`` leaves it out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    clean_accuracy: float = Field(ge=0, le=1)
    clean_samples: int = Field(ge=1)
    data: str = ""
    init: str = ""
    seed: int = 0
    epochs: int = 0
    hours: float = 0.0
    hardware: str = ""
    control: bool = False


class ModelCard(BaseModel):
    """A model card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig
    weights: WeightsTable
    about: AboutTable

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a card.

        Raises:
            ContentError: the file is missing, is not TOML, or has a wrong key.
        """
        return read_table(path, cls)


def read_table(path: Path, kind: type[T]) -> T:
    """Read a TOML file into a checked table.

    Raises:
        ContentError: the file is missing, is not TOML, or has a missing, unknown or mistyped key;
            the message names the file and the key.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))  # an editor may write a byte order mark
        return kind.model_validate(data)
    except FileNotFoundError:
        raise ContentError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ContentError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ContentError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise ContentError(f"{path}: {_first_error(error, kind)}") from None


def _first_error(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first error of a table; an unknown key first, since it may be a misspelt one."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"key {key}: {plainly(first['msg'])}" if key else plainly(first["msg"])
    *tables, name = (str(part) for part in first["loc"])
    known: Any = kind
    for table in tables:
        known = getattr(known, "model_fields", {}).get(table)
        known = known and known.annotation
    return f"key {key}: there is no such key{nearest(name, getattr(known, 'model_fields', ()))}"


def write_table(path: Path, table: dict[str, Any]) -> None:
    """Write a TOML file atomically: a reader sees the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(tomli_w.dumps(table), "utf-8")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_checkpoint(
    folder: Path, module: nn.Module, config: ModelConfig, about: AboutTable
) -> ModelCard:
    """Write weights and card of a trained network into its folder and return the card."""
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
    with _unloadable(path), safe_open(path, "pt"):
        pass


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a weight file and check its digest.

    Raises:
        ContentError: the file is missing or damaged, or its digest differs.
    """
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
        text = textwrap.shorten(str(error), LONGEST, placeholder=" …")
        raise ContentError(f"{path}: cannot be loaded: {text}") from None
