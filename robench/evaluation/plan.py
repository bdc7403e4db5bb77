"""The plan of a run: its cells, and what the store already has of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import get_args

from robench.datasets import Dataset, Images, find_dataset
from robench.epsilon import NORMS, Epsilon
from robench.errors import ContentError, MissingDataError, RobenchError, UsageError
from robench.evaluation.cell import Cell, Settings
from robench.evaluation.request import Request
from robench.evaluation.slices import read_slice
from robench.evaluation.source_models import Sources
from robench.registry import Model, ModelEntry, NamedAttack, model_entries
from robench.results import EOT, CellResult, Damaged, ResultStore, Thoroughness
from robench.runtime.device import find_device

LARGEST: dict[str, Callable[[int], float]] = {"linf": lambda pixels: 1.0, "l2": math.sqrt}
"""The largest distance of two images with a number of pixels in [0, 1], by norm."""
_LEVELS = get_args(Thoroughness)


@dataclass(frozen=True)
class Skipped:
    """A model that is left out of a plan, and why.

    Attributes:
        model: its id.
        reason: one line.
        unloadable: whether loading it failed, rather than its data or settings being missing.
    """

    model: str
    reason: str
    unloadable: bool = False


@dataclass(frozen=True)
class Planned:
    """A cell of a plan.

    Attributes:
        cell: the cell.
        digest: its hash.
        stored: its result in the store, None without one.
        lacks: what a result that is done lacks of what was asked for: ``examples``, ``checks``, or
            nothing.
        pattern: what selects the model alone, see :class:`~robench.registry.ModelEntry`.
    """

    cell: Cell
    digest: str
    stored: CellResult | Damaged | None
    lacks: str = ""
    pattern: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        if not isinstance(self.stored, CellResult) or self.lacks:
            return False
        return self.stored.status != "failed"


@dataclass(frozen=True)
class Plan:
    """All cells of a run, and the models that are left out."""

    cells: tuple[Planned, ...]
    skipped: tuple[Skipped, ...]

    @classmethod
    def joined(cls, plans: Iterable[Plan]) -> Plan:
        """All cells of several plans, and what any of them leaves out, once."""
        several = list(plans)
        skipped = dict.fromkeys(one for plan in several for one in plan.skipped)
        return cls(tuple(cell for plan in several for cell in plan.cells), tuple(skipped))


def make_plan(
    entries: Sequence[ModelEntry],
    attacks: Sequence[NamedAttack],
    request: Request,
    store: ResultStore,
    models_dir: Path | None = None,
    find: Callable[[str], Dataset] | None = None,
    targets: Sequence[ModelEntry] | None = None,
) -> Plan:
    """Build the cells and look them up in the store; no weights of a checkpoint are loaded.

    Args:
        entries: the models.
        attacks: the attacks.
        request: the settings.
        store: with earlier results.
        models_dir: folder in which the source models of a transfer attack are searched first.
        find: returns a data set by its name, instead of the registered one.
        targets: the models of the whole run, if ``entries`` are some of them: a transfer attack
            may name one as its source.

    Raises:
        RobenchError: a model that the user named cannot run. A model that a glob found is skipped.
        UsageError: the device does not exist; T is given and no model has time steps, or a model
            that the user named takes frames, whose number is T; or a number of draws is given and
            no model is stochastic.
    """
    request, find = replace(request, device=find_device(request.device)), find or find_dataset

    @cache  # the models of a data set share its images and their digest
    def images(name: str) -> Images:
        return read_slice(find(name), request.limit, request.split)

    sources = Sources(partial(model_entries, models_dir), entries if targets is None else targets)
    planned: list[Planned] = []
    skipped: list[Skipped] = []
    for entry in entries:
        if entry.missing and not entry.named:
            skipped.append(Skipped(entry.id, entry.missing))
            continue
        try:
            model = entry.load()
            dataset = _dataset_of(model, find)
            if reason := _fixed_timesteps(model, request.timesteps):
                if entry.named:
                    raise UsageError(reason)
                skipped.append(Skipped(entry.id, reason))
                continue
            if model.timesteps is not None and request.timesteps is not None:
                model = model.changed(timesteps=request.timesteps)
            for attack in attacks:
                cell = _cell(model, attack, dataset, request, images, sources)
                planned.append(look_up(cell, store, entry.pattern))
        except RobenchError as error:
            if entry.named or isinstance(error, UsageError):
                raise
            unloadable = not isinstance(error, MissingDataError)
            skipped.append(Skipped(entry.id, str(error), unloadable=unloadable))
    if (
        request.timesteps is not None
        and planned
        and not any(p.cell.model.timesteps for p in planned)
    ):
        raise UsageError(
            f"timesteps {request.timesteps}: none of these models has time steps; leave it out"
        )
    if request.eot is not None and planned and not any(p.cell.stochastic for p in planned):
        raise UsageError(f"eot {request.eot}: none of these models is stochastic; leave it out")
    return Plan(tuple(planned), tuple(skipped))


def look_up(cell: Cell, store: ResultStore, pattern: str = "") -> Planned:
    """A cell with its result in the store; the pattern selects its model alone."""
    digest = cell.identity.digest()
    stored = store.find(cell.model.id, cell.attack.name, digest)
    lacks = ""
    if isinstance(stored, CellResult) and stored.outcome is not None:
        if cell.settings.examples and not store.has_examples(stored):
            lacks = "examples"
        elif _LEVELS.index(stored.outcome.checked) < _LEVELS.index(cell.settings.checks):
            lacks = "checks"
    return Planned(cell, digest, stored, lacks, pattern)


def stored_since(planned: Planned, store: ResultStore) -> CellResult | None:
    """The result that another run has stored since the plan, if nothing is left to compute.

    None for a cell that was done before: it is computed again on purpose.
    """
    if planned.done:
        return None
    now = look_up(planned.cell, store)
    return now.stored if now.done and isinstance(now.stored, CellResult) else None


def _dataset_of(model: Model, find: Callable[[str], Dataset]) -> Dataset:
    """The data set of a model, which the model can take."""
    try:
        dataset = find(model.dataset)
    except UsageError as error:  # the model's fault, which must not stop other models
        raise ContentError(f"model {model.id}: {error}") from None
    if reason := dataset.mismatch(model.input_kind, model.timesteps):
        raise ContentError(f"model {model.id} {reason}")
    if model.classes < dataset.classes:
        raise ContentError(
            f"model {model.id} has {model.classes} classes, "
            f"data set {dataset.name} has {dataset.classes}"
        )
    return dataset


def _fixed_timesteps(model: Model, timesteps: int | None) -> str:
    """Why a model cannot run at the given T; empty if it can."""
    if timesteps is None or model.timesteps in (None, timesteps):
        return ""
    if model.input_kind == "frames":
        return (
            f"timesteps {timesteps}: model {model.id} takes one frame at each time step, so its "
            "T is that of the data; leave one of the two out"
        )
    if not model.checkpoint:
        return (
            f"timesteps {timesteps}: model {model.id} runs at its own T of {model.timesteps}, "
            "which only its own code can change; leave the option out"
        )
    return ""


def _epsilons(attack: NamedAttack, dataset: Dataset, request: Request) -> tuple[Epsilon, ...]:
    norm = attack.attack.norm
    if request.eps is not None:
        return request.eps
    if request.grid is not None:
        return request.grid.epsilons(attack.implementation, norm)
    if norm not in dataset.protocol.grids:
        raise UsageError(f"data set {dataset.name} has no grid for {norm}; give one with --eps")
    return dataset.protocol.grids[norm]


def _cell(
    model: Model,
    attack: NamedAttack,
    dataset: Dataset,
    request: Request,
    images: Callable[[str], Images],
    sources: Sources,
) -> Cell:
    norm = attack.attack.norm
    if norm not in NORMS:
        raise UsageError(
            f"attack {attack.name} is measured in {norm!r}; ε is swept in {' and '.join(NORMS)}"
        )
    epsilons = _epsilons(attack, dataset, request)
    least = attack.attack.least_classes
    if model.classes < least:
        raise UsageError(
            f"attack {attack.name} is undefined for fewer than {least} classes; "
            f"model {model.id} has {model.classes}: leave one of the two out"
        )
    grid = dataset.protocol.grid(norm, epsilons)
    pixels = dataset.shape[-3:] if attack.shared else dataset.shape
    largest = LARGEST[norm](math.prod(pixels))
    if grid[-1].value > largest:
        raise UsageError(
            f"ε {grid[-1].text} lies outside [0, {largest:g}]: no two images of {dataset.name} "
            f"are further apart in {NORMS[norm]}"
        )
    settings = Settings(
        grid=grid,
        seed=request.seed,
        sweep=request.sweep,
        reference=request.reference,
        batch_size=request.batch_size,
        device=request.device,
        examples=request.examples,
        split=request.split,
        eot=EOT if request.eot is None else request.eot,
        checks=request.checks,
    )
    found = sources.of(attack.attack, model)
    return Cell(model, attack, dataset, images(dataset.name), settings, found)
