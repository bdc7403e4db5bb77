"""The target of an attack: a model and a chunk of images."""

from __future__ import annotations

from torch import Tensor

from robench.engine.chunk import Chunk
from robench.engine.evaluation_draws import Draws
from robench.engine.query_counter import QueryCounter
from robench.engine.sample_noise import SampleNoise
from robench.engine.shared_perturbation import SCALE, SharedView, blank, perturbation, shown
from robench.engine.view import ModelView
from robench.registry import Model
from robench.results import EOT
from robench.runtime.threads import Workers


class Target:
    """A model and the images on which it is attacked.

    Attributes:
        x: the clean images as the attack is given them; see
            :mod:`robench.engine.shared_perturbation`.
        scale: the length of a perturbation of the images for one of length 1 of ``x``.
        queries: how often the model was called.
    """

    def __init__(
        self,
        model: Model,
        chunk: Chunk,
        *,
        seed: int,
        stages: int = 1,
        workers: Workers | None = None,
        sources: tuple[Model, ...] = (),
        eot: int = EOT,
    ) -> None:
        """Bind a model to a chunk.

        Args:
            model: the model under attack.
            chunk: the images.
            seed: of the attack's random numbers.
            stages: number of stages of the attack; passes are counted for each.
            workers: threads that share the rows of each call.
            sources: other models on which the attack may make examples.
            eot: number of draws that a gradient of a stochastic model is averaged over.
        """
        self.model, self.chunk, self.sources = model, chunk, sources
        self.workers = workers or Workers(shared=False)
        self.x, self.scale = (blank(chunk.x), SCALE) if chunk.shared else (chunk.x, 1)
        self.seed, self.draws = seed, Draws(seed, model.dataset, list(chunk.indices), eot)
        self.queries = QueryCounter.empty(len(self.x), stages)
        if sources:
            self.queries.on_sources = QueryCounter.empty(len(self.x))

    def view(self, samples: Tensor, stage: int, step: Tensor | None = None) -> ModelView:
        """The view of the model for a stage of the attack, bound to some samples of the chunk.

        Args:
            samples: of the chunk, ``(n,)``.
            stage: of the attack.
            step: the step of its run that each row is in, ``(n,)``; it selects the draws for the
                gradients of a stochastic model.
        """
        y, others = self.chunk.y[samples], self.sources
        bound = (self.model, y, samples, self.queries, stage, self.workers, others)
        if self.chunk.shared:
            frames = self.chunk.x[samples]
            return SharedView(*bound, draws=self.draws, step=step, frames=frames)
        return ModelView(*bound, draws=self.draws, step=step)

    def noise(self, samples: Tensor) -> SampleNoise:
        """The random numbers for an attack on some samples of the chunk."""
        indices = [self.chunk.indices[int(i)] for i in samples]
        return SampleNoise(self.seed, self.model.dataset, indices, self.x.shape[1:])

    def examples(self, images: Tensor) -> Tensor:
        """The model's inputs for an attack's images of all samples, of the shape of the chunk."""
        return shown(images, self.chunk.x) if self.chunk.shared else images

    def perturbation(self, images: Tensor) -> Tensor:
        """The perturbations that an attack's images of all samples represent."""
        return perturbation(images, self.chunk.x) if self.chunk.shared else images - self.x
