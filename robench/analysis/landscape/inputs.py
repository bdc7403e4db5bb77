"""The loss of a model over its inputs: along its own gradient, an attack and random signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.analysis.attacked import Attacked
from robench.analysis.landscape.losses import at_speed, axis, finite, losses, mean
from robench.analysis.measuring import Measured
from robench.engine.evaluation_draws import Draws
from robench.engine.query_counter import QueryCounter
from robench.engine.sample_noise import SampleNoise
from robench.engine.view import ModelView
from robench.errors import UsageError
from robench.evaluation import Cell
from robench.registry import Model
from robench.results import Kind
from robench.runtime.threads import Workers


@dataclass(frozen=True)
class InputLandscape:
    """The measurement of the loss over the inputs, on the images that an attack misled.

    The loss is that of x + aεu + bεv, clipped to [0, 1], with a and b from −1 to 1. The direction u
    is the sign of the network's own gradient at x on one surface, and on the other (x′ − x)/ε,
    where x′ is the adversarial example; v are random signs, which all models share.

    Attributes:
        attacked: the adversarial examples.
        points: of each axis, odd.
        seed: of the random signs.
        progress: is called with the name of a model and the number of losses computed.

    Raises:
        UsageError: a setting is out of its range.
    """

    kind: ClassVar[Kind] = "input-landscape"
    version: ClassVar[int] = 1
    attacked: Attacked
    points: int = 15
    seed: int = 0
    progress: Callable[[str, int], None] = lambda _, __: None

    def __post_init__(self) -> None:
        axis(self.points)
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: a seed is an integer from 0")

    @property
    def evaluations(self) -> int:
        """How often the loss is computed for a model."""
        return 2 * self.points**2

    def settings(self, cell: Cell) -> dict[str, Any]:
        """The grid, the random signs and the attack."""
        return {"points": self.points, "seed": self.seed} | self.attacked.settings(cell)

    def measure(self, cell: Cell) -> Measured:
        """Compute both surfaces on the images that have an adversarial example.

        Arrays: the ``coordinates``; the surfaces ``own`` and ``attack`` of the mean loss, with a
        along the first axis; the ``index`` of the images; and for each image whether its own
        gradient is zero, ``zero``, and its loss at the clean image, ``loss.clean``, and at ε along
        each direction: ``loss.own``, ``loss.attack`` and ``loss.random``.

        Raises:
            EvaluationError: the attack found no adversarial example.
        """
        model = cell.model
        index, x, adversarial = self.attacked.pairs(cell)
        y, epsilon = cell.images.targets()[index], self.attacked.epsilon(cell)
        noise = SampleNoise(self.seed, model.dataset, index.tolist(), x.shape[1:])
        signs = (noise("landscape") < 0.5).to(x.dtype) * 2 - 1
        coordinates, middle = axis(self.points), self.points // 2
        arrays: dict[str, np.ndarray] = {"coordinates": coordinates, "index": index}
        done = 0
        with at_speed(model, x) as workers:
            own = own_gradient(model, x, y, index, workers).sign()
            for name, along in (("own", own), ("attack", (adversarial - x) / epsilon)):
                surface = np.empty((self.points, self.points))
                for i, j in np.ndindex(surface.shape):
                    step = float(coordinates[i]) * along + float(coordinates[j]) * signs
                    there = (x + epsilon * step).clamp(0, 1)
                    found = losses(model, there, y, index, workers)
                    surface[i, j], done = found.values.mean(), done + 1
                    self.progress(model.id, done)
                    if (what := _ends(name, i - middle, j - middle, middle)) is not None:
                        arrays[f"loss.{what}"] = found.values
                arrays[name] = surface
        arrays["zero"] = (own == 0).flatten(1).all(1).numpy()
        clean = arrays["loss.clean"]
        rises = {what: mean(arrays[f"loss.{what}"] - clean) for what in ("own", "attack", "random")}
        summary = {
            "images": len(x),
            "epsilon": epsilon,
            "loss": finite(clean.mean()),
            "zero_gradient": float(arrays["zero"].mean()),
            "rise": rises,
        }
        return Measured(summary, arrays)


def _ends(surface: str, i: int, j: int, last: int) -> str | None:
    """Which losses of single images are kept at a point of a surface."""
    return {(0, 0): "clean", (last, 0): surface, (0, last): "random"}.get((i, j))


def own_gradient(
    model: Model, x: Tensor, y: Tensor, index: NDArray[np.int64], workers: Workers
) -> Tensor:
    """The gradient of the cross-entropy that the network itself gives, as an attack takes it.

    That of a stochastic model is a mean over draws, and one that underflows is computed again.
    """
    draws = Draws(dataset=model.dataset, indices=index.tolist())
    samples, queries = torch.arange(len(x)), QueryCounter.empty(len(x))
    return ModelView(model, y, samples, queries, workers=workers, draws=draws).gradient(x, y)
