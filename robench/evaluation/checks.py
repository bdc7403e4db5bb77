"""The checks that decide whether a number may be trusted, each with its threshold on record.

Sources: Athalye et al., Obfuscated gradients give a false sense of security, ICML 2018; Carlini
et al., On evaluating adversarial robustness, 2019; Croce and Hein, AutoAttack, ICML 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robench.attacks import Attack
from robench.attacks.norms import project
from robench.evaluation.chunk import Chunk
from robench.evaluation.draws import DRAWS, Draws, Numbers
from robench.evaluation.memory import is_out_of_memory, with_fewer
from robench.evaluation.stages import iterative
from robench.evaluation.target import Target
from robench.results import CLEAN_WRONG, Check, Verdict
from robench.spiking import bound
from robench.zoo import Model

SAMPLES = 16
LOGIT_TOLERANCE = 1e-6  # in float64, where rounding cannot flip a spike
SINGLE_TOLERANCE = 1e-3  # for a model that cannot run in float64
DEAD_SAMPLES = 0.01
CARD_ACCURACY = 0.005
SMALLEST = 1  # position of the first ε above 0 in a grid

_SEVERITY: tuple[Verdict, ...] = ("unchecked", "valid", "suspect", "invalid")


def worst_verdict(checks: Sequence[Check]) -> Verdict:
    """The most severe verdict among checks; ``unchecked`` where there is none."""
    return max((check.verdict for check in checks), key=_SEVERITY.index, default="unchecked")


def _judge(name: str, value: float, threshold: float, reason: str) -> Check:
    bad = not value <= threshold  # a NaN is bad too
    return Check(
        name=name,
        value=value if np.isfinite(value) else float(np.finfo(np.float64).max),
        threshold=threshold,
        verdict="invalid" if bad else "valid",
        reason=reason if bad else "",
    )


def deterministic(model: Model, x: Tensor) -> Check:
    """The same input twice, in another order and alone gives the same logits (B3, C06, C07).

    Measured in float64 on a copy of the model, since a rounding difference in float32 can flip a
    spike at the threshold; in float32 where the model cannot run in float64. Of a stochastic model
    it is asked that the logits follow from input and draw: one that has other random numbers than
    those of :class:`robench.spiking.ModelNoise` gives outcomes that nobody can repeat.
    """
    return with_fewer(lambda rows: _deterministic(model, x[:rows]), min(SAMPLES, len(x)))


def _deterministic(model: Model, x: Tensor) -> Check:
    x = x.to(model.device)
    numbers = None
    if model.stochastic:
        numbers = Draws(dataset=model.dataset).judging(torch.arange(len(x)))[0]
    try:
        module = copy.deepcopy(model.module).double()
        value, threshold = _largest_difference(module, x.double(), numbers), LOGIT_TOLERANCE
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        value, threshold = _largest_difference(model.module, x, numbers), SINGLE_TOLERANCE
    if model.stochastic:
        return _judge("draws", value, threshold, "draws-not-bound")
    return _judge("deterministic", value, threshold, "not-deterministic")


def _largest_difference(module: torch.nn.Module, x: Tensor, numbers: Numbers | None) -> float:
    def call(rows: Sequence[int], images: Tensor) -> Tensor:
        with nullcontext() if numbers is None else bound(numbers.rows(rows)):
            out: Tensor = module(images)
        return out

    order = range(len(x))
    with torch.no_grad():
        first = call(order, x)
        alone = torch.cat([call([row], x[row : row + 1]) for row in order])
        others = (call(order, x), call(order[::-1], x.flip(0)).flip(0), alone)
    return max(float((other - first).abs().max()) for other in others)


def usable_gradient(rows: pd.DataFrame) -> Check | None:
    """A zero or non-finite gradient on more than 1 % of the attacked samples is invalid.

    A sample counts when in no stage of the attack more than half of the gradients that it took on
    the sample were usable. One that broke at the smallest ε is left out: a better gradient cannot
    lower its number, and it may be in need of none, as where the random start of a first stage
    without a gradient breaks it. None where the attack took no gradient.
    """
    asked = rows["backwards"] > 0
    if not asked.any():
        return None
    counted = rows["dead"][asked & (rows["break_position"] != SMALLEST)]
    share = float(counted.mean()) if len(counted) else 0.0
    reason = "gradient-unavailable" if share == 1 else "zero-gradient"
    return _judge("gradient", share, DEAD_SAMPLES, reason)


def asked(rows: pd.DataFrame, *, stochastic: bool = False) -> Check | None:
    """An attack that let the model look at nothing but the clean image has not attacked.

    That look is one pass, and of a stochastic model one for each draw. Invalid where it is all on
    more than 1 % of the samples that are right at ε = 0; None where it is so on none of them, so
    that an attack that asks leaves no trace on the record.
    """
    right = rows["break_position"] != CLEAN_WRONG
    clean = DRAWS if stochastic else 1
    idle = rows["forwards"][right] + rows["backwards"][right] <= clean
    return _judge("asked", float(idle.mean()), DEAD_SAMPLES, "no-query") if idle.any() else None


def zero_epsilon(
    model: Model, attack: Attack, chunk: Chunk, seed: int, sources: tuple[Model, ...] = ()
) -> Check:
    """At ε = 0 the attack returns the clean image and the clean accuracy."""
    look = partial(_zero_epsilon, model, attack, chunk, seed, sources)
    return with_fewer(look, SAMPLES)


def _zero_epsilon(
    model: Model, attack: Attack, chunk: Chunk, seed: int, sources: tuple[Model, ...], samples: int
) -> Check:
    first = list(chunk.indices)[:samples]
    part = replace(chunk, x=chunk.x[:samples], y=chunk.y[:samples], indices=first)
    target = Target(model, part, seed=seed, sources=sources)
    rows = torch.arange(len(first))
    x, y, view, noise = target.x, part.y, target.view(rows, 0), target.noise(rows)
    clean = view.logits(x).argmax(1)
    eps = torch.zeros(len(rows), dtype=x.dtype)
    wrong = torch.zeros(len(rows), dtype=torch.bool)
    for stage in iterative(attack):
        state = stage.init(view, x, y, eps, noise)
        state.candidate = project(state.candidate, x, eps, attack.norm)
        state = state.rows((state.phase == state.phase[0]).nonzero().squeeze(1))
        candidate, _ = stage.step(view, x, y, eps, state, noise)
        candidate = project(candidate, x, eps, attack.norm)
        wrong |= (candidate != x).flatten(1).any(1)
        wrong |= view.logits(candidate).argmax(1) != clean
    return _judge("zero-epsilon", float(wrong.double().mean()), 0.0, "epsilon-zero")


def card_accuracy(model: Model, rows: pd.DataFrame) -> Check | None:
    """A fresh clean accuracy within half a point of the card's; None where a card has none."""
    if model.clean_accuracy is None:
        return None
    measured = float((rows["break_position"] != CLEAN_WRONG).mean())
    return _judge(
        "card-accuracy", abs(measured - model.clean_accuracy), CARD_ACCURACY, "card-accuracy"
    )
