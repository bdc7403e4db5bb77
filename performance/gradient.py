"""One input gradient of the cross-entropy, in robench, snnTorch and SpikingJelly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from performance import robench_side
from performance.checkpoints import load_images, load_model
from performance.convolutions import bound_ms, membranes_mb
from performance.options import Options
from performance.peers import snntorch as snntorch_peer
from performance.peers.plan import NotComparable, make_exact
from performance.robench_side import network_gradient, robench_gradient
from performance.targets import SEARCH
from performance.timing import interleaved, isolated, median, peak_growth
from robench import Model
from robench.architectures import ModelConfig

TOLERANCE = 1e-12
AGREEMENT = 0.99
AGREEMENT_IMAGES = 200
PROOF_IMAGES = 16
PEERS = ("snnTorch", "SpikingJelly")
TRAINED = ("digits/vgg16-stbp", "digits/flex-stbp")
"""Checkpoints whose firing rates are shown beside those of the random weights."""


@dataclass(frozen=True)
class Case:
    """A network to step through: random weights, or a checkpoint's."""

    architecture: str = ""
    reset: str = ""
    model: str = ""


CASES = (Case("vgg16", "zero"), Case("flex-vgg16", "zero"), Case("vgg16", "subtract"))


@dataclass(frozen=True)
class Built:
    """A case with its network and images."""

    model: Model
    config: ModelConfig
    x: Tensor
    y: Tensor


def build(case: Case, options: Options) -> Built:
    """The network of a case; every call gives the same weights, in a module of its own."""
    _, images = load_images(case.model or "digits/", max(AGREEMENT_IMAGES, options.batch))
    x, y = images.tensor(), images.targets()
    if case.model:
        model = load_model(case.model)
        return Built(model, robench_side.config_of(model), x, y)
    config = robench_side.random_config(
        case.architecture, case.reset, width=options.width, timesteps=options.timesteps
    )
    return Built(robench_side.random_model(config, x[:128]), config, x, y)


def peer_network(name: str, built: Built, *, exact: bool = False) -> nn.Module:
    """A peer's network with the weights of a case, in their type.

    Raises:
        NotComparable: the peer computes another function, or is not installed.
    """
    if name == "snnTorch":
        return snntorch_peer.network(built.config, built.model.module, exact=exact)
    try:
        from performance.peers import spikingjelly
    except ImportError as error:
        raise NotComparable(f"not installed ({error}); it is part of the extra `dev`") from None
    return spikingjelly.network(built.config, built.model.module)


def sameness(case: Case, name: str, options: Options) -> dict[str, Any]:
    """Compare a peer's function with robench's.

    Returns:
        The largest difference of ``logits`` and of ``gradient`` in float64, the share of equal
        predictions in float32 (``agreement``), and why the row is ``void``, empty if it is not.
    """
    exact, plain = build(case, options), build(case, options)
    exact.model.module.double()
    x, y = exact.x[:PROOF_IMAGES].double(), exact.y[:PROOF_IMAGES]
    peer = peer_network(name, exact, exact=True)
    make_exact(peer)
    with torch.no_grad():
        logits = float((peer(x) - exact.model.logits(x)).abs().max())
    difference = network_gradient(peer, x, y) - robench_gradient(exact.model, x, y)
    gradient = float(difference.abs().max())
    peer = peer_network(name, plain)
    with torch.no_grad():
        pairs = [(peer(x), plain.model.logits(x)) for x in plain.x.split(options.batch)]
    equal = torch.cat([ours.argmax(1) == theirs.argmax(1) for theirs, ours in pairs])
    agreement = float(equal.float().mean())
    void = ""
    if max(logits, gradient) > TOLERANCE:
        void = f"not the same function in float64: {max(logits, gradient):.1e} apart"
    elif agreement < AGREEMENT:
        void = f"predictions agree on {agreement:.1%} in float32"
    return {"logits": logits, "gradient": gradient, "agreement": agreement, "void": void}


def steps_of(built: Built, options: Options, names: list[str]) -> dict[str, Callable[[], Tensor]]:
    """The gradient step of each competitor on the same images."""
    x, y = built.x[: options.batch], built.y[: options.batch]
    return {name: partial(_gradient_of(name, built), x, y) for name in names}


def _gradient_of(name: str, built: Built) -> Callable[[Tensor, Tensor], Tensor]:
    if name == "robench":
        return partial(robench_gradient, built.model)
    if name == SEARCH:
        assert robench_side.SEARCH_GRADIENT is not None
        return partial(robench_side.SEARCH_GRADIENT, built.model)
    return partial(network_gradient, peer_network(name, built))


def memory_of(case: Case, name: str, options: Options) -> float:
    """Peak memory of a competitor's step in MiB; call it in a fresh process."""
    built = build(case, options)
    gradient = _gradient_of(name, built)
    gradient(built.x[:1], built.y[:1])
    x, y = built.x[: options.batch], built.y[: options.batch]
    return peak_growth(lambda: gradient(x, y))


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows so far, after each case."""
    rows: list[dict[str, Any]] = []
    bounds: dict[str, dict[str, float]] = {}
    trained = {model: _rates(build(Case(model=model), options), options) for model in TRAINED}
    for case in (*CASES, *(Case(model=model) for model in options.models)):
        built = build(case, options)
        config = built.config
        shape = f"{config.width} {config.timesteps}"
        if shape not in bounds:
            bounds[shape] = bound_ms(config, options.batch, max(2, options.repetitions // 2))
        rows.append(
            {
                "architecture": config.architecture,
                "reset": config.neuron.reset,
                "model": case.model,
                "width": config.width,
                "timesteps": config.timesteps,
                "batch": options.batch,
                "convolutions_ms": bounds[shape],
                "membranes_mb": membranes_mb(config, options.batch),
                **_row(case, built, options),
            }
        )
        yield {"rows": rows, "trained_rates": trained}


def _row(case: Case, built: Built, options: Options) -> dict[str, Any]:
    names = ["robench", *([SEARCH] if robench_side.SEARCH_GRADIENT is not None else [])]
    proofs: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name in PEERS:
        try:
            proofs[name] = sameness(case, name, options)
        except NotComparable as reason:
            skipped[name] = str(reason)
        else:
            names.append(name)
    times = interleaved(steps_of(built, options, names), options.repetitions)
    return {
        "firing_rates": _rates(built, options),
        "sameness": proofs,
        "skipped": skipped,
        "ms": {name: 1e3 * median(values) for name, values in times.items()},
        "all_ms": {name: [1e3 * value for value in values] for name, values in times.items()},
        "memory_mb": {
            name: isolated(options.threads, memory_of, case, name, options) for name in names
        },
    }


def _rates(built: Built, options: Options) -> list[float]:
    return snntorch_peer.firing_rates(built.config, built.model.module, built.x[: options.batch])
