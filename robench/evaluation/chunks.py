"""The chunks of a slice: samples that are swept together."""

from __future__ import annotations

from itertools import pairwise

from robench.datasets import Images
from robench.engine.chunk import Chunk
from robench.evaluation.cell import Cell

CHUNK = 250
"""Samples that are swept together, for every batch size, so that resuming is exact. The size of the
last chunk is between half of it and one and a half times it, because few samples fill no batch."""


def spans(n: int) -> list[range]:
    """The samples of each chunk of a slice of ``n``, at least one."""
    number = max(1, (n + CHUNK // 2) // CHUNK)
    firsts = [*(k * CHUNK for k in range(number)), n]
    return [range(first, last) for first, last in pairwise(firsts)]


def chunk_of(cell: Cell, span: range) -> Chunk:
    """Some images of a cell."""
    rows = slice(span.start, span.stop)
    part = Images(cell.images.images[rows], cell.images.labels[rows])
    return Chunk(part.tensor(), part.targets(), span, cell.attack.shared)


def first_chunk(cell: Cell) -> Chunk:
    """The first chunk of a cell."""
    return chunk_of(cell, spans(len(cell.images))[0])
