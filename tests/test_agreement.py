"""Our PGD beside that of Foolbox and of advertorch, from the same start with the same step."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robench.attacks import PGD
from robench.attacks.norms import project
from robench.datasets import find_dataset
from robench.errors import MissingDataError
from robench.evaluation.noise import SampleNoise
from robench.evaluation.view import Ledger, ModelView
from robench.zoo import Model, select_models


@dataclass
class Case:
    """A checkpoint, some test images, and an ε."""

    model: Model
    x: Tensor
    y: Tensor
    eps: float


@cache
def case(name: str, count: int, eps: float) -> Case:
    (entry,) = select_models([name])
    if entry.missing:
        pytest.skip(f"{name}: {entry.missing}")
    try:
        images = find_dataset(entry.id.partition("/")[0]).load("test").first(count)
    except MissingDataError as error:
        pytest.skip(str(error))
    return Case(entry.load(), images.tensor(), images.targets(), eps)


def start_of(found: Case) -> Tensor:
    """The random start of our PGD, in ball and box."""
    noise = SampleNoise(0, found.model.dataset, range(len(found.x)), found.x.shape[1:])
    eps = torch.full((len(found.x),), found.eps, dtype=found.x.dtype)
    return project(PGD.start_point(found.x, eps, noise, 0), found.x, eps)


def by_foolbox(found: Case, steps: int) -> Tensor:
    import foolbox

    class Started(foolbox.attacks.LinfPGD):
        def get_random_start(self, x0, epsilon):
            return type(x0)(start_of(found))

    wrapped = foolbox.PyTorchModel(found.model.module, bounds=(0, 1), device="cpu")
    attack = Started(rel_stepsize=2.5 / steps, steps=steps, random_start=True)
    wanted = foolbox.criteria.Misclassification(found.y)
    return attack.run(wrapped, found.x, wanted, epsilon=found.eps)


def by_advertorch(found: Case, steps: int) -> Tensor:
    from robench.compat import advertorch

    advertorch.load()
    from advertorch.attacks.iterative_projected_gradient import perturb_iterative

    return perturb_iterative(
        found.x,
        found.y,
        found.model.module,
        nb_iter=steps,
        eps=found.eps,
        eps_iter=2.5 * found.eps / steps,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        delta_init=start_of(found) - found.x,
        ord=np.inf,
    )


def last_iterate(found: Case, steps: int) -> Tensor:
    """Where our PGD ends that no break stops."""
    n = len(found.x)
    noise = SampleNoise(0, found.model.dataset, range(n), found.x.shape[1:])
    attack, eps = PGD(steps=steps), torch.full((n,), found.eps, dtype=found.x.dtype)
    view = ModelView(found.model, found.y, torch.arange(n), Ledger.empty(n))
    state = attack.init(view, found.x, found.y, eps, noise)
    state.candidate = project(state.candidate, found.x, eps)
    for _ in range(steps):
        candidate, state = attack.step(view, found.x, found.y, eps, state, noise)
        state.candidate = project(candidate, found.x, eps)
    return state.candidate


def in_double(found: Case) -> Case:
    """The same in float64, in which no rounding makes a spike."""
    model = Model(copy.deepcopy(found.model.module).double(), found.model.id, found.model.classes)
    return Case(model, found.x.double(), found.y, found.eps)


@pytest.mark.parametrize("library", [by_foolbox, by_advertorch])
@pytest.mark.parametrize("name", ["digits/vgg16-ann", "digits/vgg16-stbp"])
def test_pgd_takes_the_steps_of_the_libraries(name, library) -> None:
    found = in_double(case(name, 12, 12 / 255))
    theirs, ours = library(found, 5), last_iterate(found, 5)
    same = (ours - theirs).abs() < 1e-6  # a gradient near zero can change its sign by rounding
    assert same.double().mean() > 0.99
    assert ((ours - start_of(found)).abs() > 1e-3).any()
