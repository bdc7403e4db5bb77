"""Finding attacks: cards in ``attacks/``, plug-ins, and parameters in a specification."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from robench.attacks import IMPLEMENTATIONS, Attack
from robench.attacks.backends import LIBRARIES
from robench.errors import ContentError, RobenchError, UsageError, nearest, plainly
from robench.plugins import ATTACKS, plugins, the_plugin
from robench.registry.attack_spec import label, read_request, split_names
from robench.registry.cards import read_table
from robench.registry.locations import attack_files

Frames = Literal["all", "shared"]
"""The perturbation of a sample of several frames: one for each frame, or one shared by all."""
FRAMES = "frames"
"""The parameter that selects it; the engine adds it to every attack."""
LONGEST = 40
"""Most characters of a value that an error repeats."""


class AttackCard(BaseModel):
    """An attack card: a registered implementation, or a library's attack, with its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    implementation: str
    norm: str
    description: str
    citation: str
    frames: Frames = "all"
    parameters: dict[str, Any] = {}


@dataclass(frozen=True)
class NamedAttack:
    """An attack with its name in results, e.g. ``pgd`` or ``pgd[steps=100]``.

    Attributes:
        name: the card's name, with the parameters that the user changed to another value; a number
            is written as the attack reads it.
        attack: the attack with all its parameters.
        implementation: the registered implementation.
        version: of the implementation; for a plug-in or a library's attack also the distribution
            and its version.
        description: one line.
        frames: the perturbation of a sample of several frames.
    """

    name: str
    attack: Attack
    implementation: str
    version: str
    description: str
    frames: Frames = "all"

    @property
    def shared(self) -> bool:
        """Whether one perturbation is shared by all frames of a sample."""
        return self.frames == "shared"

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, for the identity of a result; ``frames`` if it is ``shared``."""
        own: dict[str, Any] = self.attack.model_dump(mode="json")
        return own | ({FRAMES: self.frames} if self.shared else {})


def attack_names() -> dict[str, str]:
    """Every attack by name with its origin; nothing is imported."""
    names = dict.fromkeys(attack_files(), "robench")
    for name, claims in plugins(ATTACKS).items():
        names[name] = " and ".join(plugin.origin for plugin in claims)
    return dict(sorted(names.items()))


def find_attacks(requests: str | Sequence[str]) -> list[NamedAttack]:
    """What a user names, also in one text with commas, each attack once.

    ``pgd`` and ``pgd[steps=20]`` are one.

    Raises:
        RobenchError: a name is unknown or cannot be used, or there is none.
    """
    if isinstance(requests, str):
        requests = split_names(requests)
    found = [find_attack(request) for request in dict.fromkeys(requests)]
    if not found:
        raise UsageError("no attack was named; see: robench list attacks")
    return list({attack.name: attack for attack in found}.values())


def find_attack(request: str) -> NamedAttack:
    """The attack of a specification: a name, with or without ``[parameter=value,…]``.

    Raises:
        UsageError: the name or a parameter is unknown, or a parameter has an invalid value.
        ContentError: the card is damaged.
        PluginError: the plug-in cannot be loaded.
    """
    name, changes = read_request(request)
    label(name, changes)  # refuse a name that is too long before anything is imported
    frames = changes.pop(FRAMES, None)
    named = _find(request, name, changes)
    if frames is None:
        return named
    if frames not in get_args(Frames):
        raise UsageError(
            f"attack {request}: parameter frames is {' or '.join(get_args(Frames))}, not {frames}"
        )
    if frames == named.frames:
        return named
    own, changed = read_request(named.name)
    return replace(named, name=label(own, changed | {FRAMES: frames}), frames=frames)


def _find(request: str, name: str, changes: dict[str, Any]) -> NamedAttack:
    cards, found = attack_files(), plugins(ATTACKS)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in LIBRARIES:
        return _of_library(request, prefix, rest, {}, changes)
    if name in found:
        if name in cards:
            origins = " and ".join(plugin.origin for plugin in found[name])
            raise UsageError(f"attack {name!r} is one of robench's and is claimed by {origins}")
        plugin = the_plugin(found, name)
        kind = plugin.load()
        if not (isinstance(kind, type) and issubclass(kind, Attack)):
            raise plugin.error("is not a subclass of robench.attacks.Attack")
        try:
            attack = _make(request, kind, changes)
            usual = _make(name, kind, {}) if changes and not _required(kind) else None
        except RobenchError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # abstract, or its own code raised
            raise plugin.error(f"cannot be made: {type(error).__name__}: {error}") from error
        version, description = f"{kind.version} ({plugin.origin})", _first_line(kind.__doc__)
        full_name = label(name, _changed(changes, dict(attack), dict(usual or ())))
        return NamedAttack(full_name, attack, name, version, description)
    if name not in cards:
        raise UsageError(
            f"unknown attack {name!r}{nearest(name, [*cards, *found])}; see: robench list attacks"
        )
    card = read_table(cards[name], AttackCard)
    prefix, colon, rest = card.implementation.partition(":")
    if colon and prefix in LIBRARIES:
        found_there = _of_library(request, prefix, rest, card.parameters, changes)
        _require_norm(cards[name], card, found_there.attack)
        full_name = name + found_there.name.removeprefix(card.implementation)
        return replace(
            found_there, name=full_name, description=card.description, frames=card.frames
        )
    if card.implementation not in IMPLEMENTATIONS:
        raise ContentError(
            f"{cards[name]}: key implementation: {card.implementation!r} is not registered"
            f"{nearest(card.implementation, IMPLEMENTATIONS)}"
        )
    kind = IMPLEMENTATIONS[card.implementation]
    _require_norm(cards[name], card, kind)
    try:
        usual = _read(kind, card.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("parameters", *map(str, first["loc"])))
        raise ContentError(f"{cards[name]}: key {key}: {_what(first)}") from None
    except UsageError as error:  # from a name inside, such as a surrogate's
        raise ContentError(f"{cards[name]}: table parameters: {error}") from None
    attack = _make(request, kind, card.parameters | changes)
    full_name = label(name, _changed(changes, dict(attack), dict(usual)))
    version = attack.full_version
    return NamedAttack(
        full_name, attack, card.implementation, version, card.description, card.frames
    )


def _require_norm(path: Path, card: AttackCard, attack: Attack | type[Attack]) -> None:
    if card.norm != attack.norm:
        raise ContentError(f"{path}: key norm: {path.stem} works in {attack.norm}, not {card.norm}")


def _of_library(
    request: str, prefix: str, name: str, given: dict[str, Any], changes: dict[str, Any]
) -> NamedAttack:
    """An attack of a library with the parameters of a card and those that the user changes."""
    library = LIBRARIES[prefix]
    offer, attack = library.find(name, given | changes, request)
    version = f"{attack.version} ({library.version})"
    changed = _changed(changes, attack.parameters, library.defaults(offer) | given)
    full_name = label(f"{prefix}:{name}", changed)
    return NamedAttack(full_name, attack, f"{prefix}:{offer.name}", version, offer.description)


def _make(request: str, kind: type[Attack], parameters: dict[str, Any]) -> Attack:
    try:
        return _read(kind, parameters)
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
            f"attack {request}: {where}{_what(first)}{hint}; parameters: {known}"
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


def _read(kind: type[Attack], parameters: Mapping[str, Any]) -> Attack:
    """The attack, with strict types: neither 20.0 nor true is accepted as an integer.

    The parameters are passed as JSON, in which a tuple is a list, as in a card.
    """
    return kind.model_validate_json(json.dumps(parameters, default=str), strict=True)


def _changed(
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


def _required(kind: type[Attack]) -> bool:
    """Whether an attack has parameters without a default."""
    return any(field.is_required() for field in kind.model_fields.values())


def _what(error: ErrorDetails) -> str:
    """The message of pydantic on a value, with the value if its type is wrong."""
    wrong_type = error["type"].endswith(("_type", "_parsing"))
    given = json.dumps(error["input"], default=str, ensure_ascii=False)
    message = plainly(error["msg"])
    return f"{message}, not {given}" if wrong_type and len(given) <= LONGEST else message


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
