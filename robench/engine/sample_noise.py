"""Random numbers of a sample: the same in every batch, at every ε and for every attack."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class SampleNoise:
    """``noise(stream, draw)`` for the rows of one call, from a CPU generator for each row.

    A generator is seeded by 32 bits of a hash of (seed, data set, sample index, stream, draw), as
    many as torch's generator takes. So two of them give the same numbers by chance, with a
    probability of 2⁻³²: among 100,000 there is about one such pair.
    """

    def __init__(
        self, seed: int, dataset: str, indices: Sequence[int], shape: Sequence[int]
    ) -> None:
        """Bind the noise to the rows of a call.

        Args:
            seed: of the cell.
            dataset: name of the data set.
            indices: index of each row's sample in the data set's test images.
            shape: of one sample, ``(C, H, W)``.
        """
        self.seed, self.dataset = seed, dataset
        self.indices, self.shape = list(indices), tuple(shape)

    def __call__(
        self, stream: str, draw: int | Tensor = 0, shape: Sequence[int] | None = None
    ) -> Tensor:
        """Numbers uniform in [0, 1), ``(N, C, H, W)`` or ``(N, *shape)``.

        ``draw`` is one number or ``(N,)``.
        """
        draws = [int(d) for d in draw] if isinstance(draw, Tensor) else [draw] * len(self.indices)
        return self.rows(stream, draws, shape)

    def rows(self, stream: str, draws: Sequence[int], shape: Sequence[int] | None = None) -> Tensor:
        """The same with the draw of each row given."""
        wanted = self.shape if shape is None else tuple(shape)
        if not self.indices:
            return torch.empty((0, *wanted))
        pairs = zip(self.indices, draws, strict=True)
        return torch.stack([self._one(i, stream, draw, wanted) for i, draw in pairs])

    def _one(self, index: int, stream: str, draw: int, shape: tuple[int, ...]) -> Tensor:
        key = f"{self.seed}|{self.dataset}|{index}|{stream}|{draw}"
        generator = torch.Generator()  # which takes the lowest 32 bits of a seed
        generator.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
        return torch.rand(shape, generator=generator)
