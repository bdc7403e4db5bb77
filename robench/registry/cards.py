"""Cards: ``model.toml`` beside the weights of a checkpoint, and ``attacks/NAME.toml``."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robench.architectures import ModelConfig
from robench.atomic import replacing
from robench.datasets import dataset_names
from robench.errors import ContentError, nearest, plainly
from robench.model_id import ModelId
from robench.text import one_line

T = TypeVar("T", bound=BaseModel)
Frames = Literal["all", "shared"]
"""The perturbation of a sample of several frames: one for each frame, or one shared by all."""
CARD = "model.toml"
WEIGHTS = "weights.safetensors"
LARGEST = 2**20
"""Most bytes of a card or recipe."""
LONGEST = 300
"""Most characters of what is wrong with it."""


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


class AttackCard(BaseModel):
    """An attack card: a registered implementation, or a library's attack, with its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    implementation: str
    norm: str
    description: str
    citation: str
    frames: Frames = "all"
    parameters: dict[str, Any] = {}


def own_id(folder: Path, card: ModelCard) -> ModelId:
    """The id of a checkpoint in any folder."""
    return ModelId(f"{card.model.dataset}/{folder.resolve().name}")


def read_card(folder: Path, model_id: ModelId | None) -> ModelCard:
    """The card in a folder.

    Raises:
        ContentError: it is missing or damaged, or names another data set than the id.
    """
    path = folder / CARD
    card = ModelCard.read(path)
    place = folder.resolve().parent.name if model_id is None else model_id.dataset
    known = model_id is not None or place in dataset_names()  # a folder may be anywhere
    if known and card.model.dataset != place:
        raise ContentError(
            f"{path}: key model.dataset: {card.model.dataset!r}, but the folder is in {place!r}"
        )
    return card


def read_table(path: Path, kind: type[T]) -> T:
    """Read a TOML file into a checked table.

    Raises:
        ContentError: the file is missing, is not TOML, or has a missing, unknown or mistyped key;
            the message names the file and the key.
    """
    try:
        return kind.model_validate(_read_toml(path))
    except FileNotFoundError:
        raise ContentError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ContentError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ContentError(f"{path}: {one_line(_first_error(error, kind), LONGEST)}") from None
    except ValueError as error:
        raise ContentError(f"{path}: not valid TOML: {one_line(error, LONGEST)}") from None


def _read_toml(path: Path) -> dict[str, object]:
    """The content of a TOML file; raises ValueError or OSError if it is something else."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would be read for ever
        raise ValueError("it is no file")
    if found.st_size > LARGEST:
        raise ValueError(f"it has {found.st_size} bytes, and a card at most {LARGEST}")
    text = path.read_text("utf-8-sig")  # an editor may write a byte order mark
    try:
        data = tomllib.loads(text)
        _require_64_bits(data)
    except RecursionError:
        raise ValueError("its tables or lists are nested too deeply") from None
    return data


def _require_64_bits(value: object, key: str = "") -> None:
    """Raise a ValueError if a value contains an integer that TOML does not have."""
    if isinstance(value, dict):
        for name, item in value.items():
            _require_64_bits(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for item in value:
            _require_64_bits(item, key)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"key {key}: an integer is longer than 64 bits")


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
        temporary.write_text(tomli_w.dumps(table), "utf-8", newline="\n")
