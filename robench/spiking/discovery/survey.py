"""The survey: a forward pass on clean images that finds what is not differentiable."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from robench.isolation import same_numbers
from robench.spiking.discovery.classify import classify, classify_together, copied
from robench.spiking.discovery.found import Discovery
from robench.spiking.discovery.interception import intercepting, suspended
from robench.spiking.discovery.layers import layers, time_first
from robench.spiking.discovery.marks import Calls, Marks
from robench.spiking.discovery.neurons import neurons, thresholds
from robench.spiking.discovery.operations import Crossing, Place
from robench.spiking.discovery.operations.slopes import LimitCounts
from robench.spiking.discovery.operations.torch_names import is_flat
from robench.spiking.discovery.parts import (
    Recording,
    following,
    hides_steps,
    is_compiled,
    raised_by_compiler,
)
from robench.spiking.discovery.steps import Stairs, Step, typical
from robench.spiking.discovery.substitution import STRAIGHT_THROUGH, substituted
from robench.spiking.discovery.swap import sloped, straight_through
from robench.spiking.discovery.units import Shifts, unit_of
from robench.spiking.discovery.uses import Mark, cut_off, logits_follow, uses_of, vanishes
from robench.spiking.model_noise import without_first
from robench.text import one_line

SMALLEST = 1e-6
LARGEST = 1e3
"""By how much a choice may rise, in typical distances from its threshold."""


def survey(module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Discovery:
    """Find what is not differentiable in a network.

    Args:
        module: the network, in evaluation mode.
        forward: calls it.
        x: clean images, ``(N, C, H, W)``; layers over time are found with two or more.

    Returns:
        What was found; tried once, so that ``refused`` says if steps cannot be replaced.
    """
    compiled = [name or "network" for name, part in module.named_modules() if is_compiled(part)]
    try:
        return _survey(module, forward, x, compiled)
    except Exception as error:
        if compiled or not raised_by_compiler(error):
            raise
        return _survey(module, forward, x, ["function"])


def _survey(
    module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor, compiled: Sequence[str]
) -> Discovery:
    """The survey of a network, parts of which are compiled."""
    observer = _Survey()
    leaf = x.detach().clone().requires_grad_()
    # a compiler would compile the mode and the hooks
    parts = [] if compiled else list(module.named_modules())
    mode: AbstractContextManager[object] = nullcontext() if compiled else observer.shifts
    watched = following(parts, observer), intercepting(observer), mode
    with torch.enable_grad(), watched[0], watched[1], watched[2]:
        logits = forward(leaf)
    observer.ended()
    scripted = [name for name, part in module.named_modules() if hides_steps(part)]
    inner = {n for n in scripted for o in scripted if n != o and (not o or n.startswith(f"{o}."))}
    hidden = [f"TorchScript {name or 'network'}" for name in scripted if name not in inner]
    hidden += [f"compiled {name}" for name in compiled]
    hidden += [str(place) for place in sorted(observer.missed)]
    uses = uses_of(logits.grad_fn) if observer.operations or observer.functions else {}
    nodes = {mark.node for marks in observer.operations.values() for mark in marks.results}
    functions = {function: calls.found(function) for function, calls in observer.functions.items()}
    for function, calls in observer.functions.items():
        if functions[function].spikes or calls.hidden:
            cut = cut_off(uses, calls.groups, calls.ends)
            if cut and logits_follow(function, cut, forward, leaf):
                left = len(calls.graphs - cut)
                functions[function] = replace(functions[function], calls=left, detached=len(cut))
    found = Discovery(
        functions,
        {p: m.found(p, uses, nodes) for p, m in observer.operations.items() if m.steps},
        hidden=tuple(hidden),
        gap=_gap(logits.detach()),
    )
    return _tried(found, parts, forward, x) if found.replaced else found


def _gap(logits: Tensor) -> float:
    """The typical difference of the two largest logits; infinite for a single one."""
    if logits.shape[1] < 2:
        return math.inf
    return float(logits.topk(2).values.diff().neg().median())


def _tried(
    found: Discovery,
    parts: Sequence[tuple[str, nn.Module]],
    forward: Callable[[Tensor], Tensor],
    x: Tensor,
) -> Discovery:
    """What was found, after the network was differentiated through its replaced steps."""
    leaf = x.detach().clone().requires_grad_()
    # some layers compute otherwise without; a random network is compared with itself
    with torch.enable_grad(), same_numbers():
        plain = forward(leaf)
    some, fewer = Recording(), Recording()
    try:
        calls = (fewer, leaf[1:], without_first()), (some, leaf, nullcontext())
        for recording, rows, drawn in calls:
            if not len(rows):  # of a single image
                continue
            followed = following(parts, recording)
            changed = substituted(found, forward, STRAIGHT_THROUGH, recording)
            with torch.enable_grad(), same_numbers(), drawn, followed, changed as network:
                logits = network(rows)
                if logits.requires_grad:
                    torch.autograd.grad(
                        logits.sum(), leaf, allow_unused=True, retain_graph=recording is some
                    )
        known = neurons(some)
        over_time = layers(some, fewer, known)
    except Exception as error:  # checkpointed comparisons, a graph that is edited in place
        text = one_line(error)
        if "modified by an inplace operation" in text and not found.overwritten:
            return _tried(replace(found, overwritten=True), parts, forward, x)
        why = f"the backward pass raises {type(error).__name__}: {text:.80}"
        return replace(found, refused=why)
    if not torch.equal(plain, logits):
        return replace(found, refused="the logits are others when steps are replaced")
    units = thresholds(some, known)
    functions = {cls: calls.in_units(cls, units) for cls, calls in found.functions.items()}
    over_steps = time_first(some, fewer)
    return replace(found, functions=functions, layers=over_time, time_first=over_steps)


class _Survey:
    """Watches a forward pass; each operation gets a node that shows its place in the graph."""

    def __init__(self) -> None:
        self.functions: defaultdict[type, Calls] = defaultdict(Calls)
        self.operations: dict[Place, Marks] = {}
        self.missed: set[Place] = set()
        self.shifts = Shifts(self)
        self.paths = [""]

    def entered(self, name: str, args: tuple[Any, ...]) -> None:
        self.paths.append(name)

    def left(self, name: str, out: Any) -> None:
        self.paths.pop()

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        if function.__module__.partition(".")[0] in ("torch", "robench"):
            return out
        calls = self.functions[function]
        step: Step | None = None
        if any(isinstance(a, Tensor) and a.requires_grad for a in args):
            step = self._looked_at(calls, args, out)
            calls.graphs.add(len(calls.steps))
        elif not calls.hidden:
            calls.hidden = classify(args, out)[0] == "other"
        ends = (*args, *(out if isinstance(out, tuple) else (out,)))
        calls.ends.append([end.grad_fn for end in ends if isinstance(end, Tensor)])
        calls.steps.append(step)
        shape = out.shape if isinstance(out, Tensor) else None
        calls.groups.append(self.paths[-1] or f"{function.__qualname__} {shape}")
        return out

    def _looked_at(self, calls: Calls, args: tuple[Any, ...], out: Any) -> Step | None:
        """The step of a call whose output depends on the images; None if it has none."""
        with torch.no_grad():
            kind, steps = classify(args, out)
        calls.kinds.append(kind)
        if kind == "few":
            calls.few[len(calls.steps)] = args, copied((args, out))
        if not steps:
            return None
        if isinstance(step := steps[0], Step):
            for each in steps:
                if isinstance(each, Step):
                    calls.outputs.setdefault(each.output, each)
            return self._measured(step, args)
        if calls.stairs is None or len(step.jumps) > len(calls.stairs.jumps):
            calls.stairs = step
        return None

    def ended(self) -> None:
        """Look at all calls of a function together if each has too few values."""
        for calls in self.functions.values():
            if set(calls.kinds) != {"few"}:
                continue
            with torch.no_grad():
                kind, step = classify_together([copy for _, copy in calls.few.values()])
            calls.kinds = [kind]
            if isinstance(step, Stairs):
                calls.stairs = step
            elif step is not None:
                for number, (args, _) in calls.few.items():
                    calls.steps[number] = self._measured(step, args)

    def _measured(self, step: Step, args: tuple[Any, ...]) -> Step:
        """The step in the unit of the threshold that was subtracted, if that is how z was made."""
        outside = len(step.argument) == 1 and not step.at.any()
        size = self.shifts.subtracted(args[step.argument[0]]) if outside else None
        return step if size is None else replace(step, unit=size)

    def crossed(self, crossing: Crossing, out: Tensor, height: Tensor | float) -> Tensor:
        z = crossing.z
        marks = self.operations.setdefault(crossing.place, Marks(quantiser=False))
        marks.units.append(unit_of(crossing, z) or typical(z))
        if crossing.rounding is not None:
            self.operations[crossing.rounding].cut += 1
        marks.calls[id(crossing.whole)] = crossing.whole  # kept, so that the id stays its own
        true = z.detach() >= 0 if crossing.reached else z.detach() > 0
        marks.guards &= crossing.joined or not is_flat(height)
        if crossing.choice and isinstance(height, Tensor) and _own(height, z):
            marks.constant &= is_flat(true)
            return out
        return self._marked(marks, z, out, true)

    def chooses(self, place: Place) -> bool:
        """Every choice is looked at."""
        return True

    def rounded(self, place: Place, z: Tensor, out: Tensor, scale: float) -> Tensor:
        marks = self.operations.setdefault(place, Marks(quantiser=True))
        marks.units.append(1.0)
        marks.calls[id(z)] = z
        marks.levels |= set(torch.unique(out.detach())[:3].tolist())
        return self._marked(marks, z, out, out.detach())

    def sloped(self, place: Place, z: Tensor, out: Tensor, limits: tuple[float, float]) -> Tensor:
        marks = self.operations.setdefault(place, Marks(quantiser=False))
        marks.slope, marks.guards = marks.slope or LimitCounts(), False
        marks.slope.add(out, limits)
        marks.units.append(self.shifts.subtracted(z) or typical(z))
        marks.calls[id(z)] = z
        return self._marked(marks, z, out, z.detach() > 0)

    def lost(self, place: Place) -> None:
        self.missed.add(place)

    def _marked(self, marks: Marks, z: Tensor, out: Tensor, values: Tensor) -> Tensor:
        """An output whose values change where it steps, with a node of its own."""
        if z.shape != out.shape:
            z = z.expand_as(out)
        marks.constant &= is_flat(values)
        with suspended():
            found = sloped(z, out, straight_through())
        marks.results.append(Mark.of(found, z))
        return found


def _own(height: Tensor, z: Tensor) -> bool:
    """Whether a choice needs no other gradient than its own.

    It may join two values that are equal at the jump, as a ReLU does, mask by minus infinity, or
    guard against a single value, as in ``s / torch.where(s > 0, s, 1.0)``.
    """
    if not height.numel():  # all images have left the network
        return False
    largest = float(height.detach().abs().max()) / typical(z)
    guards = not is_flat(height) and (bool((z >= 0).all()) or bool((z <= 0).all()))
    return guards or not SMALLEST < largest < LARGEST or vanishes(height, z.detach())
