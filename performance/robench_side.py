"""All uses of robench's internals, beyond its public names, in one place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robench import Model, find_attack
from robench.architectures import VGG, FlexConfig, ModelConfig, NeuronConfig
from robench.attacks.primitives.losses import Loss
from robench.engine.gradient import differentiated
from robench.engine.query_counter import QueryCounter
from robench.engine.view import ModelView
from robench.evaluation import checking
from robench.evaluation.preparation import PREPARED
from robench.model_id import ModelId
from robench.registry.attack_spec import label, read_request
from robench.runtime.batch_size import cached_rows
from robench.runtime.threads import Workers
from robench.spiking.discovery import Discovery

Gradient = Callable[[Model, Tensor, Tensor], Tensor]


def robench_gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """``∂ cross-entropy/∂x`` as an attack of robench gets it, with the view's own counting.

    A cell starts its threads once; here they are started for each call.
    """
    n = len(x)
    with Workers(shared=model.shareable, largest=cached_rows(model, x)) as workers:
        view = ModelView(model, y, torch.arange(n), QueryCounter.empty(n), workers=workers)
        return view.gradient(x, y)


@contextmanager
def users_gradient(model: Model, x: Tensor, y: Tensor) -> Iterator[Callable[..., Tensor]]:
    """Inside, the gradient of a user's network with an estimator, as in a cell: in one thread."""
    with Workers(shared=False) as workers:
        view = ModelView(
            model, y, torch.arange(len(x)), QueryCounter.empty(len(x)), workers=workers
        )
        yield partial(view.gradient, x, y)


def users_model(network: nn.Module, model_id: str, x: Tensor) -> tuple[Model, Discovery]:
    """A user's network as a model, and the spikes that a survey on images found in it."""
    model = Model(network, ModelId(model_id))
    model.survey(x)
    assert model.discovery is not None
    return model, model.discovery


SEARCH_GRADIENT: Gradient | None = None
"""The gradient in bfloat16 for the search; None while robench does not offer it."""


def network_gradient(network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """``∂ cross-entropy/∂x`` of any network, as a user of PyTorch takes it."""
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(network(x), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return gradient


@dataclass
class Passes:
    """The cost of the calls of a network alone.

    Attributes:
        calls: their number.
        rows: images of all of them.
        seconds: of the same calls repeated, without anything around them.
    """

    calls: int = 0
    rows: int = 0
    seconds: float = 0.0


@contextmanager
def repeated_passes() -> Iterator[Passes]:
    """Repeat every call of a network that an attack makes inside, bare, and time the repetition.

    A repetition follows its call immediately, on the same images, by the same threads, with the
    same surrogate and path, so that the load of the machine and the number of spikes are the same.
    """
    passes = Passes()
    own_logits, own_gradient = ModelView.logits, ModelView.gradient

    def repeat(view: ModelView, rows: int, bare: Callable[[slice], object]) -> None:
        start = time.perf_counter()
        view.workers.map(bare, rows)
        passes.seconds += time.perf_counter() - start
        passes.calls, passes.rows = passes.calls + 1, passes.rows + rows

    def logits(view: ModelView, x: Tensor) -> Tensor:
        found = own_logits(view, x)

        def bare(rows: slice) -> None:
            with torch.no_grad():
                view.model.logits(x[rows])

        repeat(view, len(x), bare)
        return found

    def gradient(
        view: ModelView, x: Tensor, y: Tensor, loss: Loss = "cross-entropy", **options: Any
    ) -> Tensor:
        counts = view.queries.backwards[:, view.stage]
        before = counts[view.samples]
        found = own_gradient(view, x, y, loss, **options)
        rescaled = counts[view.samples] - before > 1  # rows that took a second pass
        through = options.get("surrogate"), options.get("path")

        def bare(rows: slice) -> None:
            network_gradient(module, x[rows], y[rows])
            if (again := rescaled[rows]).any():
                network_gradient(module, x[rows][again], y[rows][again])

        with differentiated(view.model, *through) as (module, _):
            repeat(view, len(x), bare)
        return found

    for name, repeating in (("logits", logits), ("gradient", gradient)):
        setattr(ModelView, name, repeating)
    try:
        yield passes
    finally:
        for name, own in (("logits", own_logits), ("gradient", own_gradient)):
            setattr(ModelView, name, own)


@contextmanager
def timed_checks() -> Iterator[dict[str, float]]:
    """The seconds that the checks of the cells inside take: ``of_model`` and ``of_cell``."""
    spent = {"of_model": 0.0, "of_cell": 0.0}

    def timed(check: Callable[..., Any], into: str) -> Callable[..., Any]:
        @wraps(check)
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return check(*args)
            finally:
                spent[into] += time.perf_counter() - start

        return call

    cells = "robench.evaluation.evaluate"
    with (
        mock.patch(f"{cells}.checks_of_model", timed(checking.checks_of_model, "of_model")),
        mock.patch(f"{cells}.checks_of_cell", timed(checking.checks_of_cell, "of_cell")),
    ):
        yield spent


@contextmanager
def timesteps_of(model: Model, timesteps: int) -> Iterator[None]:
    """Run the network with another number of time steps inside."""
    module = model.module
    if not hasattr(module, "timesteps"):
        yield
        return
    old = module.timesteps
    module.timesteps = timesteps  # type: ignore[assignment]
    try:
        yield
    finally:
        module.timesteps = old


def random_config(architecture: str, reset: str, *, width: float, timesteps: int) -> ModelConfig:
    """The card of an STBP network with β = ½, threshold 1 and atan(2)."""
    return ModelConfig.model_validate(
        {
            "architecture": architecture,
            "mode": "stbp",
            "dataset": "digits",
            "classes": 10,
            "width": width,
            "timesteps": timesteps,
            "neuron": NeuronConfig(reset=reset),  # type: ignore[arg-type]
            "flex": FlexConfig(plasticity=0.1 if architecture == "flex-vgg16" else 0.0),
        }
    )


def random_model(config: ModelConfig, images: Tensor, *, seed: int = 0) -> Model:
    """Random weights, with batch norms estimated on the images so that every layer fires."""
    torch.manual_seed(seed)
    module = VGG(config)
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the average over all passes
        norm.reset_running_stats()
    module.train()
    with torch.no_grad():
        for batch in images.split(32):
            module(batch)
    model = Model(
        module.eval().requires_grad_(False),
        ModelId(f"{config.dataset}/random-{config.architecture}"),
        config.classes,
        card=config.model_dump(mode="json"),
        mode=config.mode,
        timesteps=config.timesteps,
        shareable=True,
    )
    model.prepare(images[:PREPARED])
    return model


def at_length(attack: str, factor: float) -> tuple[str, int]:
    """An attack with a multiple of its steps, at least one; their sum over its stages."""
    name, changes = read_request(attack)
    whole = find_attack(attack).attack
    steps = {key: max(1, round(factor * getattr(whole, key))) for key in whole.lengths}
    return label(name, changes | steps), sum(steps.values())


def config_of(model: Model) -> ModelConfig:
    """The ``[model]`` table of the card that a checkpoint was built from."""
    card = {key: value for key, value in model.card.items() if key in ModelConfig.model_fields}
    return ModelConfig.model_validate(card)
