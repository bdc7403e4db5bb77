"""Whether gradients foretell how the logits change where pixels change as much as in an attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import normalize

from robench.attacks import SPGD
from robench.attacks.primitives.losses import direction_of
from robench.checks.registry import FEWEST, Examined
from robench.checks.verdicts import at_most
from robench.engine.gradient import differentiated, take
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import with_fewer
from robench.spiking import Surrogate

SCALES, WAYS, BLOCK = (2 / 255, 8 / 255, 32 / 255), 16, 4
"""Changes of a pixel, random ways of each, and the side of the blocks that change alike."""
ALIKE = 0.6
"""The cosine of said and true changes that a gradient has to reach at one of the scales. Of honest
ANNs of digits it is above 0.9, past hidden spikes below 0.55."""
FEW = 0.2
"""The share of images that may miss it before another scale is tried."""
UNSEEN = 0.05
"""The share of the pixels that may have no gradient."""
STRENGTH, EFFECT = 32 / 255, 0.25
"""How much these pixels are changed, and the largest change of the logits for each of them that is
none, relative to that of the other pixels."""


def pixels(subject: Examined) -> Check | None:
    """Suspect if pixels have no gradient on any image although the logits depend on them.

    An attack along the gradient never changes them. The gradient is that of ``spgd``, at points
    beside the images, where no two pixels are equal. The figure is the share of these pixels. None
    for a checkpoint, for a stochastic model, and with fewer than 16 images.
    """
    model = subject.model
    if model.checkpoint or model.stochastic or len(subject.x) < FEWEST:
        return None
    x, classes = subject.predicted
    value = with_fewer(lambda most: _unseen(model, x[:most], classes[:most]), len(x))
    return at_most("pixels", value, UNSEEN, "pixels-without-gradient", "suspect")


def _unseen(model: Model, x: Tensor, classes: Tensor) -> float:
    """The share of the pixels that have no gradient and change the logits; 0 if they do not."""
    generator = torch.Generator().manual_seed(0)
    near = 0.9 * x + 0.1 * torch.rand(x.shape, generator=generator)
    with through_spikes(model) as network:
        gradient = _taken(network, model, near, classes)
    unseen = (gradient == 0).all(0)
    share = float(unseen.double().mean())
    if not UNSEEN < share < 1:  # without any gradient, another check says so
        return 0.0
    way = STRENGTH * torch.rand(x.shape, generator=generator).sub(0.5).sign()
    start = logits_of(model, near)
    here, elsewhere = (
        float((logits_of(model, near + way * some) - start).norm()) / float(some.sum()) ** 0.5
        for some in (unseen, ~unseen)
    )
    return share if here > EFFECT * elsewhere else 0.0


def unlike_at_scale(model: Model, x: Tensor, classes: Tensor) -> float:
    """The share of images of which the own gradient foretells no change of the margin.

    The changes are those between two images on either side of an image, along random ways. One of
    the scales is enough: a network may bend at a large one, and round at a small one.
    """
    gradient = _taken(model.call, model, x, classes)
    weights = direction_of(logits_of(model, x), classes, "margin")
    bad = torch.ones(len(x), dtype=torch.bool)
    for scale in SCALES:
        generator = torch.Generator().manual_seed(0)
        said, true = [], []
        for _ in range(WAYS):
            way = scale * _blocks(x, generator)
            change = logits_of(model, x + way) - logits_of(model, x - way)
            true.append((change * weights).sum(1))
            said.append((gradient * way).flatten(1).sum(1))
        bad &= ~(cosines(said, true) >= ALIKE)
        if float(bad.double().mean()) <= FEW:
            break
    return float(bad.double().mean())


def cosines(said: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Of what a gradient says of some changes and of what they are, each ``(N,)``; by image."""
    ways = (normalize(torch.stack(list(each)).double(), dim=0, eps=0) for each in (said, true))
    return torch.mul(*ways).sum(0)


def _blocks(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random signs of the shape of ``x``, the same in each block of pixels."""
    *rest, height, width = x.shape
    few = [*rest, -(-height // BLOCK), -(-width // BLOCK)]
    signs = torch.rand(few, generator=generator).sub(0.5).sign().to(x)
    whole = signs.repeat_interleave(BLOCK, -2).repeat_interleave(BLOCK, -1)
    return whole[..., :height, :width]


@contextmanager
def through_spikes(model: Model) -> Iterator[Callable[[Tensor], Tensor]]:
    """Inside, the network with the surrogate of ``spgd``; a network without spikes as it is."""
    with differentiated(model, Surrogate.parse(SPGD().surrogate), None) as (network, _):
        yield network


def _taken(network: Callable[[Tensor], Tensor], model: Model, x: Tensor, classes: Tensor) -> Tensor:
    none = [None] * len(x)
    return take(network, model.device, x, classes, "margin", none, rescale=True).gradient


@torch.no_grad()
def logits_of(model: Model, x: Tensor) -> Tensor:
    """The logits of a call, ``(N, K)``, on the CPU."""
    return model.call(x.to(model.device)).cpu()
