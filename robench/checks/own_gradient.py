"""Whether the gradients that attacks follow lead anywhere: a network's own, and a chosen one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robench.attacks.primitives.losses import direction_of, loss_of
from robench.attacks.primitives.per_sample import magnitude
from robench.checks.determinism import SINGLE_TOLERANCE, difference
from robench.checks.differences import cosines, logits_of, through_spikes, unlike_at_scale
from robench.checks.registry import FEWEST, Examined
from robench.checks.rows import UNAVAILABLE
from robench.checks.verdicts import at_most
from robench.engine.gradient import take
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import is_out_of_memory, with_fewer
from robench.spiking.discovery.found import FoundFunction
from robench.spiking.discovery.operations import WithoutRoundings

WAYS, TINY, ALIKE = 24, 1e-6, 0.5
"""Random ways along which a derivative is measured, the length of a step, and the cosine of the two
that a gradient has to reach. A clipped one reaches it, one that is mirrored does not."""
UNUSABLE = 0.1
"""The largest share of images without a usable gradient."""
ODD = 0.01
"""The largest sum of opposite gradients, relative to one of them."""
EPSILON = 48 / 255
STEPS = 3
LOST = 0.4
"""The largest share of images on which the gradient leads no further than another direction.

It is two thirds for random directions. Of the models of digits, none is above 0.2."""


def own_gradient(subject: Examined) -> Check | None:
    """Suspect if an attack that follows the network's own gradient has none for many images.

    It is missing, zero, not finite, or so small that it is lost in the number type. The figure is
    the share of these images. Where an attack may give the spikes another derivative, a gradient
    that is missing, zero or not finite is left to the check of the attack.
    """
    taken = subject.gradient
    size = magnitude(taken.gradient)
    bad, lost = ~size.isfinite(), size == 0
    usable = ~bad & ~lost
    if subject.model.spiking:
        if not usable.any():
            return None
        bad, lost = torch.zeros_like(bad), torch.zeros_like(lost)
    small = usable & (taken.again | (size < torch.finfo(taken.dtype).tiny))
    half = any(dtype.itemsize < 4 for dtype in (taken.dtype, *_types(subject.model)))
    reasons = {
        "gradient-not-finite": bad,
        UNAVAILABLE: lost,
        "gradient-underflows" if half else "saturated-loss": small,
    }
    if half and not bool(lost.all()):
        reasons = {"gradient-underflows": bad | lost | small}
    reason = max(reasons, key=lambda name: float(reasons[name].double().mean()))
    share = float((bad | lost | small).double().mean())
    return at_most("own-gradient", share, UNUSABLE, reason, "suspect")


def agreement(subject: Examined) -> Check | None:
    """Suspect if a few steps along the sign of the gradient do not raise the loss.

    They are compared with as many steps against it, and with one in a random direction, in a ball
    in which one step of a spiking network's gradient would say little: it is the derivative of no
    function. The figure is the share of images on which either leads as far. None for a stochastic
    network, declared or not, and with fewer than 16 images with a gradient.

    A network in which no step was found but roundings by operations of torch has a derivative once
    these are left out, and its gradient has to resemble it along random directions. Without
    roundings it also has to foretell the changes of the logits at the scale of an attack, which
    contain those of hidden steps.

    Whatever its surrogates, a backward pass is linear, so the gradient of the negative loss is the
    negative gradient. One that is not ignores the loss, as random or constant numbers do.

    The gradient is the network's own, also where an attack can replace it.
    """
    if subject.model.stochastic:
        return None
    gradient = subject.gradient.gradient
    size = magnitude(gradient)
    usable = size.isfinite() & (size > 0)
    if int(usable.sum()) < FEWEST:
        return None
    most = len(gradient)
    x, classes = subject.x[:most][usable], subject.logits[:most].argmax(1)[usable]
    if not difference(*(logits_of(subject.model, x) for _ in range(2))) <= SINGLE_TOLERANCE:
        return None  # found by another check
    value = with_fewer(lambda most: _even(subject.model, x[:most], classes[:most]), len(x))
    if value > LOST:
        return at_most("agreement", value, LOST, "own-gradient-ignores-the-loss", "suspect")
    value = with_fewer(lambda most: _lost(subject.model, x[:most], classes[:most]), len(x))
    reason = "own-gradient-does-not-agree"
    if value <= LOST and _smooth(subject.model):
        other = with_fewer(lambda most: _unlike(subject.model, x[:most], classes[:most]), len(x))
        if other <= LOST and not subject.model.replaces:
            other = with_fewer(
                lambda most: unlike_at_scale(subject.model, x[:most], classes[:most]), len(x)
            )
        if other > LOST:
            value, reason = other, "own-gradient-is-no-derivative"
    return at_most("agreement", value, LOST, reason, "suspect")


def replaced_gradient(subject: Examined) -> Check | None:
    """Suspect if a few steps along the gradient through replaced spikes do not raise the loss.

    The derivative of a spike may have been given the wrong sign, or nearly all of the gradient may
    have been lost where no spike was found. The spikes have the surrogate of ``spgd``, and the
    figure is that of :func:`agreement`. None without replaced spikes, for a stochastic model, and
    with fewer than 16 images.
    """
    model, found = subject.model, subject.model.discovery
    if found is None or not (found.replaced and found.spikes) or model.stochastic:
        return None
    x, classes = subject.predicted
    if len(x) < FEWEST:
        return None
    with through_spikes(model) as network:
        value = with_fewer(lambda most: _lost(model, x[:most], classes[:most], network), len(x))
    return at_most("replaced-gradient", value, LOST, "replaced-gradient-does-not-agree", "suspect")


def _even(model: Model, x: Tensor, classes: Tensor) -> float:
    """The share of images of which the gradients of loss and negative loss are not opposite."""
    leaf, classes = x.detach().to(model.device).requires_grad_(), classes.to(model.device)
    with torch.enable_grad():  # without a recorder, adaptive surrogates are the same in both passes
        logits = model.call(leaf)
        if not logits.requires_grad:  # those of an earlier call
            return 1.0
        # of one forward pass, which may be random
        weights = direction_of(logits.detach(), classes, "cross-entropy")
        (ascent,) = torch.autograd.grad(logits, leaf, weights, retain_graph=True)
        (descent,) = torch.autograd.grad(logits, leaf, -weights)
    bad = magnitude(ascent + descent) > ODD * magnitude(ascent)
    return float(bad.double().mean())


def _smooth(model: Model) -> bool:
    """Whether nothing in a network jumps but roundings, as far as robench has looked into it."""
    found = model.discovery
    if found is None or model.layered or model.mode != "ann":
        return False
    functions = any(isinstance(step, FoundFunction) for step in found.quantisers)
    return not (found.spikes or functions or found.own or found.refused)


def _unlike(model: Model, x: Tensor, classes: Tensor) -> float:
    """The share of images of which the gradient does not resemble differences of logits.

    Both are those of the cross-entropy's direction, along random ways from a point beside the
    image, where no two pixels are equal and no maximum is shared. 0 for a network that cannot run
    in float64, and for one that is random there.
    """
    generator = torch.Generator().manual_seed(0)
    near = (0.9 * x.double() + 0.1 * torch.rand(x.shape, generator=generator)).to(model.device)
    try:
        exact = model.in_double()
        # throughout, since some networks compute otherwise without gradients
        with torch.enable_grad(), WithoutRoundings():
            leaf = near.requires_grad_()
            logits, again = exact.call(leaf), exact.call(leaf)
            weights = direction_of(logits.detach(), classes.to(model.device), "cross-entropy")
            (gradient,) = torch.autograd.grad(logits, leaf, weights)
            said, true = [], []
            for _ in range(WAYS):
                way = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(near)
                change = exact.call(leaf + TINY * way) - exact.call(leaf - TINY * way)
                true.append((change.detach() * weights).sum(1))
                said.append((gradient * way).flatten(1).sum(1))
    except Exception as error:  # a network may refuse float64 in any way
        if is_out_of_memory(error):
            raise
        return 0.0
    if not torch.equal(logits, again):
        return 0.0
    return float((~(cosines(said, true) >= ALIKE)).double().mean())


def _lost(
    model: Model, x: Tensor, classes: Tensor, network: Callable[[Tensor], Tensor] | None = None
) -> float:
    """The share of images on which the gradient leads no further than another direction.

    It is that of ``network``, which has the logits of the model; by default the model's own.
    """
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(x.shape, generator=generator).sub(0.5).sign().to(x)
    none = [None] * len(x)
    ends = [(x + EPSILON * random).clamp(0, 1)]
    for way in (1, -1):
        end = x
        for _ in range(STEPS):
            found = take(
                network or model.call, model.device, end, classes, "cross-entropy", none,
                rescale=True,
            )  # fmt: skip
            moved = end + way * 2 * EPSILON / STEPS * found.gradient.sign()
            end = moved.clamp(x - EPSILON, x + EPSILON).clamp(0, 1)
        ends.append(end)
    losses = [loss_of(logits_of(model, end).double(), classes, "margin") for end in ends]
    drawn, along, against = losses
    return float((along <= torch.maximum(drawn, against)).double().mean())


def _types(model: Model) -> set[torch.dtype]:
    """The number types of the parameters."""
    return {p.dtype for p in model.module.parameters() if p.is_floating_point()}
