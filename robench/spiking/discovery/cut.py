"""Spikes that are cut off from the logits: ``y + (spikes - y).detach()`` has the gradient of y."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

import torch
from torch import Tensor

from robench.isolation import same_numbers
from robench.spiking.discovery.gates import Uses
from robench.spiking.discovery.interception import intercepting


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
