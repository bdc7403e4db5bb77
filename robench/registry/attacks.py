"""Finding attacks: cards in ``attacks/``, plug-ins, and parameters in a specification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from robench.attacks import IMPLEMENTATIONS, Attack
from robench.attacks.backends import LIBRARIES
from robench.errors import ContentError, UsageError, nearest
from robench.plugins import ATTACKS, plugins, the_plugin
from robench.registry.attack_classes import NamedAttack, is_file, of_class, of_file, of_own
from robench.registry.attack_parameters import (
    FRAMES,
    changed,
    make_attack,
    read_parameters,
    what_is_wrong,
)
from robench.registry.attack_spec import label, read_request, split_names
from robench.registry.cards import AttackCard, Frames, read_table
from robench.registry.locations import attack_files, attack_names

AttackRequest = str | Attack | type[Attack]
"""An attack of a user: its specification, a class, or an attack with its parameters."""


def find_attacks(requests: AttackRequest | Sequence[AttackRequest]) -> list[NamedAttack]:
    """What a user asks for, also in one text with commas, each attack once.

    ``pgd`` and ``pgd[steps=20]`` are one.

    Raises:
        RobenchError: a name is unknown or cannot be used, two have one name, or there is none.
    """
    if isinstance(requests, str):
        requests = split_names(requests)
    elif not isinstance(requests, list | tuple):
        requests = [requests]  # type: ignore[list-item]
    found = [_asked_for(request) for request in requests]
    if not found:
        raise UsageError("no attack was named; see: robench list attacks")
    named: dict[str, NamedAttack] = {}
    for attack in found:
        if named.setdefault(attack.name, attack).version != attack.version:
            raise UsageError(
                f"two attacks are called {attack.name}; give the class of one another name, as in "
                "name = 'my-attack', or run them one by one"
            )
    return list(named.values())


def _asked_for(request: object) -> NamedAttack:
    if isinstance(request, str):
        return find_attack(request)
    kind = request if isinstance(request, type) else type(request)
    if not issubclass(kind, Attack):
        raise UsageError(
            f"attacks={request!r}: give names, such as ['pgd', 'spgd'], or attacks of your own, "
            "which are subclasses of robench.Attack"
        )
    changes = request.model_dump(mode="json") if isinstance(request, Attack) else {}
    if kind in IMPLEMENTATIONS.values():
        return _find(kind.name, kind.name, changes)
    where = f"{kind.__module__}.{kind.__qualname__}"
    return of_own(where, where, kind, changes, attack_names())


def find_attack(request: str) -> NamedAttack:
    """The attack of a specification: a name, with or without ``[parameter=value,…]``.

    The name may also be that of a class, ``path/to/file.py:MyAttack``.

    Raises:
        UsageError: the name or a parameter is unknown, or a parameter has an invalid value.
        ContentError: the card is damaged.
        PluginError: the plug-in cannot be loaded.
    """
    name, changes = read_request(request)
    if not is_file(name):
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
    own, parameters = read_request(named.name)
    return replace(named, name=label(own, parameters | {FRAMES: frames}), frames=frames)


def _find(request: str, name: str, changes: dict[str, Any]) -> NamedAttack:
    cards, found = attack_files(), plugins(ATTACKS)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in LIBRARIES:
        return _of_library(request, prefix, rest, {}, changes)
    if is_file(name):
        return of_file(request, name, changes, attack_names())
    if name in found:
        if name in cards:
            origins = " and ".join(plugin.origin for plugin in found[name])
            raise UsageError(f"attack {name!r} is one of robench's and is claimed by {origins}")
        plugin = the_plugin(found, name)
        kind = plugin.load()
        if not (isinstance(kind, type) and issubclass(kind, Attack)):
            raise plugin.error("is not a subclass of robench.attacks.Attack")
        return of_class(
            request, kind, changes, name, f"{kind.version} ({plugin.origin})", plugin.error
        )
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
            found_there, name=full_name, description=card.description, frames=card.frames,
            citation=card.citation,
        )  # fmt: skip
    if card.implementation not in IMPLEMENTATIONS:
        raise ContentError(
            f"{cards[name]}: key implementation: {card.implementation!r} is not registered"
            f"{nearest(card.implementation, IMPLEMENTATIONS)}"
        )
    kind = IMPLEMENTATIONS[card.implementation]
    _require_norm(cards[name], card, kind)
    try:
        usual = read_parameters(kind, card.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("parameters", *map(str, first["loc"])))
        raise ContentError(f"{cards[name]}: key {key}: {what_is_wrong(first)}") from None
    except UsageError as error:  # from a name inside, such as a surrogate's
        raise ContentError(f"{cards[name]}: table parameters: {error}") from None
    attack = make_attack(request, kind, card.parameters | changes)
    full_name = label(name, changed(changes, dict(attack), dict(usual)))
    version = attack.full_version
    return NamedAttack(
        full_name, attack, card.implementation, version, card.description, card.frames,
        card.citation,
    )  # fmt: skip


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
    own = changed(changes, attack.parameters, library.defaults(offer) | given)
    full_name = label(f"{prefix}:{name}", own)
    return NamedAttack(full_name, attack, f"{prefix}:{offer.name}", version, offer.description)
