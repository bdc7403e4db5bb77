"""A user's network of snnTorch: what the substitution of its spikes costs, and a sweep of it.

Everything runs in one thread, in which small tensors take no longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import snntorch
import torch
from snntorch import surrogate as slopes
from torch import Tensor, nn
from torch.nn import functional as F

from performance.checkpoints import load_images
from performance.options import Options
from performance.robench_side import network_gradient, users_gradient, users_model
from performance.sweep import library_sweep, request, row_of
from performance.targets import OWN, PLAIN, REPLACED, THEIRS
from performance.timing import interleaved, isolated, median, median_interval
from robench import evaluate
from robench.runtime.allocator import keep_freed_memory
from robench.spiking import Surrogate

DATASET = "digits"
SURROGATE = Surrogate("atan", 2.0)
"""The one that the network has itself, so that only the substitution is compared."""
EPOCHS, TRAINING_STEPS = 2, 4
Weights = dict[str, Tensor]


class Network(nn.Module):
    """Two convolutions with Leaky neurons, step by step, as a tutorial of snnTorch writes it."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32 * 4 * 4, 10)
        spike = slopes.atan(alpha=SURROGATE.sharpness)
        self.near, self.far = (snntorch.Leaky(0.5, spike_grad=spike) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images ``(N, 3, 32, 32)``: the mean of the head's output over time."""
        x = F.avg_pool2d(x, 2)  # the digits have 8×8 pixels of their own
        first, second = self.near.reset_mem(), self.far.reset_mem()
        record = []
        for _ in range(self.timesteps):
            spikes, first = self.near(self.first(x), first)
            spikes, second = self.far(self.second(F.avg_pool2d(spikes, 2)), second)
            record.append(self.head(F.avg_pool2d(spikes, 2).flatten(1)))
        return torch.stack(record).mean(0)


def train() -> Weights:
    """The weights after a short training on digits, with fewer steps than are measured.

    Call it in a fresh process.
    """
    keep_freed_memory()
    torch.manual_seed(0)
    net, (_, images) = Network(TRAINING_STEPS), load_images(DATASET + "/", 10**9, "train")
    x, y = images.tensor(), images.targets()
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.state_dict()


def network(weights: Weights, options: Options) -> Network:
    """The network with these weights, frozen."""
    net = Network(options.timesteps)
    net.load_state_dict(weights)
    return net.eval().requires_grad_(False)


def substitution(weights: Weights, rows: int, options: Options) -> dict[str, Any]:
    """A gradient of some images, plain and by robench's view; call it in a fresh process.

    Raises:
        RuntimeError: a spike of the network is not replaced.
    """
    net = network(weights, options)
    _, images = load_images(DATASET + "/", rows)
    x, y = images.tensor(), images.targets()
    model, found = users_model(net, f"{DATASET}/snntorch", x)
    if not found.spikes or found.own or found.refused:
        raise RuntimeError(f"not every spike is replaced: {found}")
    with users_gradient(model, x, y) as gradient:
        steps: dict[str, Callable[[], Tensor]] = {
            PLAIN: partial(network_gradient, net, x, y),
            OWN: gradient,
            REPLACED: partial(gradient, surrogate=SURROGATE),
        }
        times = interleaved(steps, options.repetitions)
    ratios = {
        name: [one / plain for one, plain in zip(values, times[PLAIN], strict=True)]
        for name, values in times.items()
    }
    return {
        "model": "",
        "spikes": str(found),
        "rows": len(x),
        "ms": {name: 1e3 * median(values) for name, values in times.items()},
        "ratio": {name: median(values) for name, values in ratios.items()},
        "interval": {name: median_interval(values) for name, values in ratios.items()},
    }


def robench_sweep(weights: Weights, options: Options) -> dict[str, Any]:
    """The sweep of :func:`robench.evaluate`; call it in a fresh process."""
    net = network(weights, options)
    _, images = load_images(DATASET + "/", options.images)
    sweep = partial(
        evaluate,
        net,
        request("pgd", options.steps),
        images=images.tensor(),
        labels=images.targets(),
        batch_size=options.batch,
        progress=False,
    )
    sweep(eps="1/255", limit=2)  # imports everything before the clock starts
    start = time.perf_counter()
    result = sweep(eps=list(options.grid))
    seconds = time.perf_counter() - start
    outcome = result.cells[0].outcome
    if outcome is None:
        raise RuntimeError(f"the cell has no outcome: {result.cells[0].error}")
    return {
        "version": outcome.identity.attack_version,
        "seconds": seconds,
        "compile_seconds": 0.0,
        "gradients": outcome.backwards,
        "forwards": outcome.forwards,
        "accuracy": [point.accuracy for point in outcome.curve],
    }


def foolbox_sweep(weights: Weights, options: Options) -> dict[str, Any]:
    """Foolbox's sweep of the same network on the same images; call it in a fresh process."""
    _, images = load_images(DATASET + "/", options.images)
    return library_sweep(network(weights, options), images, "Foolbox", options)


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """The rows of the substitution, then the sweep, whose competitors alternate."""
    weights = isolated(1, train)
    found = [
        isolated(1, substitution, weights, rows, options)
        for rows in (options.batch, max(1, options.batch // 8))
    ]
    yield {"rows": found, "tables": []}
    competitors = {("pgd", ""): robench_sweep, ("Foolbox", THEIRS): foolbox_sweep}
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {who: [] for who in competitors}
    for _ in range(options.sweep_repetitions):
        for who, sweep in competitors.items():
            runs[who].append(isolated(1, sweep, weights, options))
    name = "a network of snnTorch on digits"
    table = {
        "role": "a user's network",
        "model": name,
        "asked": name,
        "images": len(load_images(DATASET + "/", options.images)[1]),
        "repetitions": options.sweep_repetitions,
        "steps": options.steps,
        "grid": list(options.grid),
        "rows": [row_of(*who, of) for who, of in runs.items()],
    }
    yield {"rows": found, "tables": [table]}
