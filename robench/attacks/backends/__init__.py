"""Attacks of other libraries as attacks of robench: ``foolbox:NAME`` and ``advertorch:NAME``.

A library is imported when one of its attacks is named or its attacks are listed.
"""

from __future__ import annotations

from robench.attacks.backends.advertorch import ADVERTORCH
from robench.attacks.backends.foolbox import FOOLBOX
from robench.attacks.backends.library import Library, Offer
from robench.attacks.backends.library_attack import LibraryAttack

LIBRARIES: dict[str, Library] = {library.name: library for library in (FOOLBOX, ADVERTORCH)}
"""The libraries by the prefix of their attacks."""

__all__ = ["LIBRARIES", "Library", "LibraryAttack", "Offer"]
