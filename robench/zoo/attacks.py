"""Finding attacks: the cards in ``attacks/``, plug-ins, and parameters on the command line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from robench.attacks import IMPLEMENTATIONS, Attack
from robench.attacks.backends import LIBRARIES
from robench.errors import ContentError, UsageError, nearest
from robench.zoo.card import read_table
from robench.zoo.contents import attack_files
from robench.zoo.plugins import ATTACKS, plugins, the_plugin

_REQUEST = re.compile(r"^(?P<name>[^\[\]]+?)(?:\[(?P<parameters>[^\]]*)\])?$")


class AttackCard(BaseModel):
    """An attack card: a registered implementation, or a library's attack, with its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    implementation: str
    norm: str
    description: str
    citation: str
    parameters: dict[str, Any] = {}


@dataclass(frozen=True)
class NamedAttack:
    """An attack under the name that results carry, e.g. ``pgd`` or ``pgd[steps=100]``.

    Attributes:
        name: the card's name, with the parameters that the user changed.
        attack: the attack with all its parameters.
        implementation: the registered implementation.
        version: of the implementation; that of a plug-in or of a library's attack names the
            distribution and its version too.
        description: one line for people.
    """

    name: str
    attack: Attack
    implementation: str
    version: str
    description: str


def attack_names() -> dict[str, str]:
    """Every attack by name with where it comes from; nothing is imported."""
    names = dict.fromkeys(attack_files(), "robench")
    for name, claims in plugins(ATTACKS).items():
        names[name] = " and ".join(plugin.origin for plugin in claims)
    return dict(sorted(names.items()))


def split_names(text: str) -> list[str]:
    """Split ``a,b[x=1,y=2],c`` at the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def find_attack(request: str) -> NamedAttack:
    """The attack that a name, with or without ``[parameter=value,…]``, asks for.

    Raises:
        UsageError: the name is unknown, or a parameter is unknown or cannot take its value.
        ContentError: the card is damaged.
        PluginError: the plug-in cannot be loaded.
    """
    match = _REQUEST.match(request)
    if match is None:
        raise UsageError(f"cannot read the attack {request!r}; write it like pgd[steps=100]")
    name, changes = match["name"], _parameters(request, match["parameters"] or "")
    cards, found = attack_files(), plugins(ATTACKS)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in LIBRARIES:
        return _of_library(prefix, rest, changes)
    if name in found:
        if name in cards:
            origins = " and ".join(plugin.origin for plugin in found[name])
            raise UsageError(f"attack {name!r} is one of robench's and is claimed by {origins}")
        plugin = the_plugin(found, name)
        kind = plugin.load()
        if not (isinstance(kind, type) and issubclass(kind, Attack)):
            raise plugin.error("is not a subclass of robench.attacks.Attack")
        attack = _make(request, kind, changes)
        version, description = f"{kind.version} ({plugin.origin})", _first_line(kind.__doc__)
        return NamedAttack(_label(name, changes), attack, name, version, description)
    if name not in cards:
        raise UsageError(
            f"unknown attack {name!r}{nearest(name, [*cards, *found])}; see: robench list attacks"
        )
    card = read_table(cards[name], AttackCard)
    prefix, colon, rest = card.implementation.partition(":")
    if colon and prefix in LIBRARIES:
        found_there = _of_library(prefix, rest, card.parameters | changes)
        return replace(found_there, name=_label(name, changes), description=card.description)
    if card.implementation not in IMPLEMENTATIONS:
        raise ContentError(
            f"{cards[name]}: key implementation: {card.implementation!r} is not registered"
            f"{nearest(card.implementation, IMPLEMENTATIONS)}"
        )
    kind = IMPLEMENTATIONS[card.implementation]
    if card.norm != kind.norm:
        raise ContentError(f"{cards[name]}: key norm: {name} works in {kind.norm}, not {card.norm}")
    try:
        kind(**card.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("parameters", *map(str, first["loc"])))
        raise ContentError(f"{cards[name]}: key {key}: {first['msg']}") from None
    attack = _make(request, kind, card.parameters | changes)
    return NamedAttack(
        _label(name, changes), attack, card.implementation, str(kind.version), card.description
    )


def _of_library(prefix: str, name: str, changes: dict[str, Any]) -> NamedAttack:
    library = LIBRARIES[prefix]
    offer, attack = library.find(name, changes)
    version = f"{attack.version} ({library.version})"
    label = _label(f"{prefix}:{name}", changes)
    return NamedAttack(label, attack, f"{prefix}:{offer.name}", version, offer.description)


def _parameters(request: str, text: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, sign, value = part.partition("=")
        if not sign:
            raise UsageError(f"attack {request}: write parameters as name=value, not {part!r}")
        try:
            changes[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            changes[key.strip()] = value.strip()
    return changes


def _make(request: str, kind: type[Attack], parameters: dict[str, Any]) -> Attack:
    try:
        return kind(**parameters)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(kind.model_fields) or "none"
        raise UsageError(
            f"attack {request}: parameter {key}: {first['msg']}; parameters: {known}"
        ) from None


def _label(name: str, changes: dict[str, Any]) -> str:
    inside = ",".join(f"{key}={value}" for key, value in sorted(changes.items()))
    return f"{name}[{inside}]" if inside else name


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
