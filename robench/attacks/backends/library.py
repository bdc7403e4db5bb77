"""A library of attacks: which attacks it has, and how one is made from its name and parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

from robench.attacks.backends.library_attack import LibraryAttack
from robench.attacks.backends.trial import require_sound
from robench.errors import UsageError, nearest
from robench.text import one_line


@dataclass(frozen=True)
class Offer:
    """An attack of a library.

    Attributes:
        name: the name of its class.
        kind: the class.
        aliases: other names of the class in the library.
        reason: why it cannot run here; empty if it can.
    """

    name: str
    kind: type[Any]
    aliases: tuple[str, ...] = ()
    reason: str = ""

    @property
    def description(self) -> str:
        """One line for users: the reason, or the first line of the class's docstring."""
        if self.reason:
            return self.reason
        first = (self.kind.__doc__ or "").strip().partition("\n")[0].strip()
        also = f" (also {', '.join(self.aliases)})" if self.aliases else ""
        return f"{first}{also}".strip()


@dataclass(frozen=True)
class Library:
    """A library whose attacks can be named.

    Attributes:
        name: the prefix of its attacks.
        distribution: what pip installs.
        load: imports it.
        offers: its attacks.
        make: the attack with its parameters.
        defaults: the parameters of an attack that a user may set, with their defaults.
    """

    name: str
    distribution: str
    load: Callable[[], ModuleType]
    offers: Callable[[], list[Offer]]
    make: Callable[[Offer, dict[str, Any]], LibraryAttack]
    defaults: Callable[[Offer], dict[str, Any]]

    def require(self) -> None:
        """Import the library.

        Raises:
            UsageError: it is not installed or cannot be imported.
        """
        try:
            self.load()
        except ModuleNotFoundError as error:
            if error.name != self.name:
                raise self._import_error(error) from None
            raise UsageError(
                f"{self.name} is not installed; get it with: pip install {self.distribution}"
            ) from None
        except Exception as error:  # an import may raise anything
            raise self._import_error(error) from None

    def _import_error(self, error: Exception) -> UsageError:
        text = one_line(f"{type(error).__name__}: {error}")
        return UsageError(f"{self.name} cannot be imported: {text}; see: robench doctor")

    @property
    def version(self) -> str:
        """The library with its version, for the identity of a result."""
        return f"{self.distribution} {version(self.distribution)}"

    def find(
        self, name: str, changes: Mapping[str, Any], request: str = ""
    ) -> tuple[Offer, LibraryAttack]:
        """An attack with all its parameters.

        If parameters are set, the attack is tried on a synthetic image, because most libraries
        check a parameter only when an attack runs.

        Args:
            name: the name of the attack, without the prefix.
            changes: the parameters that the user set.
            request: the text that errors quote; the prefix and the name by default.

        Raises:
            UsageError: the library is missing, has no such attack or cannot run it here, a
                parameter is unknown or cannot take its value, or the trial fails.
        """
        self.require()
        offers = self.offers()
        known = {alias: offer for offer in offers for alias in (offer.name, *offer.aliases)}
        label = f"{self.name}:{name}"
        if name not in known:
            raise UsageError(
                f"unknown attack {label!r}{nearest(name, known, f'{self.name}:')}; "
                "see: robench list attacks"
            )
        offer, label = known[name], request or label
        if offer.reason:
            raise UsageError(f"attack {label} cannot run: {offer.reason}")
        defaults = self.defaults(offer)
        chosen = {key: _parameter(label, key, value, defaults) for key, value in changes.items()}
        try:
            attack = self.make(offer, {**defaults, **chosen})
            if chosen:
                require_sound(attack, self.make(offer, defaults))
        except Exception as error:  # a library may raise anything for a value it cannot take
            text = one_line(error)
            what = text or f"its parameters raise a bare {type(error).__name__} of {self.name}"
            raise UsageError(f"attack {label}: {what}") from None
        return offer, attack


def _parameter(label: str, key: str, value: Any, defaults: Mapping[str, Any]) -> Any:
    """The checked value of a parameter; an integer becomes a float if the default is one."""
    if key not in defaults:
        raise UsageError(
            f"attack {label}: there is no parameter {key}{nearest(key, defaults)}; "
            f"parameters: {', '.join(defaults) or 'none'}"
        )
    default = defaults[key]
    wanted: type | tuple[type, ...] = type(default)
    if default is None or isinstance(default, float):
        wanted = (int, float)
    fits = isinstance(value, bool) == isinstance(default, bool) and isinstance(value, wanted)
    if not fits:
        kind = "a number" if wanted == (int, float) else f"of type {type(default).__name__}"
        raise UsageError(f"attack {label}: parameter {key} is {kind}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"attack {label}: parameter {key} is a finite number, not {value}")
    return float(value) if isinstance(default, float) else value


def offers_of(attacks: ModuleType, reason: Callable[[type[Any]], str]) -> list[Offer]:
    """Every attack class of a library's module ``attacks``, by name.

    Args:
        attacks: the module; its ``Attack`` is the base class.
        reason: why a class cannot run here; empty if it can.
    """
    names: dict[type[Any], list[str]] = {}
    for name, kind in vars(attacks).items():
        known = isinstance(kind, type) and issubclass(kind, attacks.Attack)
        if known and kind is not attacks.Attack:
            names.setdefault(kind, []).append(name)
    offers = []
    for kind, claims in names.items():
        aliases = tuple(sorted(name for name in claims if name != kind.__name__))
        offers.append(Offer(kind.__name__, kind, aliases, reason(kind)))
    return sorted(offers, key=lambda offer: offer.name)


def constructor_defaults(kind: type[Any], hidden: frozenset[str]) -> dict[str, Any]:
    """The parameters of a constructor that are plain data, with their defaults."""
    return {
        key: parameter.default
        for key, parameter in inspect.signature(kind).parameters.items()
        if key not in hidden and isinstance(parameter.default, int | float | str | None)
    }
