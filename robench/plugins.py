"""Entry points of other distributions. Listing them imports nothing; ``load`` does."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import Any

from robench.errors import PluginError
from robench.text import one_line

MODELS = "robench.models"
ATTACKS = "robench.attacks"
DATASETS = "robench.datasets"
CHECKS = "robench.checks"
GROUPS = (MODELS, ATTACKS, DATASETS, CHECKS)


@dataclass(frozen=True)
class Plugin:
    """One entry point.

    Attributes:
        name: as users write it.
        group: the entry-point group.
        origin: distribution and version.
        entry: the entry point itself.
    """

    name: str
    group: str
    origin: str
    entry: EntryPoint

    def load(self) -> Any:
        """Import the object.

        Raises:
            PluginError: the import failed; the message names plug-in, distribution and error.
        """
        try:
            return self.entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plug-in may raise anything
            raise self.error(f"failed to import: {type(error).__name__}: {error}") from error

    def error(self, what: str) -> PluginError:
        """An error that names this plug-in and its distribution."""
        text = f"{self.group} plug-in {self.name!r} from {self.origin} ({self.entry.value}) {what}"
        return PluginError(one_line(text))


def plugins(group: str) -> dict[str, list[Plugin]]:
    """The plug-ins of a group by name; a name that two distributions claim has two entries."""
    found: defaultdict[str, list[Plugin]] = defaultdict(list)
    for entry in _installed(group, tuple(sys.path)):
        plugin = Plugin(entry.name, group, _origin(entry), entry)
        if plugin not in found[entry.name]:
            found[entry.name].append(plugin)
    return dict(found)


def _origin(entry: EntryPoint) -> str:
    """Distribution and version of an entry point."""
    try:
        if entry.dist is not None:
            return one_line(f"{entry.dist.name} {entry.dist.version}")
    except Exception:  # its metadata are damaged
        pass
    return "an unknown distribution"


@cache
def _installed(group: str, path: tuple[str, ...]) -> list[EntryPoint]:
    """The entry points of a group, read once for each import path: that takes some 30 ms.

    The first distribution of a name counts; one whose metadata are damaged is left out.
    """
    found: dict[str, list[EntryPoint]] = {}
    for dist in distributions():
        try:
            name = getattr(dist, "_normalized_name", None) or dist.name  # by the folder's name
            if name not in found:
                found[name] = list(dist.entry_points.select(group=group))
        except Exception:
            continue
    return [entry for entries in found.values() for entry in entries]


def the_plugin(found: Mapping[str, list[Plugin]], name: str) -> Plugin:
    """The plug-in of that name.

    Raises:
        PluginError: two distributions claim the name.
    """
    claims = found[name]
    if len(claims) > 1:
        origins = " and ".join(sorted(plugin.origin for plugin in claims))
        raise PluginError(f"{claims[0].group} plug-in {name!r} is claimed by {origins}")
    return claims[0]
