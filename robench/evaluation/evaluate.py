"""The evaluation of a cell, chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import pandas as pd

from robench import checks
from robench.attacks import Need
from robench.engine.sweep import ChunkSweep
from robench.evaluation.cell import Cell
from robench.evaluation.checking import checks_of_cell, checks_of_model, take_by_row
from robench.evaluation.chunks import chunk_of, spans
from robench.evaluation.preparation import at_work, prepare
from robench.evaluation.provenance import record
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
from robench.runtime.batch_size import cached_rows, choose_rows, with_fewer
from robench.runtime.threads import LARGEST, Workers
from robench.spiking.kernels import reference


def evaluate_cell(
    cell: Cell,
    store: ResultStore,
    progress: Callable[[int], None] = lambda finished: None,
    checked: Callable[[Sequence[Check]], None] = lambda found: None,
) -> CellResult:
    """Evaluate a cell and store it; finished chunks of an interrupted run are reused.

    Args:
        cell: the cell.
        store: for the result and its chunks.
        progress: called with the number of samples that are finished.
        checked: called before the sweep with the checks of the model; it may raise.

    Raises:
        RobenchError: the cell cannot be computed. Exceptions of the model are not caught.
    """
    started = time.monotonic()
    identity = cell.identity
    digest = identity.digest()
    if unmet := cell.unmet():
        return store.write(_not_applicable(cell, digest, started, unmet))
    models = (cell.model, *cell.sources)
    with at_work(cell) as first:
        x = first.x
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
                prepare(model, x)
            batch = cell.settings.batch_size or min(choose_rows(model, x) for model in models)
            of_model = checks_of_model(cell, batch)
            checked(of_model)
            for source in cell.sources:
                take_by_row(source, checks.batch_gradient(source, x, first.y))
            parts = list(_chunks(cell, store, digest, workers, batch, progress))
            batch = min(batch, workers.at_once)
            rows = pd.concat([rows for rows, _ in parts], ignore_index=True)
            found = [*of_model, *checks_of_cell(cell, rows, workers, batch)]
        outcome = _outcome(cell, identity, digest, rows, found)
    result = record(cell, digest, "done", started, outcome=outcome, batch_size=batch)
    kept = [examples for _, examples in parts if examples is not None]
    return store.write(result, rows[list(ROWS)], AdversarialExamples.join(kept) if kept else None)


def _not_applicable(cell: Cell, digest: str, started: float, unmet: frozenset[Need]) -> CellResult:
    reason = f"the attack needs what the model does not offer: {', '.join(sorted(unmet))}"
    return record(cell, digest, "not-applicable", started, reason=reason, error=reason)


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


def _sweep(cell: Cell, span: range, workers: Workers, batch: int) -> ChunkSweep:
    settings = cell.settings
    return ChunkSweep(
        cell.model,
        cell.bound,
        chunk_of(cell, span),
        settings.grid,
        seed=settings.seed,
        batch_size=batch,
        sweep=settings.sweep,
        workers=workers,
        sources=cell.sources,
        eot=settings.eot,
    )


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
        checked=cell.settings.checks,
        checks=tuple(found),
        spikes=str(cell.model.discovery or ""),
        verdict=checks.worst_verdict(found),
        reasons=tuple(dict.fromkeys(check.reason for check in found if check.reason)),
    )
