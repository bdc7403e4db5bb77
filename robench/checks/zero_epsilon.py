"""Whether an attack with ε = 0 returns the clean image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from robench.attacks import Attack
from robench.attacks.primitives.norms import project
from robench.checks.verdicts import at_most
from robench.engine.chunk import Chunk
from robench.engine.stages import stages_of
from robench.engine.target import Target
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import with_fewer

SAMPLES = 16


def zero_epsilon(
    model: Model, attack: Attack, chunk: Chunk, seed: int, sources: tuple[Model, ...] = ()
) -> Check:
    """At ε = 0 the attack returns the clean image."""
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
    eps = torch.zeros(len(rows), dtype=x.dtype)
    wrong = torch.zeros(len(rows), dtype=torch.bool)
    for stage in stages_of(attack)[0]:
        state = stage.init(view, x, y, eps, noise)
        state.candidate = project(state.candidate, x, eps, attack.norm)
        state = state.rows((state.phase == state.phase[0]).nonzero().squeeze(1))
        candidate, _ = stage.step(view, x, y, eps, state, noise)
        candidate = project(candidate, x, eps, attack.norm)
        wrong |= (candidate != x).flatten(1).any(1)
    return at_most("zero-epsilon", float(wrong.double().mean()), 0.0, "epsilon-zero")
