"""The options of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from robench.datasets import find_dataset

PARTS = (
    "gradient",
    "sweep",
    "search",
    "overhead",
    "checks",
    "users",
    "growth",
    "strength",
    "store",
    "workers",
)
GRID = tuple(epsilon.text for epsilon in find_dataset("cifar10").protocol.grids["linf"])
"""The L∞ grid of CIFAR-10."""


@dataclass(frozen=True)
class Options:
    """The sizes of everything.

    Attributes:
        threads: of every competitor.
        repetitions: of a gradient step, a cell and a bare call.
        width: of the random networks, as a fraction of VGG16's.
        timesteps: T of the random networks.
        batch: images of one gradient step and rows of one call in every sweep.
        models: checkpoints whose weights are stepped too, beside the random ones.
        stbp: the spiking checkpoint of sweep, overhead, growth and strength.
        ann: the one without spikes, of sweep, overhead and strength.
        images: of a sweep.
        steps: of every attack; in the strength part, those of Foolbox's shortest run.
        grid: ε, from 0.
        sweep_repetitions: of a whole sweep, and of each run of the strength part.
        peers: the attack libraries to sweep with.
        search: models with the attack whose searches are compared, ``ID:ATTACK``.
        search_images: training images of that comparison.
        strength_images: of the strength part.
        strength_eps: its ε; empty for that of the data set.
        lengths: of robench's attacks in the strength part, as multiples of their default steps.
        quick: whether the run only shows that everything works.
    """

    threads: int
    repetitions: int = 11
    width: float = 0.25
    timesteps: int = 10
    batch: int = 64
    models: tuple[str, ...] = ()
    stbp: str = "cifar10/vgg16-stbp"
    ann: str = "cifar10/vgg16-ann"
    images: int = 256
    steps: int = 20
    grid: tuple[str, ...] = GRID
    sweep_repetitions: int = 1
    peers: tuple[str, ...] = ("Foolbox", "advertorch", "ART")
    search: tuple[str, ...] = tuple(
        f"digits/{model}:{attack}"
        for attack in ("pgd", "spgd")
        for model in (
            "vgg16-ann",
            "vgg16-hybrid",
            "vgg16-stbp",
            "flex-ann",
            "flex-hybrid",
            "flex-stbp",
        )
    )
    search_images: int = 1000
    strength_images: int = 64
    strength_eps: str = ""
    lengths: tuple[float, ...] = (0.5, 1, 2)
    quick: bool = False

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """The role of each checkpoint in sweep and overhead with its id, unless that is empty."""
        return tuple(
            (role, model) for role, model in (("STBP", self.stbp), ("ANN", self.ann)) if model
        )

    def quickly(self) -> Options:
        """The options of a quick run, which is too small to measure speed."""
        return replace(
            self,
            repetitions=2,
            width=1 / 16,
            timesteps=3,
            batch=8,
            images=16,
            steps=3,
            grid=("0", "2/255", "8/255"),
            search=("digits/vgg16-ann:pgd",),
            search_images=16,
            strength_images=8,
            lengths=(0.05,),
            quick=True,
        )
