"""Attacks of other libraries as attacks of robench: ``foolbox:NAME`` and ``advertorch:NAME``.

No library is imported before one of its attacks is named or its attacks are listed.
"""

from __future__ import annotations

from robench.attacks.backends.advertorch import ADVERTORCH
from robench.attacks.backends.base import Library, LibraryAttack, Offer
from robench.attacks.backends.foolbox import FOOLBOX

LIBRARIES: dict[str, Library] = {library.name: library for library in (FOOLBOX, ADVERTORCH)}
"""The libraries by the prefix of their attacks."""

__all__ = ["LIBRARIES", "Library", "LibraryAttack", "Offer"]
