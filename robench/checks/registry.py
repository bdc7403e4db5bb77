"""The checks by kind: what each looks at, what it says, and what to do then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import pandas as pd
from torch import Tensor

from robench.attacks import Attack
from robench.engine.chunk import Chunk
from robench.plugins import CHECKS, plugins, the_plugin
from robench.registry import Model
from robench.results import Check

Subject = TypeVar("Subject")


class Examined(NamedTuple):
    """A model before an attack, on its device.

    Attributes:
        model: the model, surveyed.
        x: clean images, ``(N, C, H, W)``.
        y: their labels, ``(N,)``.
    """

    model: Model
    x: Tensor
    y: Tensor


class Attacked(NamedTuple):
    """A cell after its sweep, with the model on its device.

    Attributes:
        model: the model under attack.
        attack: the attack.
        chunk: the first images.
        rows: of all samples, as in the Parquet file and with ``zero_gradient``.
        points: number of ε, with 0.
        seed: of the attack.
        sources: other models that the attack uses.
        published: whether model and images are those of the card's accuracy.
    """

    model: Model
    attack: Attack
    chunk: Chunk
    rows: pd.DataFrame
    points: int
    seed: int
    sources: tuple[Model, ...]
    published: bool


@dataclass(frozen=True)
class Registered(Generic[Subject]):
    """A check.

    Attributes:
        name: as in results.
        measure: the check; None where it does not apply.
        sees: what it finds, in a sentence.
        advice: what to do then.
        source: who proposed it.
    """

    name: str
    measure: Callable[[Subject], Check | None]
    sees: str
    advice: str
    source: str = ""


class ModelCheck(Registered[Examined]):
    """A check of a model before an attack."""


class CellCheck(Registered[Attacked]):
    """A check of a cell after its sweep."""


C = TypeVar("C", bound=ModelCheck | CellCheck)


def with_plugins(own: Sequence[C], kind: type[C]) -> list[C]:
    """Robench's own checks of a kind, and those of plug-ins.

    Raises:
        PluginError: a plug-in cannot be imported, or is no check.
    """
    found, checks = plugins(CHECKS), list(own)
    for name in sorted(found):
        plugin = the_plugin(found, name)
        check = plugin.load()
        if not isinstance(check, ModelCheck | CellCheck):
            raise plugin.error(f"is a {type(check).__name__}, no ModelCheck or CellCheck")
        if isinstance(check, kind):
            checks.append(check)
    return checks


def measured(checks: Sequence[Registered[Subject]], subject: Subject) -> list[Check]:
    """The records of those checks that apply, in their order."""
    found = (check.measure(subject) for check in checks)
    return [record for record in found if record is not None]
