"""``robench.from_nir``: a network that another library exported to NIR, with robench's neurons."""

from __future__ import annotations

import importlib
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from robench.errors import ContentError, UsageError
from robench.spiking.encoding import over_time
from robench.spiking.neuron import LIF, LIFParameters, Reset
from robench.spiking.surrogate import Surrogate
from robench.spiking.wrapping import Readout, wrap
from robench.text import one_line

DT = 1e-4
"""The time step in seconds with which snnTorch and SpikingJelly export."""
_READOUTS: tuple[Readout, ...] = ("mean", "sum", "last", "max")


def from_nir(
    path: str | Path,
    *,
    images: Tensor,
    logits: Tensor,
    timesteps: int,
    reset: Reset = "zero",
    readout: Readout = "mean",
    dt: float = DT,
    tolerance: float = 1e-4,
) -> nn.Module:
    """Read a network from a NIR file, if it computes the same logits as its original.

    NIR has neither the reset nor the readout of a network, and libraries differ in the unit of
    time, so that logits of the original are needed. It has no surrogate either: the neurons get
    ``atan(2)``. The graph has to be a chain of ``Affine``, ``Linear``, ``Conv2d``, ``AvgPool2d``,
    ``SumPool2d``, ``Flatten``, ``IF`` and ``LIF``; a layer has one time constant, and its membrane
    leaks to the value that it is reset to.

    Args:
        path: the file, as ``nir.write`` writes it.
        images: a batch of images, ``(N, C, H, W)``, the input of each time step.
        logits: what the original returns for them, ``(N, K)``.
        timesteps: T.
        reset: ``zero`` (to the reset value) or ``subtract`` (the threshold, a step later).
        readout: how the output over time becomes logits: ``mean``, ``sum``, ``last`` or ``max``.
        dt: the time step in seconds that the file was exported with.
        tolerance: the largest difference of the logits, relative to the largest of ``logits``.

    Returns:
        The network in evaluation mode, from images ``(N, C, H, W)`` to logits ``(N, K)``.

    Raises:
        UsageError: the package ``nir`` is not installed, an argument is invalid, or the logits
            differ.
        ContentError: the file cannot be read, or has something that is not supported.
    """
    ways = list(product(get_args(Reset), _READOUTS))
    if (reset, readout) not in ways or timesteps < 1 or not dt > 0:
        raise UsageError(
            f"reset={reset!r}, readout={readout!r}, timesteps={timesteps}, dt={dt:g}: choose reset "
            f"from {', '.join(get_args(Reset))}, readout from {', '.join(_READOUTS)}, and positive "
            "numbers"
        )
    chain, wrong = _chain(Path(path)), ""
    for way in ((reset, readout), *ways):
        layers = nn.Sequential(*(_layer(path, name, node, way[0], dt) for name, node in chain))
        net = wrap(layers, timesteps=timesteps, encoding="direct", readout=way[1]).eval()
        differs = _difference(path, net, images, logits, tolerance)
        if not (differs or wrong):
            return net
        if not differs:
            right = f"with reset={way[0]!r} and readout={way[1]!r} they agree"
            raise UsageError(f"{path}: {wrong}; {right}")
        wrong = wrong or differs
    raise UsageError(
        f"{path}: {wrong}, also with another reset and readout; give the dt of the export and the "
        f"timesteps of the logits (not {dt:g} and {timesteps}?), or attack the original network"
    )


@torch.no_grad()
def _difference(
    path: object, network: nn.Module, images: Tensor, logits: Tensor, tolerance: float
) -> str:
    """How the logits differ from the original's; empty if they agree."""
    try:
        own = network(images)
    except RuntimeError as error:  # shapes
        text = one_line(error)
        given = f"images {tuple(images.shape)}"
        raise UsageError(f"{path}: the network cannot take {given}: {text:.100}") from None
    if own.shape != logits.shape:
        return f"the network returns logits {tuple(own.shape)}, not {tuple(logits.shape)}"
    distance = (own - logits.to(own)).abs().amax(1)
    differs = ~(distance <= tolerance * logits.abs().max())
    if not differs.any():
        return ""
    return (
        f"the logits of {int(differs.sum())} of {len(images)} images differ from the given ones by "
        f"up to {float(distance.max()):.3g}"
    )


def _chain(path: Path) -> list[tuple[str, Any]]:
    """The nodes between input and output with their names, in order."""
    try:
        nir = importlib.import_module("nir")
    except ImportError:
        raise UsageError("from_nir needs the package nir: pip install 'robench[snn]'") from None
    if not path.is_file():
        raise ContentError(f"{path}: no such file; nir.write(path, graph) writes one")
    try:
        graph = nir.read(path, type_check=False)
    except Exception as error:  # h5py and nir raise whatever a damaged file leads to
        text = one_line(error)
        raise ContentError(f"{path}: not a NIR file ({type(error).__name__}: {text:.90})") from None
    names = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)][:1]
    chain: list[tuple[str, Any]] = []
    while True:
        after = [end for start, end in graph.edges if start == (names[-1] if names else None)]
        if len(after) != 1 or after[0] in names:
            where = f"{names[-1]!r} leads to {len(after)} nodes" if names else "it has no input"
            raise ContentError(
                f"{path}: the graph is not a chain: {where}; flatten it before export"
            )
        names += after
        node = graph.nodes[after[0]]
        if isinstance(node, nir.Output):
            break
        chain.append((after[0], node))
    if left := sorted(set(graph.nodes) - set(names)):
        raise ContentError(f"{path}: the graph is not a chain: {', '.join(left)} is beside it")
    return chain


