"""The activations of a forward pass: the spikes of every network, and the outputs of ReLUs.

Spikes are those of robench's neurons, and in a user's network those that its survey found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from robench.analysis.activity.operations import PRODUCTS, memory_of
from robench.analysis.activity.sources import sources
from robench.registry import Model
from robench.runtime.backward import gradients
from robench.runtime.each_operation import EachOperation
from robench.spiking import spiking_layers
from robench.spiking.discovery import Discovery
from robench.spiking.discovery.found import FoundFunction
from robench.spiking.discovery.interception import intercepting
from robench.spiking.discovery.operations import Crossing, Operations, Place
from robench.spiking.discovery.parts import following, with_output
from robench.spiking.discovery.steps import Stairs, Step
from robench.spiking.discovery.substitution import fits
from robench.spiking.discovery.swap import sloped, straight_through

aten = torch.ops.aten
_RECTIFIERS = (
    aten.relu,
    aten.relu_,
    aten.leaky_relu,
    aten.gelu,
    aten.silu,
    aten.elu,
    aten.hardtanh,
)
Network = Callable[[Tensor], Tensor]
_THROUGH = straight_through(1.0)
"""The derivative of every step, so that a graph shows what the logits depend on."""


class Parts:
    """The name of the part of a network that is being called."""

    def __init__(self) -> None:
        self.open = [""]

    def entered(self, name: str, args: tuple[Any, ...]) -> None:
        """Before a call."""
        self.open.append(name)

    def left(self, name: str, out: Any) -> None:
        """After it."""
        self.open.pop()

    def __call__(self) -> str:
        """The name; empty for the network itself."""
        return self.open[-1]


@contextmanager
def named_parts(module: nn.Module) -> Iterator[Parts]:
    """Inside, it follows which part of a network is called."""
    parts = Parts()
    with following(module.named_modules(), parts):
        yield parts


@dataclass(eq=False)
class Call:
    """The activations of a call.

    Attributes:
        layer: its name.
        active: which of its outputs are active.
        source: the products that they come from.
        spikes: whether they are spikes.
        out: the output of a spike function, with its graph.
    """

    layer: str
    active: Tensor
    source: object = None
    spikes: bool = True
    out: Tensor | None = None


@contextmanager
def watched(model: Model, parts: Parts, calls: list[Call]) -> Iterator[Network]:
    """Inside, the network that it gives can be called once; the calls are complete at the end.

    Args:
        model: on its device, surveyed if it is a user's.
        parts: of the network, followed.
        calls: gets the activations.
    """
    with ExitStack() as stack:
        seen = _Seen(parts, model)
        if model.layered:
            for name, layer in _named(model.module, spiking_layers(model.module)).items():
                handle = layer.register_forward_hook(seen.of_layer(name))
                stack.callback(handle.remove)
        else:
            stack.enter_context(intercepting(seen))
        stack.enter_context(EachOperation(seen.operated))

        def forward(x: Tensor) -> Tensor:
            if model.layered:
                with torch.no_grad():
                    return model.call(x)
            compared = Operations(seen) if seen.found.operations else nullcontext()
            with torch.enable_grad(), compared:  # what is not used is found by the graph
                seen.logits = model.call(x.detach().clone().requires_grad_())
            return seen.logits

        yield forward
        found, seen.calls = seen.calls, []  # checkpointed layers are called again in the next line
        unused = _unused(found, seen.logits)
    calls += _numbered([call for call in found if id(call) not in unused])


def _numbered(calls: Sequence[Call]) -> Iterator[Call]:
    """The calls, with a number for each layer of a part or a function that serves as several."""
    layers: defaultdict[str, list[object]] = defaultdict(list)
    for call in calls:
        known = layers[call.layer]
        if call.source not in known:
            known.append(call.source)
        number = known.index(call.source) + 1
        yield call if number == 1 else replace(call, layer=f"{call.layer} ({number})")


def _unused(calls: Sequence[Call], logits: Tensor | None) -> set[int]:
    """The calls on whose output no logit depends, such as the resets of snnTorch's neurons."""
    of_functions = [call for call in calls if call.out is not None]
    known = [call for call in of_functions if call.out is not None and call.out.requires_grad]
    if logits is None or not logits.requires_grad or not known:
        return set()
    outs = [call.out for call in known if call.out is not None]
    found = gradients(logits, outs)
    if found is None:
        return set()
    used = {id(call) for call, part in zip(known, found, strict=True) if part is not None}
    layers = {call.layer for call in known}  # of others no call has a graph
    return {id(call) for call in of_functions if call.layer in layers} - used


