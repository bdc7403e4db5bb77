"""Model cards: ``model.toml`` beside the weights describes a checkpoint."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robench.architectures import ModelConfig
from robench.atomic import replacing
from robench.datasets import dataset_names
from robench.errors import ContentError, nearest, plainly
from robench.model_id import ModelId

T = TypeVar("T", bound=BaseModel)
CARD = "model.toml"
WEIGHTS = "weights.safetensors"


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
        temporary.write_text(tomli_w.dumps(table), "utf-8", newline="\n")