def _layer(path: object, name: str, node: Any, reset: Reset, dt: float) -> nn.Module:
    """A node as a layer over time.

    Raises:
        ContentError: the node is not supported.
    """
    kind = type(node).__name__
    where = f"{path}: node {name!r} ({kind})"
    if kind in ("IF", "LIF"):
        return _neuron(where, node, reset, dt)
    if kind in ("Affine", "Linear"):
        outputs, inputs = node.weight.shape
        return _weighted(nn.Linear(inputs, outputs, kind == "Affine", device="meta"), node)
    if kind == "Conv2d":
        outputs, inputs, *size = node.weight.shape
        padding = node.padding if isinstance(node.padding, str) else _pair(node.padding)
        more = padding, _pair(node.dilation), int(node.groups), node.bias is not None
        shape = inputs * int(node.groups), outputs, _pair(size), _pair(node.stride)
        return _weighted(nn.Conv2d(*shape, *more, device="meta"), node)
    if kind in ("AvgPool2d", "SumPool2d"):
        window = _pair(node.kernel_size), _pair(node.stride), _pair(node.padding)
        return _OverTime(nn.AvgPool2d(*window, divisor_override=1 if kind == "SumPool2d" else None))
    if kind == "Flatten":
        # NIR counts without the axis of the samples
        ends = (int(end) + (end >= 0) for end in (node.start_dim, node.end_dim))
        return _OverTime(nn.Flatten(*ends))
    raise ContentError(
        f"{where} is not supported; attack the original network instead: robench.evaluate takes it"
    )


def _pair(value: Any) -> tuple[int, int]:
    first, second = np.broadcast_to(np.asarray(value), 2).tolist()
    return int(first), int(second)


class _OverTime(nn.Module):
    """A layer without state, for ``(T, N, …)``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return over_time(self.layer, x)


def _weighted(layer: nn.Linear | nn.Conv2d, node: Any) -> nn.Module:
    """A layer with the weights of a node, in place of its own, which are on no device."""
    layer.weight = nn.Parameter(_tensor(node.weight))
    if layer.bias is not None:
        layer.bias = nn.Parameter(_tensor(node.bias))
    return _OverTime(layer)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))


def _neuron(where: str, node: Any, reset: Reset, dt: float) -> nn.Module:
    """A layer of neurons, in units in which v is measured from its reset and the gain is 1.

    NIR: ``τ dv/dt = v_leak − v + r·i``, so that a step of Euler's method is
    ``v ← (1 − dt/τ)·v + (r·dt/τ)·i``; without leak it is ``v ← v + r·dt·i``.
    """
    leaks = hasattr(node, "tau")
    rest, v_threshold, r = (np.asarray(a, float) for a in (node.v_reset, node.v_threshold, node.r))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = dt / np.asarray(node.tau, float) if leaks else np.zeros(1)
        # snnTorch writes β = 1 as infinite τ and r
        gain = np.nan_to_num(r * (share if leaks else dt), nan=1.0)
    threshold = v_threshold - rest
    beta = 1 - float(share.flat[0])
    if leaks and not np.array_equal(node.v_leak, node.v_reset):
        raise ContentError(f"{where} leaks to another value than it is reset to: not supported")
    if not np.allclose(share, 1 - beta, rtol=1e-6, atol=0):
        raise ContentError(f"{where} has more than one time constant: not supported")
    if not (0 <= beta <= 1 and (threshold > 0).all()):
        low = float(threshold.min())
        raise ContentError(
            f"{where}: the leak factor 1 − dt/τ is {beta:g} and has to lie in [0, 1], see dt=; the "
            f"threshold is {low:g} above the reset and has to be above it"
        )
    height = float(threshold.flat[0])
    if not (threshold == height).all():
        gain, height = gain / threshold, 1.0
    return _Neurons(LIFParameters(beta, height, reset), _tensor(gain))


class _Neurons(LIF):
    """LIF neurons whose input current is multiplied by a gain."""

    gain: Tensor

    def __init__(self, parameters: LIFParameters, gain: Tensor) -> None:
        super().__init__(parameters, Surrogate("atan", 2.0))
        # r and τ were rounded when they were written
        self.register_buffer("gain", torch.where((gain - 1).abs() < 1e-6, 1.0, gain))

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of the input current, ``(T, N, …)``."""
        return super().forward(over_time(self.gain.mul, x))
