"""Whether neurons spike, and whether their spikes can be differentiated as an attack chooses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from robench.checks.registry import Examined
from robench.checks.verdicts import at_most
from robench.registry import Model
from robench.results import Check
from robench.runtime.batch_size import with_fewer
from robench.spiking import spiking_layers
from robench.spiking.discovery import Discovery
from robench.spiking.discovery.interception import intercepting

SILENT = 0.9
"""The largest share of neurons of a layer that spike on no image."""
SAMPLES = 64


def replaceable(model: Model) -> Check | None:
    """Suspect if a network has steps that keep their own gradient, or spikes that were not found.

    Such a network is attacked through its own gradient, which may hide what another one finds. None
    for networks of robench's neurons, and for a network without steps that is not said to spike.
    """
    found = model.discovery
    if found is None or model.layered:
        return None
    kept = 1 if found.refused else len(found.own)
    if model.mode == "ann" and not (kept or found.spikes):
        return None
    reason = "spikes-not-replaced" if kept else "" if found.spikes else "no-spike-found"
    return Check(
        name="spikes", value=float(kept or not found.spikes), threshold=0.0,
        verdict="suspect" if reason else "valid", reason=reason,
    )  # fmt: skip


def silent_neurons(subject: Examined) -> Check | None:
    """Suspect if more than 90 % of the neurons of a layer spike on no clean image (C12).

    No gradient of such a layer says what its other neurons would do. The figure is the largest
    share of a layer. None for a network without layers of robench's neurons and without spikes that
    are custom functions, as those of snnTorch, SpikingJelly and Norse.
    """
    return with_fewer(lambda most: _silent(subject, most), min(len(subject.x), SAMPLES))


@torch.no_grad()
def _silent(subject: Examined, most: int) -> Check | None:
    model = subject.model
    seen = _Fired(most, model.discovery or Discovery())
    handles = [layer.register_forward_hook(seen.left) for layer in spiking_layers(model.module)]
    try:
        with subject.drawn(most), intercepting(seen):
            model.call(subject.x[:most].to(model.device))
    finally:
        for handle in handles:
            handle.remove()
    if not seen.layers:
        return None
    share = max(1 - float(fired.double().mean()) for fired in seen.layers.values())
    return at_most("silent-neurons", share, SILENT, "silent-neurons", "suspect")


class _Fired:
    """Which neurons of each layer spike in a forward pass."""

    def __init__(self, rows: int, found: Discovery) -> None:
        self.rows, self.found = rows, found
        self.calls: Counter[type] = Counter()
        self.layers: dict[object, Tensor] = {}

    def left(self, layer: nn.Module, _: object, out: Tensor) -> None:
        """After the call of a layer of robench."""
        self._add(layer, out)

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        """After the call of a custom function."""
        known = self.found.functions.get(function)
        number = self.calls[function]
        self.calls[function] += 1
        if known is not None and known.spikes and isinstance(out, Tensor):
            self._add(known.groups[number % len(known.groups)], out)
        return out

    def _add(self, layer: object, out: Tensor) -> None:
        """Add spikes ``(N, …)`` or ``(T, N, …)``."""
        over_time = out.dim() > 2 and out.shape[1] == self.rows
        fired = (out != 0).flatten(0, 1 if over_time else 0).any(0)
        before = self.layers.get(layer)
        if before is None or before.shape == fired.shape:
            self.layers[layer] = fired if before is None else fired | before
