"""Attacks that are classes of other code: those of plug-ins, and of files of a user."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from robench.attacks import Attack
from robench.errors import PluginError, RobenchError, UsageError
from robench.model_id import dashed
from robench.registry.attack_parameters import FRAMES, changed, has_required, make_attack
from robench.registry.attack_spec import label
from robench.registry.cards import Frames
from robench.registry.fingerprint.hasher import CONSTRUCTORS, Hasher
from robench.user_code import called, imported

DIGITS = 16
"""Of the SHA-256 of a class, in the version of its attack."""


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
        citation: where it was published; empty if that is not known.
    """

    name: str
    attack: Attack
    implementation: str
    version: str
    description: str
    frames: Frames = "all"
    citation: str = ""

    @property
    def shared(self) -> bool:
        """Whether one perturbation is shared by all frames of a sample."""
        return self.frames == "shared"

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, for the identity of a result; ``frames`` if it is ``shared``."""
        own: dict[str, Any] = self.attack.model_dump(mode="json")
        return own | ({FRAMES: self.frames} if self.shared else {})


def is_file(name: str) -> bool:
    """Whether the name of an attack is like ``path/to/file.py:MyAttack``."""
    return ".py:" in name


def of_file(
    request: str, text: str, changes: dict[str, Any], taken: Collection[str]
) -> NamedAttack:
    """The attack of ``path/to/file.py:MyAttack``, whose version has the SHA-256 of its code.

    Its name is that of the class: ``name``, if the class has one of its own, or else ``my-attack``.

    Args:
        request: as the user wrote it.
        text: the request without parameters.
        changes: the parameters.
        taken: the names of other attacks.

    Raises:
        PluginError: it cannot be imported, or is something else.
        UsageError: a parameter is wrong, another attack has its name, or its code cannot be hashed.
    """
    with imported(text) as kind:
        return of_own(request, text, kind, changes, taken)


def of_own(
    request: str, text: str, kind: object, changes: dict[str, Any], taken: Collection[str]
) -> NamedAttack:
    """The attack of a user's class; the arguments and errors are those of :func:`of_file`."""

    def fail(what: str) -> RobenchError:
        return PluginError(f"attack {text} {what}")

    if not (isinstance(kind, type) and issubclass(kind, Attack)):
        raise fail("is not a subclass of robench.Attack, such as robench.DirectAttack")
    name = vars(kind).get("name", dashed(kind.__name__.replace("_", "-")))
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        raise fail(f"is called {name!r}; give it a name in letters, digits and . _ + -")
    if name in taken:
        raise UsageError(
            f"attack {text} is called {name!r}, as another one; give the class another name: "
            f"name = 'my-{name}'"
        )
    if not hasattr(kind, "name"):
        kind.name = name
    return of_class(request, kind, changes, name, _version(text, kind), fail)


def of_class(
    request: str,
    kind: type[Attack],
    changes: dict[str, Any],
    name: str,
    version: str,
    fail: Callable[[str], RobenchError],
) -> NamedAttack:
    """The attack of a class of other code.

    Args:
        request: as the user wrote it.
        kind: the class.
        changes: the parameters.
        name: of the attack without parameters.
        version: what stands for the code.
        fail: makes the error of a class that raises something.
    """

    def make() -> tuple[Attack, Attack | None]:
        attack = make_attack(request, kind, changes)
        return attack, make_attack(name, kind, {}) if changes and not has_required(kind) else None

    try:
        attack, usual = called(
            make, lambda what: fail(f"cannot be made: {what.removeprefix('failed: ')}")
        )
    except RobenchError as error:
        if isinstance(error.__cause__, RobenchError):  # a parameter is wrong
            raise error.__cause__ from None
        raise
    full_name = label(name, changed(changes, dict(attack), dict(usual or ())))
    description = (kind.__doc__ or "").strip().partition("\n")[0]
    return NamedAttack(full_name, attack, name, version, description)


def _version(text: str, kind: type[Attack]) -> str:
    """The version of a class with the SHA-256 of its code and of what that names."""
    hasher = Hasher()
    hasher.names |= CONSTRUCTORS
    try:
        sha256 = hasher.digest([hasher.reference(kind), hasher.code()], kind.__name__).hex()
    except (RobenchError, RecursionError):
        if "version" in vars(kind):
            return f"{kind.version}"
        raise UsageError(
            f"attack {text}: its code names what cannot be hashed; give the class a version, "
            "version = 1, and raise it whenever the code changes"
        ) from None
    return f"{kind.version} (code {sha256[:DIGITS]})"
