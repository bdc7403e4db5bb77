"""The binary network of the binarization test: a read-out for each sample, and a planted corner."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional as F

from robench.analysis.ball_points import apart, corners, inner_points
from robench.analysis.features import Features, find_features
from robench.architectures import VGG
from robench.datasets import Images
from robench.engine.sample_noise import SampleNoise
from robench.epsilon import Epsilon
from robench.registry import Model
from robench.runtime.batch_size import choose_rows
from robench.runtime.first_call import first_call
from robench.runtime.threads import Workers

INNER, NEAR = 999, 0.95
"""Inner points of each sample, and their largest distance in units of ε."""
CORNERS = 20
"""Corners of each ball, of which the one that lies furthest out is planted."""
CLOSENESS = 0.6
"""How far the read-out's boundary lies from the outermost inner point towards the planted one."""
LEAST_GAP = 0.02
"""The least distance of the two, relative to the spread of the read-out."""
LOOKED_AT = 16


class PlantedNetwork(nn.Module):
    """A binary network with a read-out of its own for each sample.

    The read-out of an input is that of the nearest clean image in L∞: the balls of two samples are
    disjoint, so each attacked image has that of its sample, in any batch.

    Attributes:
        features: of the network under test.
        clean: the clean images, flattened, ``(M, P)``.
        weight: of the read-outs, ``(M, D)``.
        bias: of the read-outs, ``(M,)``.
        inverted: whether the second class is out of reach.
    """

    clean: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        features: Features,
        clean: Tensor,
        weight: Tensor,
        bias: Tensor,
        *,
        inverted: bool = False,
    ) -> None:
        super().__init__()
        self.features, self.inverted = features, inverted
        for name, value in (("clean", clean.flatten(1)), ("weight", weight), ("bias", bias)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, 2)``; the first is 0."""
        with torch.no_grad():
            flat = x.detach().flatten(1).to(self.clean.dtype)
            row = torch.cdist(flat, self.clean, p=torch.inf).argmin(1)
        score = (self.features(x) * self.weight[row]).sum(1) + self.bias[row]
        if self.inverted:  # below 0, and growing with the score
            score = F.logsigmoid(score) - 1
        return torch.stack([torch.zeros_like(score), score], 1)

    def bent(self) -> PlantedNetwork:
        """The network of the inverted test."""
        return self.reading(self.features, inverted=True)

    def reading(self, features: Features, *, inverted: bool) -> PlantedNetwork:
        """The same read-outs of other features."""
        return PlantedNetwork(features, self.clean, self.weight, self.bias, inverted=inverted)


@dataclass(frozen=True)
class ReadOut:
    """A linear read-out that separates a planted point from inner points.

    Attributes:
        weight: ``(D,)``.
        bias: its bias; the score of the first inner point is −1.
        gap: distance of the planted point from the outermost inner point, relative to the spread of
            all of them.
    """

    weight: NDArray[np.float64]
    bias: float
    gap: float


def fit_read_out(inner: NDArray[np.float64], planted: NDArray[np.float64]) -> ReadOut | None:
    """The read-out of largest margin, below 0 at all inner points and above at the planted one.

    Args:
        inner: features ``(n, D)``, the clean image first.
        planted: features ``(D,)``.

    Returns:
        The read-out; None if the points cannot be separated.
    """
    points = np.vstack([inner, planted]) - inner[0]
    size = float(np.sqrt((points**2).mean()))
    if size == 0 or (inner == planted).all(1).any():
        return None
    machine = SVC(kernel="linear", C=1e6, max_iter=100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it has converged is seen at the points
        machine.fit(points / size, np.arange(len(points)) == len(inner))
    weight = machine.coef_[0] / size
    scores = points @ weight
    top, low, high = scores[:-1].max(), scores.min(), scores[-1]
    if not high - top > LEAST_GAP * (high - low):
        return None
    weight = weight / (top + CLOSENESS * (high - top))  # the clean image has the score 0 before
    return ReadOut(weight, float(-1 - inner[0] @ weight), float((high - top) / (high - low)))


@dataclass(frozen=True)
class Planted:
    """The samples with a planted example.

    Attributes:
        index: of their images.
        gaps: see :class:`ReadOut`.
        network: the binary network.
    """

    index: list[int]
    gaps: list[float]
    network: PlantedNetwork


def plant(model: Model, images: Images, epsilon: Epsilon, seed: int) -> Planted | str:
    """Plant a corner in the ball of each image; returns why none can be, if none can.

    Args:
        model: the model, borrowed and on the device where it computes.
        images: clean images; one that lies within 2ε of an earlier one is left out.
        epsilon: radius of the balls.
        seed: of the points.
    """
    x = images.tensor()
    if not model.checkpoint:
        first_call(model, x, lambda _: nullcontext())
    model.prepare(x[:LOOKED_AT])
    features = find_features(model, x[:LOOKED_AT])
    if features is None:
        return "its logits are no linear read-out of features"
    batch = choose_rows(model, x)
    # a hook on the layer of another network would see the inputs of all threads
    threads = model.shareable and model.device.type == "cpu" and isinstance(features.net, VGG)
    index: list[int] = []
    chosen: list[Tensor] = []
    read_outs: list[ReadOut] = []
    with Workers(shared=threads) as workers, torch.no_grad():
        measure = _Measure(model, features, workers)
        for row in apart(x, 2 * epsilon.value):
            noise = SampleNoise(seed, model.dataset, [row], x.shape[1:])
            points = inner_points(x[row], noise, epsilon.value * NEAR, INNER, batch)
            inside = measure([x[row : row + 1], *points])
            outer = corners(x[row], noise, "planted corner", epsilon.value, range(CORNERS))
            fits = [fit_read_out(inside, planted) for planted in measure([outer])]
            known = [(fit.gap, k, fit) for k, fit in enumerate(fits) if fit is not None]
            if known:
                _, best, fit = max(known)
                index.append(row)
                chosen.append(outer[best])
                read_outs.append(fit)
        if not index:
            return "no corner of a ball can be separated from the inner points"
        weight = torch.tensor(np.array([each.weight for each in read_outs]), dtype=torch.float32)
        bias = torch.tensor([each.bias for each in read_outs])
        network = PlantedNetwork(features, x[index], weight, bias).to(model.device)
        gaps = [each.gap for each in read_outs]
        return _confirmed(model, Planted(index, gaps, network), x[index], torch.stack(chosen))


@torch.no_grad()
def random_search(
    model: Model, network: PlantedNetwork, x: Tensor, epsilon: Epsilon, seed: int, points: int
) -> NDArray[np.bool_]:
    """Whether one of many random corners of the planted kinds is misclassified, ``(N,)``.

    Args:
        model: the model, on the device where it computes.
        network: the binary network.
        x: the clean images of the planted samples, ``(N, C, H, W)``.
        epsilon: radius of the balls.
        seed: of the corners.
        points: how many.
    """
    found, batch, kind = np.zeros(len(x), np.bool_), choose_rows(model, x), model.input_type
    for row, image in enumerate(x):
        noise = SampleNoise(seed, model.dataset, [row], x.shape[1:])
        for first in range(0, points, batch):
            draws = range(first, min(first + batch, points))
            drawn = corners(image, noise, "random corner", epsilon.value, draws)
            logits = network(drawn.to(model.device, kind or x.dtype))
            if bool((logits[:, 1] > 0).any()):
                found[row] = True
                break
    return found


def _confirmed(model: Model, planted: Planted, clean: Tensor, corners: Tensor) -> Planted | str:
    """The samples whose clean image and corner are classified as planned, in another batch too."""
    place, kind, network = model.device, model.input_type or clean.dtype, planted.network
    good = network(clean.to(place, kind))[:, 1] < 0
    good &= network(corners.to(place, kind))[:, 1] > 0
    if not good.any():
        return "the planted points are classified otherwise in another batch"
    kept = good.nonzero().squeeze(1).tolist()
    some = (part[good] for part in (network.clean, network.weight, network.bias))
    return Planted(
        [planted.index[i] for i in kept],
        [planted.gaps[i] for i in kept],
        PlantedNetwork(network.features, *some),
    )


@dataclass(frozen=True)
class _Measure:
    """The features of images in float64."""

    model: Model
    features: Features
    workers: Workers

    def __call__(self, batches: Iterable[Tensor]) -> NDArray[np.float64]:
        kind = self.model.input_type
        found = []
        for x in batches:
            x = x.to(self.model.device, kind or x.dtype)
            parts = self.workers.map(partial(self._of, x), len(x))
            found += [part.double().cpu().numpy() for part in parts]
        return np.concatenate(found)

    def _of(self, x: Tensor, rows: slice) -> Tensor:
        features: Tensor = self.features(x[rows])
        return features
