"""What a step is used for, in the graph of the logits.

A comparison may be a spike, or a gate as in a hand-written ReLU ``x * (x > 0)``. A spike may be cut
off from the logits: ``y + (spikes - y).detach()`` has the gradient of y.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from robench.isolation import same_numbers
from robench.spiking.discovery.interception import intercepting
from robench.spiking.discovery.resets import is_membrane

DEPTH = 12
"""Most nodes between a product and what is compared."""
NEAREST = 20
"""The part of the neurons that lies nearest to a jump is one of so many."""
SMALL = 0.25
"""What vanishes at a jump is there at most this part of what it is elsewhere."""
SAME = 1.01
"""Numbers that differ by less than this factor are one."""
_ARITHMETIC = tuple(f"{name}Backward" for name in ("Add", "Sub", "Rsub", "Mul", "Div", "Neg"))

GATE, DETACHED = "it gates what it compares", "its result is detached"
SILENT, IDLE = "it never changes", "it never changes, and no logit depends on it"
BESIDE = "its result is detached, so its gradient is what the code puts beside it"
"""Of a rounding, as in ``x + (x.round() - x).detach()``."""


Uses = dict[Any, list[Any]]
"""The nodes of a graph with those that use each; its last node has none."""


def uses_of(end: Any) -> Uses:
    """Those of the graph that ends in a node."""
    uses: defaultdict[Any, list[Any]] = defaultdict(list, {end: []})
    seen, waiting = {end}, [end]
    while waiting:
        node = waiting.pop()
        for parent, _ in node.next_functions if node is not None else ():
            if parent is None:
                continue
            uses[parent].append(node)
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return dict(uses)


def vanishes(values: Tensor, z: Tensor) -> bool:
    """Whether something is zero at a jump, so that its product with a step is continuous.

    Args:
        values: of the neurons in one call.
        z: their distance from the jump.
    """
    try:
        whole = values.detach().abs() + torch.zeros_like(z)
        there = whole.sum_to_size(z.shape).flatten()
    except RuntimeError:  # of other neurons
        return False
    if not len(there):
        return True
    sizes = z.abs().flatten()
    nearest = sizes.topk(-(-len(sizes) // NEAREST), largest=False).indices
    if bool(there[nearest].mean() <= SMALL * there.mean()):
        return True
    away = sizes > 0  # where it is z itself, its nearest neurons may be far from 0
    ratios = there[away] / sizes[away]
    differ = len(ratios) > 0 and bool(sizes.max() > SAME * sizes[away].min())
    return differ and bool(ratios.max() <= SAME * ratios.min()) and not there[~away].any()


@dataclass(frozen=True)
class Mark:
    """The result of a comparison in the graph of a survey.

    Attributes:
        node: of the result.
        compared: the node of the distance from the jump; None if it is a leaf.
        z: that distance.
    """

    node: Any
    compared: Any
    z: Tensor

    @classmethod
    def of(cls, out: Tensor, z: Tensor) -> Self:
        """The mark of an output that steps with z."""
        return cls(out.grad_fn, z.grad_fn, z.detach())


def use_of(uses: Uses, marks: Sequence[Mark], steps: Set[Any]) -> str:
    """Why a comparison is no spike that can be replaced; empty if it is one.

    It is a gate if every use is a product with something that is made of what is compared and
    vanishes at the jump, also after arithmetic with constants, as in a leaky ReLU
    ``x * (0.1 + 0.9 * (x > 0))``, or is the reset of a membrane. Its own gradient is then right.

    Args:
        uses: of the network's graph.
        marks: the results of the comparison.
        steps: the nodes of all comparisons.
    """
    used = [mark for mark in marks if mark.node in uses]
    if not used:
        return DETACHED
    for mark in used:
        if not uses[mark.node]:  # these are the logits
            return ""
        found = _numbers_used(mark.node, uses, steps)
        if not all(_gated(use, made, mark) for made, use in found):
            return ""
    return GATE


def _gated(use: Any, made: Any, mark: Mark) -> bool:
    """Whether a use is a product with a factor that vanishes at the jump."""
    parents = [parent for parent, _ in use.next_functions]
    if not type(use).__name__.startswith("MulBackward") or parents[0] is parents[1]:
        return False
    last = parents[1] is made
    other = parents[0] if last else parents[1]
    if not _leads_to(other, mark.compared):
        return False
    try:
        first, second = use._saved_self, use._saved_other
    except RuntimeError:  # it was overwritten since
        return True
    factor, numbers = (first, second) if last else (second, first)
    if is_membrane(other, mark.compared) and factor.shape == numbers.shape:
        removed, kept = factor[numbers == 0], factor[numbers != 0]
        if removed.numel() and kept.numel() and bool(removed.min() >= kept.max()):
            return True  # a reset, which leaves the membrane as it is below the threshold
    return vanishes(factor, mark.z)


def _numbers_used(node: Any, uses: Uses, steps: Set[Any]) -> Iterator[tuple[Any, Any]]:
    """What is made of a node by arithmetic with constants, with each other use of it.

    A comparison that is joined to others is added to their results.
    """
    for use in uses[node]:
        others = {parent for parent, _ in use.next_functions} - {None, node}
        alone = others <= (steps if type(use).__name__.startswith("Add") else set())
        if uses[use] and alone and type(use).__name__.startswith(_ARITHMETIC):
            yield from _numbers_used(use, uses, steps)
        else:
            yield node, use


def _leads_to(node: Any, origin: Any) -> bool:
    """Whether a node is, or was made from, what is compared, within some nodes."""
    waiting = [node]
    for _ in range(DEPTH):
        if any(_same(one, origin) for one in waiting):
            return True
        waiting = [parent for one in waiting if one is not None for parent, _ in one.next_functions]
    return False


def _same(node: Any, origin: Any) -> bool:
    """Whether the comparison's difference was made from a node, or is one itself."""
    if node is None or origin is None:
        return False
    return node is origin or any(node is parent for parent, _ in origin.next_functions)


