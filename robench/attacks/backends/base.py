"""What the attacks of all libraries share: what is on offer, parameters, and one run.

A library sees the model as a torch module whose calls the view counts. It searches at one ε at a
time, in the ball and box of robench; whatever it returns, the engine projects and verifies.
"""

from __future__ import annotations

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from robench.attacks.backends.adapter import Adapter, seeded, seeds
from robench.attacks.backends.trial import require_sound
from robench.attacks.contract.attack import DirectAttack
from robench.attacks.contract.view import Noise, View
from robench.errors import UsageError, nearest


@dataclass(frozen=True)
class Offer:
    """An attack of a library.

    Attributes:
        name: of its class.
        kind: the class.
        aliases: other names that the library gives it.
        reason: why it cannot run here, empty where it can.
    """

    name: str
    kind: type[Any]
    aliases: tuple[str, ...] = ()
    reason: str = ""

    @property
    def description(self) -> str:
        """One line for people."""
        if self.reason:
            return self.reason
        first = (self.kind.__doc__ or "").strip().partition("\n")[0].strip()
        also = f" (also {', '.join(self.aliases)})" if self.aliases else ""
        return f"{first}{also}".strip()


class LibraryAttack(DirectAttack, ABC):
    """An attack of a library with its parameters.

    Attributes:
        attack: the library's name for it.
        parameters: all of them, the library's defaults filled in.
    """

    name: ClassVar[str] = "library"
    library: ClassVar[str]

    attack: str
    parameters: dict[str, Any]

    @property
    def finders(self) -> tuple[str, ...]:
        """The attack, with its library."""
        return (f"{self.library}:{self.attack}",)

    @property
    def together(self) -> bool:
        """Whether rows may share a call of the library.

        That is so where each call of the model has one input for each row, whatever becomes of
        the others. All other attacks get one sample at a time: only then do counts and random
        numbers belong to the sample.
        """
        return False

    @abstractmethod
    def search(self, adapter: Adapter, x: Tensor, y: Tensor, eps: float) -> Tensor:
        """What the library returns for rows that share an ε."""

    def run(self, view: View, x: Tensor, y: Tensor, eps: Tensor, noise: Noise) -> Tensor:
        """The nearest example that the library tried inside the ball, or else what it returns."""
        found = x.clone()
        numbers = seeds(noise)
        for value in sorted(set(eps[eps > 0].tolist())):
            rows = (eps == value).nonzero().squeeze(1)
            for some in rows.split(len(rows) if self.together else 1):
                adapter = Adapter(view, some, x[some], y[some], value, self.norm)
                with seeded([numbers[int(row)] for row in some]), torch.enable_grad(), _quiet():
                    images = x[some].flatten(1, -3).clone()  # frames become channels
                    answer = self.search(adapter, images, y[some], value)
                found[some] = adapter.best(answer.detach().to(x.dtype).reshape(x[some].shape))
        return found


@dataclass(frozen=True)
class Library:
    """A library whose attacks can be named.

    Attributes:
        name: the prefix of its attacks.
        distribution: what pip installs.
        load: imports it.
        offers: its attacks, each with the reason why it cannot run, where there is one.
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
            UsageError: it is missing or broken.
        """
        try:
            self.load()
        except ModuleNotFoundError as error:
            if error.name != self.name:
                raise self._broken(error) from None
            raise UsageError(
                f"{self.name} is not installed; get it with: pip install {self.distribution}"
            ) from None
        except Exception as error:  # a broken library may raise anything
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> UsageError:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return UsageError(f"{self.name} cannot be imported: {text}; see: robench doctor")

    @property
    def version(self) -> str:
        """The library with its version, for the identity of a result."""
        return f"{self.distribution} {version(self.distribution)}"

    def find(
        self, name: str, changes: Mapping[str, Any], request: str = ""
    ) -> tuple[Offer, LibraryAttack]:
        """An attack with all its parameters.

        Where parameters are set the attack is tried on a made-up image, because most libraries
        look at a parameter no sooner than an attack runs.

        Args:
            name: of the attack, without the prefix.
            changes: the parameters that the user set.
            request: what errors call the attack; its own name by default.

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
            text = " ".join(str(error).split())
            told = text or f"its parameters end in a bare {type(error).__name__} of {self.name}"
            raise UsageError(f"attack {label}: {told}") from None
        return offer, attack


def _parameter(label: str, key: str, value: Any, defaults: Mapping[str, Any]) -> Any:
    """A value that the parameter can take; an integer as a float where the default is one."""
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


@contextmanager
def _quiet() -> Iterator[None]:
    """A library warns of searches that found nothing: that, the engine finds out by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def offers_of(attacks: ModuleType, reason: Callable[[type[Any]], str]) -> list[Offer]:
    """Every attack class of a library's module ``attacks``, by name.

    Args:
        attacks: the module; its ``Attack`` is the base class.
        reason: why a class cannot run here, empty where it can.
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
