"""The evaluation of a cell, chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd

from robench import checks
from robench.attacks import Need
from robench.engine.sweep import ChunkSweep, Progress, silent
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
    reasons_of,
    worst_verdict,
)
from robench.results.chunks import Chunks
from robench.runtime.batch_size import cached_rows, choose_rows, with_fewer
from robench.runtime.threads import LARGEST, Workers
from robench.spiking.kernels import reference

SECONDS = "seconds"
"""The attribute of the rows of a chunk with the time that it took."""
Part = tuple[pd.DataFrame, AdversarialExamples | None]
"""The rows of a chunk, and its adversarial examples if they are asked for."""


def evaluate_cell(cell: Cell, store: ResultStore) -> CellResult:
    """Evaluate a cell and store it; finished chunks of an interrupted run are reused.

    Args:
        cell: the cell.
        store: for the result and its chunks.

    Raises:
        RobenchError: the cell cannot be computed. Exceptions of the model are not caught.
    """
    result = evaluate_chunks(cell, store, None)
    assert result is not None  # all chunks were asked for
    return result


def evaluate_chunks(
    cell: Cell,
    store: ResultStore,
    chunks: range | None,
    progress: Progress = silent,
    checked: Callable[[Sequence[Check]], None] = lambda found: None,
) -> CellResult | None:
    """Evaluate some chunks of a cell and store them; if all are stored now, also the cell.

    Args:
        cell: the cell.
        store: for the result and its chunks.
        chunks: the numbers of the chunks to compute, None for all.
        progress: called with the samples and passes of these chunks that are finished.
        checked: called before the sweep with the checks of the model; it may raise.

    Returns:
        The result; None if other chunks are missing in the store.
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
            stored = store.chunks(cell.model.id, cell.attack.name, digest)
            made = _Parts(cell, stored, workers, batch, progress)
            parts = made.all(chunks)
            if parts is None:
                return None
            batch = min(made.batch, workers.at_once)
            rows = pd.concat([rows for rows, _ in parts], ignore_index=True)
            rows.attrs = {}  # a time would be in the file, whose bytes are those of the result
            found = [*of_model, *checks_of_cell(cell, rows, workers, batch)]
        outcome = _outcome(cell, identity, digest, rows, found)
    started -= made.earlier
    result = record(cell, digest, "done", started, outcome=outcome, batch_size=batch)
    kept = [examples for _, examples in parts if examples is not None]
    return store.write(result, rows[list(ROWS)], AdversarialExamples.join(kept) if kept else None)


def _not_applicable(cell: Cell, digest: str, started: float, unmet: frozenset[Need]) -> CellResult:
    reason = f"the attack needs what the model does not offer: {', '.join(sorted(unmet))}"
    return record(cell, digest, "not-applicable", started, reason=reason, error=reason)


@dataclass
class _Parts:
    """The chunks of a cell, each with its rows, and its adversarial examples if asked for.

    If memory runs out where a call cannot be halved, as in the backward pass of an attack with its
    own loss, a chunk is computed again from the start with half as many rows in a call.
    """

    cell: Cell
    chunks: Chunks
    workers: Workers
    batch: int
    progress: Progress
    passes: int = 0
    start: int = 0
    earlier: float = 0.0
    """Seconds that the chunks took that were stored before."""

    @cached_property
    def spans(self) -> list[range]:
        """The samples of each chunk."""
        return spans(len(self.cell.images))

    def all(self, asked: range | None) -> list[Part] | None:
        """All chunks of the cell; None if chunks that were not asked for are missing.

        Those that were asked for are computed and stored if they are missing.
        """
        count = len(self.spans)
        asked = range(count) if asked is None else asked
        self.start = self.spans[asked.start].start
        computed = {number: self._made(number) for number in asked}
        parts: list[Part] = []
        for number in range(count):
            part = computed.get(number) or self._stored(number)
            if part is None:
                return None
            parts.append(part)
        return parts

    def _made(self, number: int) -> Part:
        cell, span = self.cell, self.spans[number]
        part = self._stored(number)
        if part is None:
            began, before, passes = time.monotonic(), span.start - self.start, self.passes
            compute = partial(
                _swept,
                cell,
                span,
                self.workers,
                lambda done, taken: self.progress(before + done, passes + taken),
            )
            sweep, rows = with_fewer(compute, self.batch)
            if sweep.batch_size < self.batch:
                self.batch = sweep.batch_size
                self.workers.allow(self.batch)
            rows.attrs = {SECONDS: time.monotonic() - began}
            self.passes += sweep.target.queries.total
            part = rows, _examples(sweep) if cell.settings.examples else None
            self.chunks.write(number, *part)
        self.progress(span.stop - self.start, self.passes)
        return part

    def _stored(self, number: int) -> Part | None:
        rows, examples = self.chunks.rows(number), None
        if rows is None or not _complete(rows, self.spans[number]):
            return None
        if self.cell.settings.examples:
            examples = self.chunks.examples(number)
            if examples is None:
                return None
        self.earlier += float(rows.attrs.get(SECONDS, 0))
        return rows, examples


def _complete(rows: pd.DataFrame, span: range) -> bool:
    """Whether a stored chunk has all columns and the samples of a span."""
    return set(ROWS) <= set(rows.columns) and rows["index"].tolist() == list(span)


def _examples(sweep: ChunkSweep) -> AdversarialExamples:
    misclassified = sweep.found.attacked.numpy()
    index = np.asarray(sweep.target.chunk.indices, dtype=np.int64)
    return AdversarialExamples(index[misclassified], sweep.examples.numpy()[misclassified])


def _swept(
    cell: Cell, span: range, workers: Workers, progress: Progress, batch: int
) -> tuple[ChunkSweep, pd.DataFrame]:
    settings = cell.settings
    sweep = ChunkSweep(
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
    return sweep, sweep.run(progress)


def _outcome(
    cell: Cell, identity: Identity, digest: str, rows: pd.DataFrame, found: Sequence[Check]
) -> Outcome:
    grid = cell.settings.grid
    values = [epsilon.value for epsilon in grid]
    position = rows["minimal_position"].to_numpy()
    curve = metrics.curve(position, grid)
    accuracies = np.array([point.accuracy for point in curve])
    limits = cell.auc_limits
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
        split=cell.settings.split,
        gradients=cell.attack.attack.gradients,
        single_step=cell.attack.attack.single_step,
        checked=cell.settings.checks,
        checks=tuple(found),
        spikes=str(cell.model.discovery or ""),
        spiking=bool(cell.model.discovery and cell.model.discovery.spikes),
        verdict=worst_verdict(found),
        reasons=reasons_of(found),
    )