def cut_off(uses: Uses, groups: Sequence[str], ends: Sequence[Sequence[Any]]) -> frozenset[int]:
    """The numbers of a function's calls in layers that no gradient of the logits passes.

    A layer whose membranes are read out is passed by way of the arguments of its calls.

    Args:
        uses: of the network's graph.
        groups: the layer of each call.
        ends: the nodes of the output and of the arguments of each call.
    """
    passed = set()
    for group, nodes in zip(groups, ends, strict=True):
        some = [node for node in nodes if node is not None]
        before = [node for end in some for node, _ in end.next_functions if node is not None]
        if any(node in uses for node in (*some, *before)):
            passed.add(group)
    return frozenset(number for number, group in enumerate(groups) if group not in passed)


def logits_follow(
    function: type, calls: Set[int], forward: Callable[[Tensor], Tensor], x: Tensor
) -> bool:
    """Whether the logits follow the outputs of some calls of a function, and these the images.

    Args:
        function: a custom function.
        calls: the numbers of the calls.
        forward: calls the network.
        x: images.
    """

    def passed(images: Tensor, by: float = 0.0) -> tuple[Tensor, list[Tensor]]:
        watcher = _Shifted(function, calls, by)
        with torch.enable_grad(), same_numbers(), intercepting(watcher):
            return forward(images), watcher.outputs

    logits, outputs = passed(x)
    shifted, _ = passed(x, by=1.0)
    _, others = passed(1 - x)
    same = len(outputs) == len(others) and all(map(torch.equal, outputs, others))
    return not (same or torch.equal(logits, shifted))


class _Shifted:
    """Keeps the outputs of some calls of a function, and adds a number to them."""

    def __init__(self, function: type, calls: Set[int], by: float) -> None:
        self.function, self.calls, self.by = function, calls, by
        self.outputs: list[Tensor] = []
        self.seen = 0

    def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
        if function is not self.function:
            return out
        self.seen += 1
        if self.seen - 1 not in self.calls:
            return out
        parts = [self._shifted(part) for part in (out if isinstance(out, tuple) else (out,))]
        return tuple(parts) if isinstance(out, tuple) else parts[0]

    def _shifted(self, part: Any) -> Any:
        if not isinstance(part, Tensor):
            return part
        self.outputs.append(part.detach())
        return part + self.by if self.by else part