def _named(module: nn.Module, layers: list[Any]) -> Mapping[str, nn.Module]:
    wanted = set(map(id, layers))
    return {name: part for name, part in module.named_modules() if id(part) in wanted}


class _Seen:
    """Collects the activations, with a name for each layer."""

    def __init__(self, parts: Parts, model: Model) -> None:
        self.parts = parts
        self.found = model.discovery or Discovery()
        self.weights = memory_of(model.module)
        self.product = ""
        self.shapes: defaultdict[tuple[str, str], list[torch.Size]] = defaultdict(list)
        self.compared: dict[frozenset[int], object] = {}
        self.calls: list[Call] = []
        self.logits: Tensor | None = None

    def of_layer(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        """The forward hook of one of robench's layers."""

        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            self.calls.append(Call(name, out != 0))

        return hook

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        """After the call of a custom function."""
        known = self.found.functions.get(function)
        if known is None or not known.spikes:
            return out
        steps: list[Step | Stairs] = [known.stairs] if known.stairs else []
        if not steps:  # a spike may be returned twice, once for the reset
            some = known.steps_of(len(known.steps))
            steps += {(s.argument, s.sign, *s.at.flatten().tolist()): s for s in some}.values()
        for step in steps:
            out = self._spiked(known, step, args, out)
        return out

    def _spiked(
        self, known: FoundFunction, step: Step | Stairs, args: tuple[Any, ...], out: Any
    ) -> Any:
        """The result of a function, one of whose outputs are spikes."""
        values = out if step.output is None else out[step.output]
        fired = _fired(values, falling=isinstance(step, Step) and step.sign < 0)
        source: object = self.product
        if fits(step, args) and (z := step.distance(args)).requires_grad:
            values = sloped(z, values, _THROUGH)
            out = with_output(out, step.output, values)
            source = sources(z, self.weights)
        self._add(self.parts() or known.name.rpartition(".")[2], fired, source, out=values)
        return out

    def crossed(self, crossing: Crossing, out: Tensor, height: Tensor | float) -> Tensor:
        """After a comparison became numbers."""
        known = self.found.operations.get(crossing.place)
        if known is None or known.gate or known.quantiser:
            return out
        z, whole = crossing.z, crossing.whole
        first = frozenset((id(whole.above), id(whole.below)))
        if first not in self.compared:
            self.compared[first] = whole  # kept; for a reset the same values are compared again
            every = whole.z
            with torch.no_grad():
                falls = bool((torch.as_tensor(height) < 0).any())
                fired = every < 0 if falls else every > 0
            fired = fired.expand_as(out) if whole is crossing else fired
            self._add(self.parts() or str(crossing.place), fired, sources(every, self.weights))
        return sloped(z if z.shape == out.shape else z.expand_as(out), out, _THROUGH)

    def chooses(self, place: Place) -> bool:
        """A choice between other values than constants may be a spike."""
        return self.found.replaces(place)

    def sloped(self, place: Place, z: Tensor, out: Tensor, limits: tuple[float, float]) -> Tensor:
        """A smooth function, whose output is no spike."""
        return out

    def rounded(self, place: Place, z: Tensor, out: Tensor, scale: float) -> Tensor:
        """Roundings are no spikes."""
        return sloped(z, out, _THROUGH)

    def lost(self, place: Place) -> None:
        """Nothing to do; the survey has it on record."""

    def operated(self, function: Any, args: Any, out: Any) -> None:
        """After an operation, such as a ReLU."""
        if function.overloadpacket in PRODUCTS:
            self.product = (
                f"{self.parts()} {[tuple(a.shape) for a in args if isinstance(a, Tensor)]}"
            )
        elif function.overloadpacket in _RECTIFIERS:
            layer = self.parts() or "ReLU"
            shapes = self.shapes[layer, self.product]
            if out.shape not in shapes:
                shapes.append(out.shape)
            source = self.product, shapes.index(out.shape)  # a shape depends on the batch
            self._add(layer, out != 0, source, spikes=False)

    def _add(
        self,
        layer: str,
        active: Tensor,
        source: object,
        *,
        spikes: bool = True,
        out: Tensor | None = None,
    ) -> None:
        self.calls.append(Call(layer, active.detach(), source, spikes, out))


def _fired(values: Tensor, *, falling: bool) -> Tensor:
    """Which outputs of a spike function are spikes.

    Those that are not zero, or the higher of two values; the lower one of a falling step, which is
    1 where no neuron spikes.
    """
    values = values.detach()
    if falling:
        return values == values.amin()
    return values != 0 if bool((values == 0).any()) else values == values.amax()
