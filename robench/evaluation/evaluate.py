"""The evaluation of a cell, chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from torch import Tensor

from robench import checks
from robench.attacks import Need
from robench.datasets import Images
from robench.engine.chunk import Chunk
from robench.engine.evaluation_draws import first_draw
from robench.engine.sweep import ChunkSweep
from robench.evaluation.cell import Cell
from robench.evaluation.provenance import record
from robench.isolation import isolated, standard
from robench.registry import Model
from robench.results import (
    ROWS,
    AdversarialExamples,
    CellResult,
    Check,
    Identity,
    Outcome,
    ResultStore,
    metrics,
)
from robench.runtime.allocator import give_back_memory
from robench.runtime.batch_size import cached_rows, choose_rows, with_fewer
from robench.runtime.device import placed
from robench.runtime.first_call import first_call
from robench.runtime.threads import LARGEST, Workers
from robench.spiking import bound
from robench.spiking.kernels import reference

CHECKED = 256
"""The most images that the checks of a model look at."""
CHUNK = 250
"""Samples that are swept together, for every batch size, so that resuming is exact. The size of the
last chunk is between half of it and one and a half times it, because few samples fill no batch."""
PREPARED = 16
"""Images with which a model chooses how it computes its layers."""


def evaluate_cell(
    cell: Cell, store: ResultStore, progress: Callable[[int], None] = lambda finished: None
) -> CellResult:
    """Evaluate a cell and store it; finished chunks of an interrupted run are reused.

    Args:
        cell: the cell.
        store: for the result and its chunks.
        progress: called with the number of samples that are finished.

    Raises:
        RobenchError: the cell cannot be computed. Exceptions of the model are not caught.
    """
    started = time.monotonic()
    identity = cell.identity
    digest = identity.digest()
    if unmet := cell.unmet():
        return store.write(_not_applicable(cell, digest, started, unmet))
    models = (cell.model, *cell.sources)
    with ExitStack() as places:
        places.enter_context(isolated())
        places.enter_context(standard())
        places.callback(give_back_memory)
        for model in models:
            places.enter_context(placed(model, cell.settings.device))
        first = _chunk(cell, spans(len(cell.images))[0])
        x = first.x
        for model in models:
            _examine(model, first)
        if unmet := cell.unmet():
            return store.write(_not_applicable(cell, digest, started, unmet))
        shared = all(
            # steps are replaced for one thread
            model.shareable and not model.replaces and model.device.type == "cpu"
            for model in models
        )
        largest = min(cached_rows(model, x) for model in models) if shared else LARGEST
        workers = Workers(shared=shared, largest=largest)
        plain = cell.settings.reference
        computing: AbstractContextManager[object] = reference() if plain else workers
        with computing:
            for model in models:
                with_fewer(partial(_prepare, model, x), PREPARED)
            batch = cell.settings.batch_size or min(choose_rows(model, x) for model in models)
            of_model = _checks_of_model(cell, batch)
            for source in cell.sources:
                _take_by_row(source, checks.batch_gradient(source, x, first.y))
            parts = list(_chunks(cell, store, digest, workers, batch, progress))
            batch = min(batch, workers.at_once)
        rows = pd.concat([rows for rows, _ in parts], ignore_index=True)
        found = [*of_model, *_checks_of_cell(cell, first, rows)]
        outcome = _outcome(cell, identity, digest, rows, found)
    result = record(cell, digest, "done", started, outcome=outcome, batch_size=batch)
    kept = [examples for _, examples in parts if examples is not None]
    return store.write(result, rows[list(ROWS)], AdversarialExamples.join(kept) if kept else None)


def _not_applicable(cell: Cell, digest: str, started: float, unmet: frozenset[Need]) -> CellResult:
    reason = f"the attack needs what the model does not offer: {', '.join(sorted(unmet))}"
    return record(cell, digest, "not-applicable", started, reason=reason, error=reason)


def find_spikes(cell: Cell) -> None:
    """Look at the network of a cell, if it is a user's: its spikes are not known before.

    Raises:
        RobenchError: the network cannot be called. Its own exceptions are not caught.
    """
    if cell.model.checkpoint:
        return
    with ExitStack() as places:
        places.enter_context(isolated())
        places.enter_context(standard())
        places.enter_context(placed(cell.model, cell.settings.device))
        _examine(cell.model, _chunk(cell, spans(len(cell.images))[0]))


def _examine(model: Model, chunk: Chunk) -> None:
    """Look at a user's network: whether it can be called, and where it spikes."""
    if model.checkpoint:
        return
    x, drawn = chunk.x, partial(_drawn, model)
    with_fewer(lambda rows: first_call(model, x[:rows], drawn), 2)

    def look(rows: int) -> None:
        with drawn(rows):
            model.survey(x[:rows])

    with_fewer(look, min(PREPARED, len(x)))


def _prepare(model: Model, x: Tensor, rows: int) -> None:
    with _drawn(model, len(x[:rows])):
        model.prepare(x[:rows])


def _drawn(model: Model, count: int) -> AbstractContextManager[None]:
    """Bind the random numbers of a stochastic model for a number of rows."""
    return bound(first_draw(model.dataset, count))


