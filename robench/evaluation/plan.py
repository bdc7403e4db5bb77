"""From names to cells, and through the cells one by one."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from robench.attacks.primitives.norms import NORMS
from robench.datasets import Images, Split, find_dataset
from robench.engine.evaluation_draws import EOT
from robench.engine.search import SweepName
from robench.epsilon import parse_grid
from robench.errors import ContentError, MissingDataError, RobenchError, UsageError
from robench.evaluation.cell import Cell, Settings
from robench.evaluation.evaluate import evaluate_cell
from robench.evaluation.grids import NamedGrid
from robench.evaluation.provenance import record
from robench.evaluation.slices import read_slice
from robench.evaluation.source_models import Sources
from robench.registry import Model, ModelEntry, NamedAttack, model_entries
from robench.results import CellResult, Damaged, ResultStore
from robench.runtime.device import find_device

LARGEST: dict[str, Callable[[int], float]] = {"linf": lambda pixels: 1.0, "l2": math.sqrt}
"""How far images of so many pixels in [0, 1] can lie apart, by norm."""


@dataclass(frozen=True)
class Request:
    """What a run was asked for, as the user wrote it.

    Attributes:
        eps: the grid, or None for that of ``grid``.
        grid: a named one, or None for the data set's own.
        limit: how many images, or None for the protocol's slice.
        timesteps: T, or None for each card's own.
        seed: of the random numbers.
        sweep: see :class:`~robench.evaluation.cell.Settings`, like ``reference``.
        batch_size: rows of one call, or None to choose it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        witnesses: keep the adversarial images.
        split: which images; results on training images are for tuning and never published.
        eot: draws that a gradient of a stochastic model is averaged over, or None for the usual.

    Raises:
        UsageError: the seed is negative, or T or the number of draws is below 1.
    """

    eps: tuple[str, ...] | None = None
    grid: NamedGrid | None = None
    limit: str | None = None
    timesteps: int | None = None
    seed: int = 0
    sweep: SweepName = "fast"
    reference: bool = False
    batch_size: int | None = None
    device: str = "auto"
    examples: bool = False
    split: Split = "test"
    eot: int | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: a seed is an integer from 0")
        if self.timesteps is not None and self.timesteps < 1:
            raise UsageError(f"--timesteps {self.timesteps}: a spiking network needs at least 1")
        if self.eot is not None and self.eot < 1:
            raise UsageError(f"--eot {self.eot}: a gradient needs at least 1 draw")


@dataclass(frozen=True)
class Skipped:
    """A model that is left out, and why."""

    model: str
    reason: str
    unloadable: bool = False


@dataclass(frozen=True)
class Planned:
    """A cell, its hash, and what the store already has of it.

    Attributes:
        unwitnessed: whether it is done and lacks nothing but the witnesses that were asked for.
    """

    cell: Cell
    digest: str
    stored: CellResult | Damaged | None
    lacks_examples: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        if not isinstance(self.stored, CellResult) or self.lacks_examples:
            return False
        return self.stored.status != "failed"


@dataclass(frozen=True)
class Plan:
    """All cells of a run, and the models that are left out."""

    cells: tuple[Planned, ...]
    skipped: tuple[Skipped, ...]


def make_plan(
    entries: Sequence[ModelEntry],
    attacks: Sequence[NamedAttack],
    request: Request,
    store: ResultStore,
    models_dir: Path | None = None,
) -> Plan:
    """Load the models, build the cells and ask the store which of them are there.

    The sources of a transfer attack are looked for in ``models_dir`` first.

    Raises:
        RobenchError: a model that the user named cannot run. One that a glob found is skipped.
        UsageError: the device is not here; T is given and no model has time steps, or one that is
            named takes frames, which have T by themselves; or a number of draws is given and no
            model is stochastic.
    """
    request = replace(request, device=find_device(request.device))

    @cache  # the models of a data set share its images, and with them the images' digest
    def images(name: str) -> Images:
        return read_slice(find_dataset(name), request.limit, request.split)

    sources = Sources(partial(model_entries, models_dir))
    planned: list[Planned] = []
    skipped: list[Skipped] = []
    for entry in entries:
        if entry.missing and not entry.named:
            skipped.append(Skipped(entry.id, entry.missing))
            continue
        try:
            model = entry.load()
            _require_dataset(model)
            if reason := _bound_in_time(model, request.timesteps):
                if entry.named:
                    raise UsageError(reason)
                skipped.append(Skipped(entry.id, reason))
                continue
            model = _prepare(model, request.timesteps)
            for attack in attacks:
                cell = _cell(model, attack, request, images, sources)
                planned.append(look_up(cell, store))
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
            f"--timesteps {request.timesteps}: none of these models has time steps; leave it out"
        )
    if request.eot is not None and planned and not any(p.cell.stochastic for p in planned):
        raise UsageError(f"--eot {request.eot}: none of these models is stochastic; leave it out")
    return Plan(tuple(planned), tuple(skipped))


def look_up(cell: Cell, store: ResultStore) -> Planned:
    """A cell with what the store has of it."""
    digest = cell.identity().digest()
    stored = store.find(cell.model.id, cell.attack.name, digest)
    lacks_examples = (
        cell.settings.examples
        and isinstance(stored, CellResult)
        and stored.status == "done"
        and not store.has_examples(stored)
    )
    return Planned(cell, digest, stored, lacks_examples)


def _require_dataset(model: Model) -> None:
    try:
        dataset = find_dataset(model.dataset)
    except UsageError as error:  # the model's fault: it must not stop the others
        raise ContentError(f"model {model.id}: {error}") from None
    if reason := dataset.mismatch(model.input_kind, model.timesteps):
        raise ContentError(f"model {model.id} {reason}")
    if model.classes < dataset.classes:
        raise ContentError(
            f"model {model.id} has {model.classes} classes, "
            f"data set {dataset.name} has {dataset.classes}"
        )


def _bound_in_time(model: Model, timesteps: int | None) -> str:
    """Why a model cannot run at another T; empty where it can, or where it shall not."""
    if timesteps is None or model.input_kind == "images":
        return ""
    return (
        f"--timesteps {timesteps}: model {model.id} takes one frame at each time step, so its T is "
        "that of the data; leave out the one or the other"
    )


def _prepare(model: Model, timesteps: int | None) -> Model:
    if timesteps is not None and model.timesteps is not None:
        model.module.timesteps = timesteps  # type: ignore[assignment]
        return replace(model, timesteps=timesteps)
    return model


def _cell(
    model: Model,
    attack: NamedAttack,
    request: Request,
    images: Callable[[str], Images],
    sources: Sources,
) -> Cell:
    dataset = find_dataset(model.dataset)
    norm = attack.attack.norm
    if norm not in NORMS:
        raise UsageError(
            f"attack {attack.name} is measured in {norm!r}; ε is swept in {' and '.join(NORMS)}"
        )
    named = None if request.grid is None else request.grid.texts(attack.implementation, norm)
    texts = named if request.eps is None else request.eps
    if texts is None and norm not in dataset.protocol.grids:
        raise UsageError(f"data set {dataset.name} has no grid for {norm}; give one with --eps")
    least = attack.attack.least_classes
    if model.classes < least:
        raise UsageError(
            f"attack {attack.name} is undefined for fewer than {least} classes; "
            f"model {model.id} has {model.classes}: leave one of the two out"
        )
    grid = parse_grid(texts if texts is not None else dataset.protocol.grids[norm])
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
    )
    found = sources.of(attack.attack, model)
    return Cell(model, attack, dataset, images(dataset.name), settings, found)


def run_plan(
    plan: Plan,
    store: ResultStore,
    *,
    force: bool = False,
    progress: Callable[[Cell, int], None] = lambda cell, finished: None,
) -> Iterator[tuple[CellResult, bool]]:
    """Evaluate what is missing, cell by cell.

    A cell that raises is stored as failed, with its traceback, and the others go on.

    Args:
        plan: the cells.
        store: where they go.
        force: evaluate finished cells again.
        progress: called with a cell and the number of its samples that are finished.

    Yields:
        Each cell's result, and whether it was computed now.
    """
    for planned in plan.cells:
        cell, digest = planned.cell, planned.digest
        if planned.done or force:  # a run killed between a cell and its clean-up leaves chunks
            store.drop_chunks(cell.model.id, cell.attack.name, digest)
        if planned.done and not force:
            assert isinstance(planned.stored, CellResult)
            yield planned.stored, False
            continue
        started = time.monotonic()
        try:
            result = evaluate_cell(cell, store, partial(progress, cell))
        except (Exception, SystemExit) as error:  # of the model or the attack: this cell's alone
            text = str(error) if isinstance(error, RobenchError) else traceback.format_exc()
            result = record(cell, digest, "failed", started, error=text)
            with suppress(OSError):  # where it cannot be kept, its line still says why
                store.write(result)
        yield result, True
