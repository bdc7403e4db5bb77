"""What is done with a network before it is attacked: a first call, and a look at its spikes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from torch import Tensor

from robench.engine.chunk import Chunk
from robench.engine.evaluation_draws import first_draw
from robench.evaluation.cell import Cell
from robench.evaluation.chunks import first_chunk
from robench.isolation import isolated, standard
from robench.registry import Model
from robench.runtime.allocator import give_back_memory
from robench.runtime.batch_size import with_fewer
from robench.runtime.device import placed
from robench.runtime.first_call import first_call
from robench.spiking import bound

PREPARED = 16
"""Images with which a model chooses how it computes its layers."""


@contextmanager
def at_work(cell: Cell) -> Iterator[Chunk]:
    """The first chunk of a cell, while its models are on their device and have been looked at.

    Raises:
        RobenchError: a network cannot be called. Its own exceptions are not caught.
    """
    with ExitStack() as places:
        places.enter_context(isolated())
        places.enter_context(standard())
        places.callback(give_back_memory)
        models = (cell.model, *cell.sources)
        for model in models:
            places.enter_context(placed(model, cell.settings.device))
        first = first_chunk(cell)
        for model in models:
            _examine(model, first)
        yield first


def find_spikes(cell: Cell) -> None:
    """Look at the network of a cell, if it is a user's: its spikes are not known before.

    Raises:
        RobenchError: the network cannot be called. Its own exceptions are not caught.
    """
    if not cell.model.checkpoint:
        with at_work(cell):
            pass


def prepare(model: Model, x: Tensor) -> None:
    """Let a model choose how it computes its layers."""

    def look(rows: int) -> None:
        with _drawn(model, len(x[:rows])):
            model.prepare(x[:rows])

    with_fewer(look, PREPARED)


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


def _drawn(model: Model, count: int) -> AbstractContextManager[None]:
    """Bind the random numbers of a stochastic model for a number of rows."""
    return bound(first_draw(model.dataset, count))