def _chunks(
    cell: Cell,
    store: ResultStore,
    digest: str,
    workers: Workers,
    batch: int,
    progress: Callable[[int], None],
) -> Iterator[tuple[pd.DataFrame, AdversarialExamples | None]]:
    """The rows of each chunk, with its adversarial examples if they are asked for.

    If memory runs out where a call cannot be halved, as in the backward pass of an attack with its
    own loss, the chunk is computed again from the start with half as many rows in a call.
    """
    for number, span in enumerate(spans(len(cell.images))):
        place = cell.model.id, cell.attack.name, digest, number
        rows, examples = store.chunk(*place), None
        if cell.settings.examples:
            examples = store.chunk_examples(*place)
        if rows is not None and not _complete(rows, span):
            rows = None
        if rows is None or (cell.settings.examples and examples is None):
            compute = partial(_swept, cell, span, workers, progress)
            sweep, rows = with_fewer(compute, batch)
            if sweep.batch_size < batch:
                batch = sweep.batch_size
                workers.allow(batch)
            examples = _examples(sweep) if cell.settings.examples else None
            store.write_chunk(*place, rows, examples)
        yield rows, examples
        progress(span.stop)


def _complete(rows: pd.DataFrame, span: range) -> bool:
    """Whether a stored chunk has all columns and the samples of a span."""
    return set(ROWS) <= set(rows.columns) and rows["index"].tolist() == list(span)


def _examples(sweep: ChunkSweep) -> AdversarialExamples:
    misclassified = sweep.found.attacked.numpy()
    index = np.asarray(sweep.target.chunk.indices, dtype=np.int64)
    return AdversarialExamples(index[misclassified], sweep.examples.numpy()[misclassified])


def _swept(
    cell: Cell, span: range, workers: Workers, progress: Callable[[int], None], batch: int
) -> tuple[ChunkSweep, pd.DataFrame]:
    sweep = _sweep(cell, span, workers, batch)
    return sweep, sweep.run(lambda finished: progress(span.start + finished))


def spans(n: int) -> list[range]:
    """The samples of each chunk of a slice of ``n``, at least one."""
    number = max(1, (n + CHUNK // 2) // CHUNK)
    firsts = [*(k * CHUNK for k in range(number)), n]
    return [range(first, last) for first, last in pairwise(firsts)]


def _chunk(cell: Cell, span: range) -> Chunk:
    rows = slice(span.start, span.stop)
    part = Images(cell.images.images[rows], cell.images.labels[rows])
    return Chunk(part.tensor(), part.targets(), span, cell.attack.shared)


def _sweep(cell: Cell, span: range, workers: Workers, batch: int) -> ChunkSweep:
    settings = cell.settings
    return ChunkSweep(
        cell.model,
        cell.bound,
        _chunk(cell, span),
        settings.grid,
        seed=settings.seed,
        batch_size=batch,
        sweep=settings.sweep,
        workers=workers,
        sources=cell.sources,
        eot=settings.eot,
    )


def _checks_of_model(cell: Cell, batch: int) -> list[Check]:
    chunk = _chunk(cell, range(min(CHECKED, len(cell.images))))
    known = checks.with_plugins(checks.OF_MODELS, checks.ModelCheck)
    found = checks.measured(known, checks.Examined(cell.model, chunk.x, chunk.y, batch))
    of_batch = (check for check in found if check.name == checks.BATCH_GRADIENT)
    _take_by_row(cell.model, next(of_batch, None))
    return found


def _take_by_row(model: Model, found: Check | None) -> None:
    """Take the gradients of a model row by row if they depend on the batch."""
    model.row_by_row = found is not None and found.verdict != "valid"


def _checks_of_cell(cell: Cell, chunk: Chunk, rows: pd.DataFrame) -> list[Check]:
    model = cell.model
    own_timesteps = model.card.get("timesteps", model.timesteps) == model.timesteps
    whole = cell.settings.split == "test" and len(cell.images) == cell.dataset.protocol.slice
    subject = checks.Attacked(
        model=model,
        attack=cell.bound,
        chunk=chunk,
        rows=rows,
        points=len(cell.settings.grid),
        seed=cell.settings.seed,
        sources=cell.sources,
        published=whole and own_timesteps,
    )
    return checks.measured(checks.with_plugins(checks.OF_CELLS, checks.CellCheck), subject)


def _outcome(
    cell: Cell, identity: Identity, digest: str, rows: pd.DataFrame, found: Sequence[Check]
) -> Outcome:
    grid = cell.settings.grid
    values = [epsilon.value for epsilon in grid]
    position = rows["minimal_position"].to_numpy()
    curve = metrics.curve(position, grid)
    accuracies = np.array([point.accuracy for point in curve])
    known = cell.dataset.protocol.auc_limits.get(identity.norm, ())
    limits = {limit.text: limit.value for limit in known if limit.value in values[1:]}
    raw = None
    if "raw_0" in rows:  # misclassified at each single ε
        misclassified = [float(rows[f"raw_{k}"].mean()) for k in range(len(grid))]
        raw = (1 - misclassified[0], *(1 - misclassified[0] - share for share in misclassified[1:]))
    attacked = rows["minimal_position"] > 0
    return Outcome(
        identity=identity,
        hash=digest,
        mode=cell.model.mode,
        control=cell.model.control,
        registered=cell.model.registered,
        clean_accuracy=curve[0].accuracy,
        curve=curve,
        raw_accuracy=raw,
        reverified=float(rows["reverified"][attacked].mean()) if attacked.any() else 1.0,
        auc={text: metrics.area(accuracies, values, limit) for text, limit in limits.items()},
        auc_interval={
            text: metrics.bootstrap(metrics.sample_areas(position, values, limit))
            for text, limit in limits.items()
        },
        forwards=float(rows["forwards"].mean()),
        backwards=float(rows["backwards"].mean()),
        source_passes=float(rows["source_passes"].mean()) if cell.sources else None,
        checks=tuple(found),
        spikes=str(cell.model.discovery or ""),
        verdict=checks.worst_verdict(found),
        reasons=tuple(check.reason for check in found if check.reason),
    )
