"""``robench.wrap``: a spiking network of the usual styles as a function from images to logits."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from robench.errors import EvaluationError, UsageError, whole
from robench.spiking.encoding import direct, latency, rate
from robench.spiking.model_noise import ModelNoise

Encoding = Literal["none", "frames", "direct", "rate", "latency"]
Readout = Literal["none", "sum", "mean", "last", "max"]
_RESETS = {
    "snntorch": ("robench.compat.snntorch", "reset"),
    "spikingjelly": ("spikingjelly.activation_based.functional", "reset_net"),
}


def wrap(
    net: nn.Module,
    *,
    timesteps: int | None = None,
    encoding: Encoding = "none",
    stepwise: bool = False,
    output: int = 0,
    readout: Readout = "sum",
    reset: Callable[[nn.Module], object] | None = None,
) -> Wrapped:
    """Make an evaluable network: from images ``(N, C, H, W)`` or frames to logits ``(N, K)``.

    - snnTorch, a network that loops over time and returns ``(spk, mem)``: ``wrap(net)``;
    - SpikingJelly, ``(T, N, …)`` to ``(T, N, K)``: ``wrap(net, timesteps=8, encoding="direct")``;
    - Norse, one step at a time, ``net(x, state)`` to ``(out, state)``: the same with
      ``stepwise=True``.

    Args:
        net: the network; it is not changed.
        timesteps: T, if the images are encoded here.
        encoding: how images become ``(T, N, C, H, W)``: ``direct`` repeats them, ``rate`` draws
            spikes with the intensity of a pixel for probability (declare the model stochastic),
            ``latency`` spikes once, the earlier the brighter. ``frames`` puts the time of frames
            ``(N, T, C, H, W)`` first, and ``none`` passes them on as they are, as it does images.
        stepwise: whether the network is called once for each step. A state that it returns last,
            in a tuple, is passed to the next step.
        output: position of the logits over time if the network returns a tuple.
        readout: how ``(T, N, K)`` becomes ``(N, K)``; ``none`` if it is ``(N, K)`` already.
        reset: resets the state before each call; found for snnTorch and SpikingJelly.

    Raises:
        UsageError: an argument is invalid.
    """
    for name, value, known in (("encoding", encoding, Encoding), ("readout", readout, Readout)):
        if value not in get_args(known):
            raise UsageError(f"{name}={value!r}: choose from {', '.join(get_args(known))}")
    if (encoding in ("none", "frames")) != (timesteps is None):
        raise UsageError("timesteps and encoding belong together: timesteps=8, encoding='direct'")
    timesteps = None if timesteps is None else whole("timesteps", timesteps, 1)
    if stepwise and encoding == "none":
        raise UsageError("a network that is called step by step needs timesteps and an encoding")
    return Wrapped(net, timesteps, encoding, stepwise, output, readout, reset or _found(net))


class Wrapped(nn.Module):
    """See :func:`wrap`."""

    def __init__(
        self,
        net: nn.Module,
        timesteps: int | None,
        encoding: Encoding,
        stepwise: bool,
        output: int,
        readout: Readout,
        reset: Callable[[nn.Module], object] | None,
    ) -> None:
        super().__init__()
        self.net, self.timesteps, self.encoding = net, timesteps, encoding
        self.stepwise, self.output, self.readout, self.reset = stepwise, output, readout, reset
        self.noise = ModelNoise()

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, K)`` of images ``(N, C, H, W)`` or frames ``(N, T, C, H, W)``.

        Raises:
            EvaluationError: the network returned something else over time.
        """
        if self.reset is not None:
            self.reset(self.net)
        over_time = self._encoded(x)
        out = self._steps(over_time) if self.stepwise else self._chosen(self.net(over_time))
        if self.readout == "none":
            return out
        if out.dim() != 3 or out.shape[1] != len(x):
            raise EvaluationError(
                f"the wrapped network returned {tuple(out.shape)} for {len(x)} images; over time "
                "it has to be (T, N, K): see output= and readout= of robench.wrap"
            )
        match self.readout:
            case "mean":
                return out.mean(0)
            case "last":
                return out[-1]
            case "max":
                return out.amax(0)
        return out.sum(0)

    def _encoded(self, x: Tensor) -> Tensor:
        if self.encoding == "frames":
            return x.movedim(1, 0)
        if self.timesteps is None:
            return x
        if self.encoding == "direct":
            return direct(x, self.timesteps)
        if self.encoding == "latency":
            return latency(x, self.timesteps)
        numbers = self.noise("input", (self.timesteps, *x.shape[1:]), x)
        return rate(x, numbers.movedim(1, 0))

    def _steps(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        state: tuple[Any, ...] = ()
        for step in x:
            out = self.net(step, *state)
            found.append(self._chosen(out))
            state = (out[-1],) if isinstance(out, tuple) else ()
        return torch.stack(found)

    def _chosen(self, out: Any) -> Tensor:
        chosen = out
        if isinstance(out, tuple | list):
            if not -len(out) <= self.output < len(out):
                raise EvaluationError(
                    f"output={self.output} of robench.wrap: the network returns {len(out)} values"
                )
            chosen = out[self.output]
        if isinstance(chosen, list | tuple):
            chosen = torch.stack(list(chosen))
        if not isinstance(chosen, Tensor):
            raise EvaluationError(
                f"the wrapped network returned {type(chosen).__name__}, not logits; see output= of "
                "robench.wrap"
            )
        return chosen


def _found(net: nn.Module) -> Callable[[nn.Module], object] | None:
    """The function that resets the neurons of a library; None without such neurons."""
    libraries = {type(part).__module__.partition(".")[0] for part in net.modules()}
    for library, (module, name) in _RESETS.items():
        if library in libraries:
            function: Callable[[nn.Module], object] = getattr(importlib.import_module(module), name)
            return function
    return None
