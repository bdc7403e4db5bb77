"""Whether neurons spike, and whether their spikes can be differentiated as an attack chooses."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robench.checks.registry import Examined
from robench.checks.verdicts import at_most
from robench.results import Check
from robench.runtime.backward import gradients
from robench.runtime.batch_size import with_fewer
from robench.spiking import spiking_layers
from robench.spiking.discovery import Discovery
from robench.spiking.discovery.interception import intercepting
from robench.spiking.discovery.layers import batch_is_second

SILENT = 0.9
"""The largest share of neurons of a layer that spike on no image."""
SAMPLES = 64


def replaceable(subject: Examined) -> Check | None:
    """Suspect if a network has steps that keep their own gradient, or spikes that were not found.

    Such a network is attacked through its own gradient, which may hide what another one finds.
    Spikes on which no logit depends do not count. None for a network of robench's neurons alone,
    and for one without steps that is not said to spike.
    """
    model, found = subject.model, subject.model.discovery
    if found is None:
        return None
    kept = 1 if found.refused else len(found.own)
    if kept and any(known.kind == "silent" for known in found.functions.values()):
        some = min(len(subject.x), SAMPLES)
        seen = with_fewer(lambda most: _calls(subject, most), some)
        used, idle = ({call.function for call in seen if call.used is v} for v in (True, False))
        silent = {f for f, of in found.functions.items() if of.kind == "silent" and of.calls}
        kept -= len(silent & (idle - used))
    if not kept and (model.layered or (model.mode == "ann" and not found.spikes)):
        return None
    reason = "spikes-not-replaced" if kept else "" if found.spikes else "no-spike-found"
    return Check(
        name="spikes", value=float(kept or not found.spikes), threshold=0.0,
        verdict="suspect" if reason else "valid", reason=reason,
    )  # fmt: skip


def silent_neurons(subject: Examined) -> Check | None:
    """Suspect if more than 90 % of the neurons of a layer spike on no clean image.

    No gradient of such a layer says what its other neurons would do. The figure is the largest
    share of a layer. None for a network without layers of robench's neurons and without spikes that
    are custom functions, as those of snnTorch, SpikingJelly and Norse.
    """
    return with_fewer(lambda most: _silent(subject, most), min(len(subject.x), SAMPLES))


def _silent(subject: Examined, most: int) -> Check | None:
    model, fired = subject.model, _Fired()
    if model.layered:
        layers = spiking_layers(model.module)
        handles = [layer.register_forward_hook(fired.left) for layer in layers]
        try:
            with torch.no_grad(), subject.drawn(most):
                model.call(subject.x[:most].to(model.device))
        finally:
            for handle in handles:
                handle.remove()
    else:
        known = (model.discovery or Discovery()).functions
        numbers: Counter[type] = Counter()
        used: defaultdict[object, set[bool | None]] = defaultdict(set)
        fewer = [call.out for call in _calls(subject, 2 if most > 2 else 1)]
        for place, call in enumerate(_calls(subject, most)):
            of = known.get(call.function)
            if of is not None and of.spikes:
                group = of.groups[numbers[call.function] % len(of.groups)]
                used[group].add(call.used)
                # there may be as many time steps or channels as images
                over_time = place < len(fewer) and batch_is_second(call.out, fewer[place])
                fired.add(group, _by_image(call.out, most) if over_time else call.out)
            numbers[call.function] += 1
        for layer, uses in used.items():
            if False in uses and True not in uses:
                fired.layers.pop(layer)
    if not fired.layers:
        return None
    share = max(1 - float(neurons.double().mean()) for neurons in fired.layers.values())
    return at_most("silent-neurons", share, SILENT, "silent-neurons", "suspect")


def _by_image(out: Tensor, images: int) -> Tensor:
    """Spikes ``(T, N, …)`` or ``(T, N·C)`` as ``(T·N, …)``."""
    whole = out.shape[1] % images == 0
    return out.reshape(len(out) * images, -1, *out.shape[2:]) if whole else out


class _Call(NamedTuple):
    """A call of a custom function.

    Attributes:
        function: its class.
        out: its output.
        used: whether the logits depend on it; None if it has no gradient.
    """

    function: type
    out: Tensor
    used: bool | None


def _calls(subject: Examined, most: int) -> list[_Call]:
    """The calls of custom functions in a forward pass."""
    model, seen = subject.model, _Calls()
    leaf = subject.x[:most].to(model.device).requires_grad_()
    with torch.enable_grad(), subject.drawn(most), intercepting(seen):
        logits = model.call(leaf)
    outs = [out for _, out in seen.calls if out.requires_grad and logits.requires_grad]
    found = gradients(logits, outs) if outs else None
    pairs = zip(outs, found, strict=True) if found else ()
    used = {id(out): part is not None for out, part in pairs}
    return [_Call(function, out.detach(), used.get(id(out))) for function, out in seen.calls]


class _Calls:
    """The custom functions that are called, with their outputs."""

    def __init__(self) -> None:
        self.calls: list[tuple[type, Tensor]] = []

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        """After the call of a custom function."""
        if isinstance(out, Tensor):
            self.calls.append((function, out))
        return out


class _Fired:
    """Which neurons of each layer spike in a forward pass."""

    def __init__(self) -> None:
        self.layers: dict[object, Tensor] = {}

    def left(self, layer: nn.Module, _: object, out: Tensor) -> None:
        """After the call of a layer of robench, which sees all time steps."""
        self.add(layer, out.flatten(0, 1))

    def add(self, layer: object, out: Tensor) -> None:
        """Add spikes ``(N, …)`` or ``(T·N, …)``."""
        fired = (out != 0).any(0)
        before = self.layers.get(layer)
        if before is None or before.shape == fired.shape:
            self.layers[layer] = fired if before is None else fired | before
