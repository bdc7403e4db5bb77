"""Robust accuracy against wall time at one ε: attacks of several lengths, in fresh processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from performance.checkpoints import available, load_images
from performance.options import Options
from performance.robench_side import at_length
from performance.sweep import peer_sweep, robench_sweep, row_of
from performance.targets import AUTHORS, FOOLBOX_PGD, SCALED, THEIRS
from performance.timing import isolated
from robench.datasets import find_dataset
from robench.model_id import ModelId

ATTACKS = {
    "spgd": "spgd",
    AUTHORS: "sapgd[steps=100,surrogate=assg(0.425)]",
    SCALED: "sapgd[steps=140,surrogate=assg_scaled(0.425)]",
    "apgd-ce": "apgd-ce",
}
"""robench's attacks by their labels."""
FOOLBOX = "Foolbox"
FOOLBOX_STEPS = 40
"""The default number of steps of Foolbox's PGD."""
EPSILON = {"cifar10": "1/255"}
"""ε where the headline ε leaves no image robust on a network without adversarial training."""


@dataclass(frozen=True)
class Run:
    """An attack of one length.

    Attributes:
        label: of its line.
        attack: its specification, or ``Foolbox``.
        steps: the largest number of gradient steps of a sample.
        default: whether this is the number of steps that a user gets without asking.
    """

    label: str
    attack: str
    steps: int
    default: bool


def runs(role: str, options: Options) -> list[Run]:
    """The runs on a model; the competitors alternate.

    Without spikes the surrogate has no effect, so SA-PGD runs there with its authors' settings
    alone.
    """
    found = []
    for k in range(len(options.lengths) + 1):
        for label, attack in ATTACKS.items() if k < len(options.lengths) else ():
            if label != SCALED or role != "ANN":
                sized, steps = at_length(attack, options.lengths[k])
                found.append(Run(label, sized, steps, options.lengths[k] == 1))
        steps = options.steps << k
        found.append(Run(FOOLBOX_PGD, FOOLBOX, steps, steps == FOOLBOX_STEPS))
    return found


def epsilon_of(model_id: str, options: Options) -> str:
    """The ε of a model: of the options, or that of its data set."""
    dataset = find_dataset(ModelId(model_id).dataset)
    chosen = EPSILON.get(dataset.name, dataset.protocol.headline["linf"])
    return options.strength_eps or str(chosen)


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The tables so far, after each run."""
    tables: list[dict[str, Any]] = []
    for role, asked in options.roles:
        model_id = available(asked)
        epsilon = epsilon_of(model_id, options)
        sized = replace(options, images=options.strength_images, grid=("0", epsilon))
        measured: dict[Run, list[dict[str, Any]]] = {}
        tables.append(
            {
                "role": role,
                "model": model_id,
                "asked": asked,
                "images": len(load_images(model_id, sized.images)[1]),
                "epsilon": epsilon,
                "repetitions": options.sweep_repetitions,
                "rows": [],
            }
        )
        for _ in range(options.sweep_repetitions):
            for run in runs(role, options):
                measured.setdefault(run, []).append(_measured(model_id, run, sized))
                tables[-1]["rows"] = [_row(*of) for of in measured.items()]
                yield {"tables": tables}


def _measured(model_id: str, run: Run, options: Options) -> dict[str, Any]:
    if run.attack != FOOLBOX:
        return isolated(
            options.threads, robench_sweep, model_id, run.attack, options, compiled=True
        )
    stepped = replace(options, steps=run.steps)
    return isolated(options.threads, peer_sweep, model_id, FOOLBOX, THEIRS, stepped)


def _row(run: Run, found: list[dict[str, Any]]) -> dict[str, Any]:
    column = THEIRS if run.attack == FOOLBOX else ""
    return asdict(run) | row_of(run.attack, column, found)
