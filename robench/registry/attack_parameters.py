"""The parameters of an attack: what a card or a user gives, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from robench.attacks import Attack
from robench.errors import UsageError, nearest, plainly

FRAMES = "frames"
"""The parameter that selects the perturbation of frames; the engine adds it to every attack."""
LONGEST = 40
"""Most characters of a value that an error repeats."""


def make_attack(request: str, kind: type[Attack], parameters: dict[str, Any]) -> Attack:
    """An attack with parameters.

    Raises:
        UsageError: one of them is unknown or has an invalid value.
    """
    try:
        return read_parameters(kind, parameters)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        owner = _owner(kind, first["loc"][:-1])
        fields = [*owner.model_fields, *([FRAMES] if owner is kind else [])]
        known = ", ".join(fields)
        wants_list = first["type"] in ("tuple_type", "list_type")
        hint = f", written like {key}=[a,b]" if wants_list else ""
        if first["type"] == "extra_forbidden":
            near = nearest(str(first["loc"][-1]), fields)
            raise UsageError(
                f"attack {request}: there is no parameter {key}{near}; parameters: {known}"
            ) from None
        where = f"parameter {key}: " if key else ""
        raise UsageError(
            f"attack {request}: {where}{what_is_wrong(first)}{hint}; parameters: {known}"
        ) from None
    except UsageError as error:  # from a name inside, such as a surrogate's
        raise UsageError(f"attack {request}: {error}") from None


def _owner(kind: type[BaseModel], keys: Sequence[int | str]) -> type[BaseModel]:
    """The class that owns the parameter behind some keys: the attack, or a part of it."""
    for key in keys:
        inner = kind.model_fields[str(key)].annotation if str(key) in kind.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        kind = inner
    return kind


def read_parameters(kind: type[Attack], parameters: Mapping[str, Any]) -> Attack:
    """The attack, with strict types: neither 20.0 nor true is accepted as an integer.

    The parameters are passed as JSON, in which a tuple is a list, as in a card.
    """
    return kind.model_validate_json(json.dumps(parameters, default=str), strict=True)


def changed(
    changes: Mapping[str, Any], values: Mapping[str, Any], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters that differ from the usual ones, so that equal attacks have equal names.

    Args:
        changes: as the user wrote them.
        values: all parameters of the attack.
        usual: the parameters without the changes; empty if the attack requires the changes.
    """
    return {
        key: _plain(values[key], written)
        for key, written in changes.items()
        if key not in usual or values[key] != usual[key]
    }


def _plain(value: Any, written: Any) -> Any:
    """A value in a name: as the attack has it, if a user can write it in several ways."""
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, float | str) else written


def has_required(kind: type[Attack]) -> bool:
    """Whether an attack has parameters without a default."""
    return any(field.is_required() for field in kind.model_fields.values())


def what_is_wrong(error: ErrorDetails) -> str:
    """The message of pydantic on a value, with the value if its type is wrong."""
    wrong_type = error["type"].endswith(("_type", "_parsing"))
    given = json.dumps(error["input"], default=str, ensure_ascii=False)
    message = plainly(error["msg"])
    return f"{message}, not {given}" if wrong_type and len(given) <= LONGEST else message
